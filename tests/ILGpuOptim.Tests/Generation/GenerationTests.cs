using ILGpuOptim.Compute;
using ILGpuOptim.Generation;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Tests.Generation;

/// <summary>What is generated with kept keys and values is what the whole forward pass gives.</summary>
public class GenerationTests
{
    private static readonly SamplingOptions Greedy = new() { Temperature = 0 };

    public static TheoryData<string, int> Cases
    {
        get
        {
            var cases = new TheoryData<string, int>();
            foreach (string model in (string[])["gpt2-tiny", "llama-tiny"])
            {
                foreach (int bits in (int[])[128, 256, 512])
                    cases.Add(model, bits);
            }

            return cases;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void GreedyTextIsThatOfTheWholeForwardPass(string name, int vectorBits)
    {
        using var device = new CpuDevice(2, vectorBits);
        using LanguageModel model = ModelFiles.Load(Goldens.Folder("models", name), device);
        int positions = model.Config.ContextLength;
        foreach (int length in (int[])[1, 2, 7, 33, positions - 1, positions, positions + 1, 3 * positions])
        {
            int[] prompt = Prompt(model, length, seed: (ulong)length);
            Assert.Equal(WithoutCache(model, device, prompt, positions + 9), new TextGenerator(model, device).Continue(prompt, positions + 9, Greedy));
        }
    }

    [Fact]
    public void EveryShapeDecodes()
    {
        using var device = new CpuDevice(2);
        ModelConfig[] configs =
        [
            new Gpt2Config { VocabularySize = 31, ContextLength = 9, Layers = 1, Heads = 1, HiddenSize = 7 },
            new Gpt2Config { VocabularySize = 33, ContextLength = 1, Layers = 2, Heads = 3, HiddenSize = 33, IntermediateSize = 5 },
            Llama(heads: 4, keyHeads: 1) with { AttentionBias = true, MlpBias = true, TieWordEmbeddings = true },
            Llama(heads: 3, keyHeads: 3) with { HeadSize = 6, ContextLength = 130 },
        ];
        foreach (ModelConfig config in configs)
        {
            using LanguageModel model = Fresh(config, device);
            int[] prompt = Prompt(model, 5, 1);
            Assert.Equal(WithoutCache(model, device, prompt, 150), new TextGenerator(model, device).Continue(prompt, 150, Greedy));
        }
    }

    [Theory]
    [InlineData("gpt2-tiny")]
    [InlineData("llama-tiny")]
    public void TextsInABatchAreThoseOfEachAlone(string name)
    {
        using var device = new CpuDevice(2);
        using LanguageModel model = ModelFiles.Load(Goldens.Folder("models", name), device);
        int[][] prompts = [Prompt(model, 3, 1), Prompt(model, 40, 2), Prompt(model, 40, 2), Prompt(model, 1, 3), Prompt(model, 70, 4)];
        var generator = new TextGenerator(model, device);
        foreach (SamplingOptions options in (SamplingOptions[])[Greedy, Greedy with { RepetitionPenalty = 1.3 }])
        {
            int[][] together = Together(generator, prompts, 90, options);
            for (int i = 0; i < prompts.Length; i++)
                Assert.Equal(generator.Continue(prompts[i], 90, options), together[i]);
        }
    }

    [Fact]
    public void ATextThatEndsDoesNotDisturbTheOthers()
    {
        using var device = new CpuDevice(2);
        using LanguageModel model = ModelFiles.Load(Goldens.Folder("models", "gpt2-tiny"), device);
        int[][] prompts = [Prompt(model, 60, 1), Prompt(model, 5, 2)];
        var generator = new TextGenerator(model, device);
        using GenerationBatch batch = generator.Start(prompts, 81, Greedy);
        var second = new List<int>();
        for (int i = 0; i < 80; i++)
        {
            batch.Advance();
            second.AddRange(batch.Drawn.ToArray().Where(token => token.Sample == 1).Select(token => token.Id));
            if (i == 3)
                batch.End(0);
            Assert.Equal(i <= 3 ? 2 : 1, batch.Drawn.Length);
        }

        Assert.Equal(generator.Continue(prompts[1], 80, Greedy), second);
        Assert.False(batch.IsFinished);
        batch.End(1);
        Assert.True(batch.IsFinished);
    }

    [Fact]
    public void TheSameSeedGivesTheSameTextWithAnyNumberOfThreads()
    {
        var options = new SamplingOptions { Temperature = 1, TopK = 50, TopP = 0.95, MinP = 0.01, RepetitionPenalty = 1.1, Seed = 9 };
        int[][][] texts = [.. new[] { 1, 2, 3 }.Select(threads =>
        {
            using var device = new CpuDevice(threads);
            using LanguageModel model = ModelFiles.Load(Goldens.Folder("models", "llama-tiny"), device);
            int[] prompt = Prompt(model, 5, 1);
            return Together(new TextGenerator(model, device), [prompt, prompt, prompt], 70, options);
        })];
        Assert.Equal(texts[0], texts[1]);
        Assert.Equal(texts[0], texts[2]);
        Assert.NotEqual(texts[0][0], texts[0][1]);
    }

    [Fact]
    public void LogProbabilitiesAreThoseOfTheModel()
    {
        using var device = new CpuDevice(2);
        using LanguageModel model = ModelFiles.Load(Goldens.Folder("models", "gpt2-tiny"), device);
        int[] prompt = Prompt(model, 6, 1);
        using GenerationBatch batch = new TextGenerator(model, device).Start([prompt], 3, new SamplingOptions { LogProbabilities = true, TopK = 3 });
        var ids = new List<int>(prompt);
        for (int i = 0; i < 3; i++)
        {
            batch.Advance();
            float[] logits = LastLogits(model, device, [.. ids]);
            Assert.Equal(Samplers.LogProbability(logits, batch.Drawn[0].Id), batch.Drawn[0].LogProbability, 2e-6);
            ids.Add(batch.Drawn[0].Id);
        }
    }

    [Theory]
    [InlineData("gpt2-tiny")]
    [InlineData("llama-tiny")]
    public void AStepTakesNoNewMemoryFromTheDevice(string name)
    {
        using var device = new CpuDevice(1);
        using LanguageModel model = ModelFiles.Load(Goldens.Folder("models", name), device);
        var options = new SamplingOptions { TopK = 20, TopP = 0.9, MinP = 0.01, RepetitionPenalty = 1.2 };
        using GenerationBatch batch = new TextGenerator(model, device).Start([Prompt(model, 4, 1), Prompt(model, 9, 1)], 64, options);
        for (int i = 0; i < 5; i++)
            batch.Advance();
        (long before, long allocations, long used) = (GC.GetAllocatedBytesForCurrentThread(), device.Pool.Allocations, device.Pool.UsedBytes);
        int steps = model.Config.ContextLength - 14;
        for (int i = 0; i < steps; i++)
            batch.Advance();
        Assert.Equal((allocations, used), (device.Pool.Allocations, device.Pool.UsedBytes));

        // Objects that stand for tensors are small, and as many whatever the model's sizes.
        long allocated = (GC.GetAllocatedBytesForCurrentThread() - before) / steps;
        Assert.True(allocated < 40_000, $"{allocated} bytes a step");
    }

    [Fact]
    public void MemoryIsGivenBack()
    {
        using var device = new CpuDevice(1);
        using LanguageModel model = ModelFiles.Load(Goldens.Folder("models", "llama-tiny"), device);
        long used = device.Pool.UsedBytes;
        _ = new TextGenerator(model, device).Continue(Prompt(model, 9, 1), 4, Greedy).ToArray();
        Assert.Equal(used, device.Pool.UsedBytes);
    }

    [Fact]
    public void MistakesAreNamed()
    {
        using var device = new CpuDevice(1);
        using LanguageModel model = ModelFiles.Load(Goldens.Folder("models", "gpt2-tiny"), device);
        var generator = new TextGenerator(model, device);
        Assert.Throws<UserException>(() => generator.Start([[]], 4, Greedy));
        Assert.Throws<UserException>(() => generator.Start([[model.Config.VocabularySize]], 4, Greedy));
        Assert.Throws<UserException>(() => generator.Start([[-1]], 4, Greedy));
        Assert.Throws<SettingException>(() => generator.Start([[1]], 4, Greedy with { TopP = 2 }));
    }

    [Theory]
    [InlineData(0, 8, 0)]
    [InlineData(8, 8, 0)]
    [InlineData(9, 8, 4)]
    [InlineData(12, 8, 4)]
    [InlineData(13, 8, 8)]
    [InlineData(10, 7, 3)]
    [InlineData(2, 1, 1)]
    [InlineData(5, 1, 4)]
    public void TheOlderHalfOfAFullContextIsForgotten(int length, int positions, int start) =>
        Assert.Equal(start, ContextWindow.Start(length, positions));

    private static int[] WithoutCache(LanguageModel model, Device device, int[] prompt, int count)
    {
        var ids = new List<int>(prompt);
        for (int i = 0; i < count; i++)
            ids.Add(Samplers.ArgMax(LastLogits(model, device, [.. ids.Skip(ContextWindow.Start(ids.Count, model.Config.ContextLength))])));
        return [.. ids.Skip(prompt.Length)];
    }

    private static float[] LastLogits(LanguageModel model, Device device, int[] ids)
    {
        var tape = new Tape(device) { IsRecording = false, IsTraining = false };
        float[] logits = model.Logits(tape, ids, 1).ToArray();
        tape.Reset();
        return logits[^model.Config.VocabularySize..];
    }

    private static int[][] Together(TextGenerator generator, int[][] prompts, int count, SamplingOptions options)
    {
        using GenerationBatch batch = generator.Start(prompts, count, options);
        List<int>[] texts = [.. prompts.Select(_ => new List<int>())];
        for (int i = 0; i < count; i++)
        {
            batch.Advance();
            foreach (GeneratedToken token in batch.Drawn)
                texts[token.Sample].Add(token.Id);
        }

        return [.. texts.Select(text => text.ToArray())];
    }

    private static LlamaConfig Llama(int heads, int keyHeads) => new()
    {
        VocabularySize = 33,
        HiddenSize = 4 * heads,
        IntermediateSize = 7,
        Layers = 2,
        Heads = heads,
        KeyHeads = keyHeads,
        ContextLength = 31,
    };

    /// <summary>Wide weights, so that no two tokens are nearly equally likely.</summary>
    private static LanguageModel Fresh(ModelConfig config, Device device)
    {
        LanguageModel model = config.Create(new Initializer(device, 3));
        var initializer = new Initializer(device, 4);
        foreach (Parameter parameter in model.Parameters)
            initializer.Fill(parameter, 0.7f, 0);
        return model;
    }

    private static int[] Prompt(LanguageModel model, int length, ulong seed) =>
        [.. Enumerable.Range(0, length).Select(i => (int)(Philox.Generate(seed, 1, (ulong)i).A % (uint)model.Config.VocabularySize))];
}
