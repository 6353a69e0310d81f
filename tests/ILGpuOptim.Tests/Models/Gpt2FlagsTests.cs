using ILGpuOptim.Compute;
using ILGpuOptim.Generation;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Models;

/// <summary>Fields of <c>config.json</c> that change what a GPT-2 computes.</summary>
public class Gpt2FlagsTests
{
    private static readonly int[] Prompt = [3, 17, 42, 9, 9, 60, 1, 33];

    /// <summary>The log-probabilities come from an independent forward pass in PyTorch.</summary>
    [Theory]
    [InlineData("gpt2-base", -1.96872)]
    [InlineData("gpt2-inverse-layer", -1.88993)]
    public void AgreesWithPyTorch(string name, double expected)
    {
        using var device = new CpuDevice(1);
        using LanguageModel model = ModelFiles.Load(Goldens.Folder("foreign", name), device);
        using GenerationBatch batch = new TextGenerator(model, device).Start([Prompt], 1, new SamplingOptions { Temperature = 0, LogProbabilities = true });
        batch.Advance();
        Assert.Equal(14, batch.Drawn[0].Id);
        Assert.Equal(expected, batch.Drawn[0].LogProbability, 1e-5);
        Assert.Equal(expected, LogProbability(LastLogits(model, device), 14), 1e-5);
    }

    /// <summary>transformers' GPT2Config has 0.1 for each of the three.</summary>
    [Fact]
    public void AMissingDropoutIsATenth()
    {
        var config = (Gpt2Config)ModelConfig.Load(Path.Combine(Goldens.Folder("foreign", "gpt2-base"), ModelFiles.Config));
        Assert.Equal([0.1f, 0.1f, 0.1f], [config.ResidualDropout, config.EmbeddingDropout, config.AttentionDropout]);
    }

    public static TheoryData<string, bool, bool> Variants => new(
        from activation in new[] { "gelu_new", "gelu", "quick_gelu", "relu", "silu" }
        from flags in new[] { (true, false), (false, false), (true, true), (false, true) }
        select (activation, flags.Item1, flags.Item2));

    [Theory]
    [MemberData(nameof(Variants))]
    public void TrainingAndDecodingComputeTheSame(string activation, bool scales, bool byLayer)
    {
        using var device = new CpuDevice(1);
        Gpt2Config config = Config with { ActivationFunction = activation, ScaleAttention = scales, ScaleAttentionByLayer = byLayer };
        using LanguageModel model = config.Create(new Initializer(device, 5));
        using Decoder decoder = Decoder.Create(model, device, 1, Prompt.Length);
        decoder.Begin(Prompt.Length);
        decoder.Prefill(0, Prompt);
        var decoded = new float[config.VocabularySize];
        decoder.Logits(decoded);
        float[] trained = LastLogits(model, device);
        float largest = trained.Max(MathF.Abs);
        Assert.All(trained.Zip(decoded), pair => Assert.Equal(pair.First, pair.Second, 1e-6f * largest));
        if (config == Config)
            return;
        using LanguageModel plain = Config.Create(new Initializer(device, 5));
        Assert.NotEqual(LastLogits(plain, device), trained);
    }

    private static Gpt2Config Config { get; } = new() { VocabularySize = 61, ContextLength = 24, HiddenSize = 32, Layers = 3, Heads = 2, InitializerRange = 0.3f };

    private static float[] LastLogits(LanguageModel model, CpuDevice device)
    {
        var tape = new Tape(device) { IsRecording = false, IsTraining = false };
        float[] logits = model.Logits(tape, Prompt, 1).ToArray();
        tape.Reset();
        return logits[^model.Config.VocabularySize..];
    }

    private static double LogProbability(float[] logits, int id) => logits[id] - Math.Log(logits.Sum(logit => Math.Exp(logit)));
}
