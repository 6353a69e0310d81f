using System.Text.Json.Nodes;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Files;
using ILGpuOptim.Generation;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Models;

/// <summary>Models with weights of 4-bit integers and low-rank branches, against the same weights as floats.</summary>
public sealed class ModelQuantizationTests : IDisposable
{
    private static readonly int[] Tokens = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3];

    private readonly TemporaryFolder folder = new();
    private readonly CpuDevice device = new(2);

    public void Dispose()
    {
        device.Dispose();
        folder.Dispose();
    }

    public static TheoryData<string, int, int> Cases
    {
        get
        {
            var data = new TheoryData<string, int, int>();
            foreach (string family in (string[])["gpt2-tiny", "llama-tiny", "bert-tiny", "gpt_neox-tiny", "phi3-tiny", "qwen3_moe-tiny", "modernbert-tiny", "t5v11-tiny"])
            {
                data.Add(family, 32, 0);
                data.Add(family, 64, 3);
            }

            return data;
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public void ProductsOfCodesAreThoseOfFloats(string family, int group, int rank)
    {
        using LanguageModel model = ModelFiles.Load(Goldens.Folder("models", family), device), quantized = ModelQuantization.Quantize(model, new QuantizationConfig { GroupSize = group, BranchRank = rank });
        using LanguageModel wide = ModelQuantization.Widen(quantized);
        Assert.Contains(quantized.Parameters, parameter => parameter.Data.Type.IsInt4());
        float[] expected = Logits(wide);
        Close(expected, Logits(quantized), 1e-5f);
        Assert.NotEqual(expected, Logits(model));

        ModelFiles.Save(folder.Path, quantized);
        using (LanguageModel loaded = ModelFiles.Load(folder.Path, device))
            Assert.Equal(Logits(quantized), Logits(loaded));
        using LanguageModel floats = ModelFiles.LoadWide(folder.Path, device);
        Assert.Null(floats.Config.Quantization);
        Assert.Equal(expected, Logits(floats));
    }

    /// <summary>The branch takes outliers: with a few of them, what is left is stored far more exactly.</summary>
    [Theory]
    [InlineData("gpt2-tiny")]
    [InlineData("llama-tiny")]
    public void BranchesTakeOutliers(string family)
    {
        using LanguageModel model = ModelFiles.Load(Goldens.Folder("models", family), device);
        foreach (Linear linear in model.Adaptable)
        {
            // A large matrix of rank 1 is added.
            float[] values = linear.Weight.ToArray();
            int columns = linear.Weight.Columns;
            for (int i = 0; i < values.Length; i++)
                values[i] += 3 * MathF.Sin(i / columns) * MathF.Cos(i % columns);
            linear.Weight.Load(values);
        }

        double plain = ErrorOf(0), branched = ErrorOf(2);
        Assert.True(branched < plain / 4, $"{branched} with branches, {plain} without");

        double ErrorOf(int rank)
        {
            using LanguageModel quantized = ModelQuantization.Quantize(model, new QuantizationConfig { BranchRank = rank }), wide = ModelQuantization.Widen(quantized);
            return model.Linears.Zip(wide.Linears).Sum(pair => pair.First.Weight.ToArray().Zip(pair.Second.Weight.ToArray(), (x, y) => ((double)x - y) * (x - y)).Sum());
        }
    }

    /// <summary>Gradients pass through the codes to the adapters and to the layers below, as they do through the same weights as floats.</summary>
    [Theory]
    [InlineData("gpt2-tiny", 0)]
    [InlineData("gpt2-tiny", 3)]
    [InlineData("llama-tiny", 0)]
    [InlineData("llama-tiny", 3)]
    public void AdaptersHaveTheGradientsOfFloats(string family, int rank)
    {
        using LanguageModel model = ModelFiles.Load(Goldens.Folder("models", family), device), quantized = ModelQuantization.Quantize(model, new QuantizationConfig { BranchRank = rank });
        using LanguageModel wide = ModelQuantization.Widen(quantized);
        var options = new LoraOptions { Rank = 2, Alpha = 3, Targets = family == "gpt2-tiny" ? ["c_attn", "c_fc", "c_proj"] : ["q_proj", "v_proj", "gate_proj", "down_proj"] };
        using Tape first = Adapted(quantized, options), second = Adapted(wide, options);
        foreach ((LoraAdapter one, LoraAdapter other) in quantized.Adapters.Zip(wide.Adapters))
        {
            Close(Gradient(second, other.A), Gradient(first, one.A), 2e-5f);
            Close(Gradient(second, other.B), Gradient(first, one.B), 2e-5f);
        }

        // Adapters over codes are kept, and widened with them.
        using LanguageModel merged = ModelQuantization.Widen(quantized);
        Close(Logits(quantized), Logits(merged), 1e-5f);
        Assert.Throws<InvalidOperationException>(quantized.MergeAdapters);

        Tape Adapted(LanguageModel adapted, LoraOptions lora)
        {
            adapted.AddAdapters(lora, new Initializer(device, 7));
            foreach (LoraAdapter adapter in adapted.Adapters)
                device.Random(adapter.B.Data, RandomKind.Normal, 0.1f, 11, (ulong)adapter.Module.Length);
            var tape = new Tape(device);
            tape.Backward(adapted.Loss(tape, Tokens, Tokens, 1));
            return tape;
        }
    }

    [Fact]
    public void AdaptersLearnBesideCodesAndResumeExactly()
    {
        using (LanguageModel model = ModelFiles.Load(Goldens.Folder("models", "llama-tiny"), device))
        using (LanguageModel quantized = ModelQuantization.Quantize(model, new QuantizationConfig { BranchRank = 2 }))
        {
            Directory.CreateDirectory(folder["base"]);
            ModelFiles.Save(folder["base"], quantized);
        }

        TokenFile.Write(folder["tokens.bin"], [.. Enumerable.Range(0, 1000).Select(i => 5 + i * i % 23)]);
        var settings = new TrainingSettings
        {
            From = folder["base"],
            Data = [folder["tokens.bin"]],
            Block = 16,
            Batch = 4,
            Steps = 20,
            Warmup = 2,
            EvalBatches = 0,
            CheckpointInterval = 10,
            Lora = new LoraOptions { Rank = 3 },
            Optimizer = new() { LearningRate = 1e-2 },
        };
        device.Pool.ResetPeak();
        float[] whole = Train("whole", settings);
        Assert.True(whole[^1] < whole[0] - 0.1f, $"{whole[0]} to {whole[^1]}");
        Train("parts", settings);
        Directory.Delete(Checkpoint("parts", 20), recursive: true);
        using (TrainingRun run = TrainingRun.Resume(folder["parts"], _ => device))
            run.Train(CancellationToken.None);
        foreach (string file in (string[])[AdapterFiles.Weights, Safetensors.FileName, "optimizer.safetensors"])
            Assert.Equal(File.ReadAllBytes(Path.Combine(Checkpoint("whole", 20), file)), File.ReadAllBytes(Path.Combine(Checkpoint("parts", 20), file)));

        // The codes are those of the base; the trained model generates what its floats generate.
        Assert.Equal(File.ReadAllBytes(folder["base", Safetensors.FileName]), File.ReadAllBytes(Path.Combine(Checkpoint("whole", 20), Safetensors.FileName)));
        using LanguageModel adapted = ModelFiles.Load(Checkpoint("whole", 20), device), wide = ModelFiles.LoadWide(Checkpoint("whole", 20), device);
        Assert.NotEmpty(adapted.Adapters);
        Close(Logits(wide), Logits(adapted), 1e-5f);
        Assert.Equal(20, new TextGenerator(adapted, device).Continue([1, 2, 3], 20, new SamplingOptions { Seed = 5 }).Count());

        string again = Assert.ThrowsAny<UserException>(() => TrainingRun.Begin(folder["again"], settings with { From = Checkpoint("whole", 20) }, device)).InFlags();
        Assert.Contains("--resume", again, StringComparison.Ordinal);
    }

    [Fact]
    public void ThePlannedMemoryIsUsed()
    {
        using (LanguageModel model = ModelFiles.Load(Goldens.Folder("models", "llama-tiny"), device))
        using (LanguageModel quantized = ModelQuantization.Quantize(model, new QuantizationConfig { BranchRank = 2 }))
            ModelFiles.Save(folder.Path, quantized);
        var settings = new TrainingSettings { From = folder.Path, Block = 16, Batch = 2, Steps = 2, Warmup = 0, Lora = new LoraOptions { Rank = 3 } };
        ModelConfig config = ModelFiles.LoadConfig(folder.Path);
        MemoryPlan plan = MemoryPlan.Of(config, settings);
        using var fresh = new CpuDevice(2);
        using LanguageModel trained = TrainedModel.Create(config, settings, fresh);
        using var trainer = new Trainer(fresh, trained, MemoryPlan.DataOf(settings, 1), settings);
        fresh.Pool.ResetPeak();
        trainer.Step();
        trainer.Step();
        Assert.Equal(plan.Total, fresh.Pool.PeakBytes);
        Assert.Equal(plan.Weights, trained.AllParameters.Sum(parameter => parameter.Bytes));
    }

    [Fact]
    public void MistakesAreNamed()
    {
        using LanguageModel model = ModelFiles.Load(Goldens.Folder("models", "llama-tiny"), device), quantized = ModelQuantization.Quantize(model, new QuantizationConfig());
        Contains("quantised already", () => ModelQuantization.Quantize(quantized, new QuantizationConfig()));
        Contains("group_size = 48: groups have 32, 64 or 128 weights", () => ModelQuantization.Quantize(model, new QuantizationConfig { GroupSize = 48 }));
        Contains("bits = 3", () => ModelQuantization.Quantize(model, new QuantizationConfig { Bits = 3 }));
        Contains("--dora: the norms of a weight are not known", () => quantized.AddAdapters(new LoraOptions { Dora = true }, new Initializer(device, 1)));
        ModelFiles.Save(folder.Path, quantized);
        Contains("cannot be trained; train adapters with --lora-rank", () => TrainedModel.Create(ModelFiles.LoadConfig(folder.Path), new TrainingSettings { From = folder.Path }, device));
        JsonNode config = JsonNode.Parse(File.ReadAllText(folder["config.json"]))!;
        Change(settings => settings["group_size"] = 20, "config.json: quantization_config.group_size = 20");
        Change(settings => settings["zero_point"] = true, "zero_point");
        Change(settings => settings["quant_method"] = "gptq", "quantization_config");
        File.WriteAllText(folder["config.json"], config.ToJsonString());
        ModelFiles.Load(folder.Path, device).Dispose();
        config.AsObject().Remove("quantization_config");
        File.WriteAllText(folder["config.json"], config.ToJsonString());
        Assert.ThrowsAny<UserException>(() => ModelFiles.Load(folder.Path, device));

        // Floats where the configuration says codes.
        using LanguageModel experts = ModelFiles.Load(Goldens.Folder("models", "qwen3_moe-tiny"), device), few = ModelQuantization.Quantize(experts, new QuantizationConfig());
        Contains("an expert's weight in 4 bits", () => few.AddAdapters(new LoraOptions { Targets = ["down_proj"] }, new Initializer(device, 1)));

        void Change(Action<JsonNode> change, string message)
        {
            JsonNode copy = config.DeepClone();
            change(copy["quantization_config"]!);
            File.WriteAllText(folder["config.json"], copy.ToJsonString());
            Contains(message, () => ModelFiles.Load(folder.Path, device));
        }
    }

    private float[] Train(string name, TrainingSettings settings)
    {
        var losses = new List<float>();
        using TrainingRun run = TrainingRun.Begin(folder[name], settings, device);
        run.Stepped = step => losses.Add(step.Loss);
        run.Train(CancellationToken.None);
        return [.. losses];
    }

    private string Checkpoint(string run, int step) => Path.Combine(folder[run], "checkpoints", $"step-{step:D7}");

    private static void Contains(string expected, Action action) => Assert.Contains(expected, Assert.ThrowsAny<UserException>(action).InFlags(), StringComparison.Ordinal);

    private static void Close(float[] expected, float[] actual, float tolerance)
    {
        float largest = expected.Max(MathF.Abs);
        Assert.All(expected.Zip(actual), pair => Assert.True(MathF.Abs(pair.First - pair.Second) <= tolerance * largest, $"{pair}, the largest is {largest}"));
    }

    private float[] Gradient(Tape tape, Parameter parameter)
    {
        var result = new float[parameter.Length];
        device.Download(tape.Gradients[parameter], result);
        return result;
    }

    private float[] Logits(LanguageModel model)
    {
        using var tape = new Tape(device) { IsRecording = false, IsTraining = false };
        return model.Logits(tape, new TokenBatch(Tokens, 2) { DecoderTokens = model.HasEncoder ? Tokens[..6] : [] }).ToArray();
    }
}
