using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Files;
using ILGpuOptim.Generation;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;
using ILGpuOptim.Tests.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Training;

/// <summary>Parameters in fewer than 32 bits: whatever the optimizer, whatever the shape, whatever the number of threads.</summary>
public class ParameterStorageTests
{
    public static TheoryData<string, ParameterStorage> Choices => new(
        from entry in Registry.Entries from storage in (ParameterStorage[])[ParameterStorage.BF16, ParameterStorage.Int8] select (entry.Name, storage));

    public static TheoryData<int> Lengths => [1, 7, 31, 33, 256, 257, 4097];

    /// <summary>A number survives in the nearest form; the error is half a unit of its storage at most.</summary>
    [Theory]
    [MemberData(nameof(Lengths))]
    public void LoadsTheNearest(int length)
    {
        using var device = new CpuDevice(2);
        float[] values = Normal(device, 3 * length);
        foreach (DType type in (DType[])[DType.BF16, DType.I8])
        {
            var parameter = new Parameter(device, "p", type, 3, length);
            Assert.Equal(type.Bytes(3, length), parameter.Bytes);
            parameter.Load(values);
            float[] stored = parameter.ToArray();
            for (int i = 0; i < values.Length; i++)
            {
                int block = i % length / DTypes.QuantizedBlock * DTypes.QuantizedBlock, row = i / length * length;
                float largest = values[(row + block)..(row + Math.Min(length, block + DTypes.QuantizedBlock))].Max(MathF.Abs);
                float unit = type == DType.BF16 ? MathF.Abs(values[i]) / 256 : largest / 254;
                Assert.True(MathF.Abs(values[i] - stored[i]) <= unit * 1.0001f, $"{type}: {values[i]} became {stored[i]}");
            }

            // What was stored once is stored again without a change.
            parameter.Load(stored);
            Assert.Equal(stored, parameter.ToArray());
        }
    }

    /// <summary>Steps far below a unit of the storage add up on average: that is what stochastic rounding is for.</summary>
    [Theory]
    [InlineData(DType.BF16)]
    [InlineData(DType.I8)]
    public void SmallStepsAddUp(DType type)
    {
        const int Length = 4097, Steps = 200;
        using var device = new CpuDevice(2);
        var parameter = new Parameter(device, "p", type, 1, Length);
        var values = new float[Length];
        Array.Fill(values, 1);
        parameter.Load(values);
        using var optimizer = new Sgd();
        optimizer.Add(parameter, new SgdOptions { LearningRate = 1e-4, Momentum = 0 });
        var gradients = new Gradients(device);
        for (int step = 0; step < Steps; step++)
        {
            device.Fill(gradients.Target(parameter, out _), 1);
            optimizer.Step(gradients);
        }

        // A unit is 1/256 or 1/127, so each of the steps alone would be rounded away.
        Assert.Equal(1 - Steps * 1e-4, parameter.ToArray().Average(), 1e-3);
    }

    /// <summary>Every optimizer trains narrow parameters about as far as in 32 bits, with the same bits on any number of threads.</summary>
    [Theory]
    [MemberData(nameof(Choices))]
    public void EveryOptimizerTrains(string name, ParameterStorage storage)
    {
        float[] exact = Losses(name, ParameterStorage.F32, threads: 1), narrow = Losses(name, storage, threads: 1);
        Assert.Equal(narrow, Losses(name, storage, threads: 3));
        Assert.True(exact[^1] < exact[0] - 0.03f, $"in 32 bits the loss goes from {exact[0]} to {exact[^1]}");
        Assert.Equal(exact[^1], narrow[^1], 0.1f);
    }

    /// <summary>State and parameters narrow at once, for those that update both in one pass and for those that widen them.</summary>
    [Theory]
    [InlineData("adamw")]
    [InlineData("apollo-mini")]
    [InlineData("came")]
    [InlineData("lion")]
    public void StateIsNarrowToo(string name)
    {
        float[] exact = Losses(name, ParameterStorage.F32, threads: 2);
        foreach (ParameterStorage storage in (ParameterStorage[])[ParameterStorage.BF16, ParameterStorage.Int8])
        {
            foreach (StateStorage state in (StateStorage[])[StateStorage.BF16, StateStorage.Fp8])
                Assert.Equal(exact[^1], Losses(name, storage, threads: 2, state)[^1], 0.1f);
        }
    }

    /// <summary>What a plan says is what a run takes from the pool at most, to the byte but for what pads each tensor.</summary>
    [Theory]
    [MemberData(nameof(Choices))]
    public void PredictedBytesAreAllocated(string name, ParameterStorage storage)
    {
        foreach ((TrainingSettings settings, Dataset data, ModelConfig config) in (ReadOnlySpan<(TrainingSettings, Dataset, ModelConfig)>)[Tiny(name, ParameterStorage.F32), Tiny(name, storage)])
            AssertPredicted(settings, data, config);
    }

    [Theory]
    [InlineData("galore")]
    [InlineData("fira")]
    [InlineData("apollo")]
    public void PredictedBytesAreAllocatedForRandomizedBasesToo(string name)
    {
        var (settings, data, config) = Tiny(name, ParameterStorage.F32);
        AssertPredicted(settings with { Optimizer = settings.Optimizer.With("projection_basis", "randomized_svd") }, data, config);
    }

    private static void AssertPredicted(TrainingSettings settings, Dataset data, ModelConfig config)
    {
        using var device = new CpuDevice(1);
        MemoryPlan plan = MemoryPlan.Of(config, settings);
        using LanguageModel model = TrainedModel.Create(config, settings, device);
        using var trainer = new Trainer(device, model, data, settings);
        device.Pool.ResetPeak();
        for (int i = 0; i < 3; i++)
            trainer.Step();
        if (trainer.Optimizer.HasEvaluationWeights)
            trainer.Validate(1, onTraining: true);
        Assert.Equal(model.Parameters.Sum(parameter => parameter.Bytes), plan.Weights);
        Assert.Equal(trainer.Optimizer.StateBytes, plan.State);
        Assert.Equal(device.Pool.PeakBytes, plan.Total);
    }

    /// <summary>Checkpoints hold the bits of the storage, and what reads them as f32 sees the same numbers.</summary>
    [Theory]
    [InlineData(ParameterStorage.BF16, "BF16")]
    [InlineData(ParameterStorage.Int8, "I8")]
    public void FilesHoldTheStoredBits(ParameterStorage storage, string type)
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(2);
        var (settings, _, config) = Tiny("adamw", storage);
        using LanguageModel model = TrainedModel.Create(config, settings, device);
        ModelFiles.Save(folder.Path, model);
        using (var file = SafetensorsFile.Open(Path.Combine(folder.Path, ModelFiles.Weights)))
            Assert.Equal(type, file["model.layers.0.mlp.up_proj.weight"].Type);
        using LanguageModel wide = ModelFiles.Load(folder.Path, device);
        Assert.All(wide.Parameters.Zip(model.Parameters), pair => Assert.Equal(pair.Second.ToArray(), pair.First.ToArray()));
        using LanguageModel again = TrainedModel.Create(config, settings with { Seed = 7 }, device);
        ModelFiles.LoadWeights(folder.Path, again);
        foreach ((Parameter left, Parameter right) in model.Parameters.Zip(again.Parameters))
        {
            byte[] expected = new byte[left.Bytes], actual = new byte[right.Bytes];
            device.DownloadBytes(left.Data, expected.Length, expected);
            device.DownloadBytes(right.Data, actual.Length, actual);
            Assert.Equal(expected, actual);
        }
    }

    /// <summary>Text comes from narrow weights as they are, the same as from their f32 copies.</summary>
    [Theory]
    [InlineData(ParameterStorage.BF16, "llama")]
    [InlineData(ParameterStorage.Int8, "llama")]
    [InlineData(ParameterStorage.BF16, "gpt2")]
    [InlineData(ParameterStorage.Int8, "gpt2")]
    public void WritesText(ParameterStorage storage, string family)
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(2);
        var (settings, _, llama) = Tiny("adamw", storage);
        ModelConfig config = family == "llama" ? llama : new Gpt2Config { VocabularySize = 31, ContextLength = 33, Layers = 1, Heads = 2, HiddenSize = 62 };
        using LanguageModel model = TrainedModel.Create(config, settings, device);
        ModelFiles.Save(folder.Path, model);
        using LanguageModel wide = ModelFiles.Load(folder.Path, device);
        int[] Text(LanguageModel from) => [.. new TextGenerator(from, device).Continue([1, 2, 3], 20, new SamplingOptions { Seed = 5 })];
        Assert.Equal(Text(wide), Text(model));
    }

    /// <summary>Adapters beside frozen weights of eight bits learn, and are merged into them.</summary>
    [Fact]
    public void AdaptersLearnBesideNarrowWeights()
    {
        using var device = new CpuDevice(2);
        var (settings, data, config) = Tiny("adamw", ParameterStorage.Int8);
        settings = settings with { Lora = new() { Rank = 3 } };
        using LanguageModel model = TrainedModel.Create(config, settings, device);
        using var trainer = new Trainer(device, model, data, settings);
        float first = trainer.Step().Loss, last = 0;
        for (int i = 0; i < 20; i++)
            last = trainer.Step().Loss;
        Assert.True(last < first, $"the loss went from {first} to {last}");
        model.MergeAdapters();
        Assert.All(model.Parameters, parameter => Assert.All(parameter.ToArray(), value => Assert.True(float.IsFinite(value))));
    }

    private static float[] Losses(string name, ParameterStorage storage, int threads, StateStorage state = StateStorage.F32)
    {
        using var device = new CpuDevice(threads);
        var (settings, data, config) = Tiny(name, storage);
        settings = settings with { Optimizer = settings.Optimizer with { StateType = state } };
        using LanguageModel model = TrainedModel.Create(config, settings, device);
        using var trainer = new Trainer(device, model, data, settings);
        return [.. Enumerable.Range(0, settings.Steps).Select(_ => trainer.Step().Loss)];
    }

    /// <summary>A LLaMA whose sizes fit nothing: rows of 33 and 62 numbers, and of more than a block.</summary>
    private static (TrainingSettings Settings, Dataset Data, ModelConfig Config) Tiny(string name, ParameterStorage storage)
    {
        var settings = new TrainingSettings
        {
            Block = 15,
            Batch = 3,
            Steps = 20,
            Warmup = 0,
            Clip = 0,
            Sampling = Sampling.Random, // the batches with which the bound below was measured
            ParameterType = storage,
            Optimizer = LowRankOptimizers.WithRank(new OptimizerSettings { Name = name, LearningRate = name switch { "sgd" or "muon" => 0.02, "lion" or "came" or "rmsprop" or "signum" => 5e-4, _ => 5e-3 }, WeightDecay = 0.01 }.WithDefault("precondition_frequency", "1"), 2),
        };
        int[] tokens = [.. Enumerable.Range(0, 2000).Select(i => i * i % 31)];
        var config = new LlamaConfig { VocabularySize = 31, ContextLength = 33, HiddenSize = 62, Layers = 2, Heads = 1, IntermediateSize = 259 };
        return (settings, Dataset.FromTokens(TokenSequence.From(tokens), 31, null, 0.1, "squares"), config);
    }

    private static float[] Normal(Device device, int length)
    {
        Block block = device.Pool.Rent(length);
        device.Random(block, RandomKind.Normal, 1, seed: 3, stream: 0);
        var values = new float[length];
        device.Download(block, values);
        return values;
    }
}
