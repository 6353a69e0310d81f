using System.Text.Json;
using ILGpuOptim.Compute;
using ILGpuOptim.Optim;
using ILGpuOptim.Tests.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Training;

/// <summary>A run that stops and goes on gives the same losses and parameters, bit for bit, as one that never stopped.</summary>
public class ResumeTests
{
    /// <summary>Written out, not taken from the registry, so that <c>RegistryTests</c> sees which optimizer is missing.</summary>
    public static TheoryData<string, int> Optimizers => new()
    {
        { "sgd", 40 },
        { "adagrad", 40 },
        { "rmsprop", 40 },
        { "adam", 40 },
        { "nadam", 40 },
        { "adamw", 200 },
        { "adafactor", 40 },
        { "adafactor-relative", 40 },
        { "radam", 40 },
        { "signum", 40 },
        { "stable-adamw", 40 },
        { "adopt", 40 },
        { "mars", 40 },
        { "ademamix", 40 },
        { "spam", 40 },
        { "stable-spam", 40 },
        { "lamb", 40 },
        { "lion", 40 },
        { "muon", 40 },
        { "sophia", 40 },
        { "prodigy", 40 },
        { "schedulefree-sgd", 40 },
        { "schedulefree-adamw", 40 },
        { "normuon", 40 },
        { "soap", 40 },
        { "dion", 40 },
        { "scale", 40 },
        { "adam-mini", 40 },
        { "came", 200 },
        { "galore", 40 },
        { "fira", 40 },
        { "apollo", 200 },
        { "apollo-mini", 40 },
    };

    [Theory]
    [MemberData(nameof(Optimizers))]
    public void GoesOnExactly(string optimizer, int steps) => StopsAndGoesOn(optimizer, settings => settings with { Steps = steps });

    [Theory]
    [InlineData("galore")]
    [InlineData("apollo")]
    public void RandomizedBasesGoOnExactly(string optimizer) => StopsAndGoesOn(
        optimizer, settings => settings with { Steps = 40, Optimizer = settings.Optimizer.With("projection_basis", "randomized_svd").With("update_projection_gap", 7).With("rank", 5) });

    [Theory]
    [InlineData("llama-tiny")]
    [InlineData("bert-tiny")]
    [InlineData("t5-tiny")]
    public void EveryModelGoesOnExactly(string preset) => StopsAndGoesOn("adamw", settings => settings with { Steps = 40, Model = Presets.Find(preset).Model, Dropout = 0.1 });

    [Theory]
    [InlineData("adamw", StateStorage.BF16)]
    [InlineData("adamw", StateStorage.Fp8)]
    [InlineData("came", StateStorage.Fp8)]
    public void NarrowStateGoesOnExactly(string optimizer, StateStorage storage) =>
        StopsAndGoesOn(optimizer, settings => settings with { Steps = 20, HiddenSize = 72, Optimizer = settings.Optimizer with { StateType = storage } });

    [Theory]
    [InlineData("adamw", ParameterStorage.BF16)]
    [InlineData("adamw", ParameterStorage.Int8)]
    [InlineData("apollo", ParameterStorage.Int8)]
    [InlineData("came", ParameterStorage.BF16)]
    public void NarrowParametersGoOnExactly(string optimizer, ParameterStorage storage) =>
        StopsAndGoesOn(optimizer, settings => settings with { Steps = 20, ParameterType = storage });

    [Theory]
    [InlineData("tiny", ParameterStorage.F32)]
    [InlineData("llama-tiny", ParameterStorage.BF16)]
    [InlineData("bert-tiny", ParameterStorage.F32)]
    public void NarrowActivationsGoOnExactly(string preset, ParameterStorage storage) =>
        StopsAndGoesOn("adamw", settings => settings with { Steps = 20, Model = Presets.Find(preset).Model, Dropout = 0.1, Precision = Precision.BF16, ParameterType = storage });

    [Fact]
    public void LayerwiseUpdatesGoOnExactly() =>
        StopsAndGoesOn("apollo-mini", settings => settings with { Steps = 20, ParameterType = ParameterStorage.Int8, Layerwise = true, Clip = 0 });

    private static void StopsAndGoesOn(string optimizer, Func<TrainingSettings, TrainingSettings> change)
    {
        using var folder = new TemporaryFolder();
        TrainingSettings settings = change(Settings(folder, optimizer));
        int steps = settings.Steps;
        using var device = new CpuDevice(2);
        string whole = Path.Combine(folder.Path, "whole"), parts = Path.Combine(folder.Path, "parts");
        using (TrainingRun run = TrainingRun.Begin(whole, settings, device))
            Assert.True(run.Train(CancellationToken.None));
        using (TrainingRun run = TrainingRun.Begin(parts, settings, device))
        {
            using var stop = new CancellationTokenSource();
            run.Stepped = result =>
            {
                if (result.Step == steps / 2)
                    stop.Cancel();
            };
            Assert.False(run.Train(stop.Token));
        }

        // Another device, with another number of threads.
        using var again = new CpuDevice(1);
        using (TrainingRun run = TrainingRun.Resume(parts, _ => again))
            Assert.True(run.Train(CancellationToken.None));
        Assert.Equal(MetricLines.Updates(whole), MetricLines.Updates(parts));
        Assert.Equal(File.ReadAllBytes(Weights(whole, steps)), File.ReadAllBytes(Weights(parts, steps)));
    }

    [Fact]
    public void ADamagedCheckpointIsNamed()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        string path = Path.Combine(folder.Path, "run");
        TrainingSettings settings = Settings(folder, "adamw") with { Steps = 10 };
        using (TrainingRun run = TrainingRun.Begin(path, settings, device))
            run.Train(CancellationToken.None);
        string weights = Weights(path, 10);
        byte[] bytes = File.ReadAllBytes(weights);
        foreach (Func<byte[]> damage in (Func<byte[]>[])[() => bytes[..^7], () => [.. bytes[..200], (byte)(bytes[200] ^ 1), .. bytes[201..]], () => []])
        {
            File.WriteAllBytes(weights, damage());
            UserException error = Assert.Throws<UserException>(() => TrainingRun.Resume(path, _ => device));
            Assert.Contains("model.safetensors", error.Message, StringComparison.Ordinal);
            Assert.Contains("Remove", error.Message, StringComparison.Ordinal);
        }

        File.WriteAllBytes(weights, bytes);
        UserException other = Assert.Throws<UserException>(() => TrainingRun.Resume(path, _ => device, s => s with { Optimizer = s.Optimizer.For("came") }));
        Assert.Contains("adamw, not came", other.Message, StringComparison.Ordinal);
        other = Assert.Throws<UserException>(() => TrainingRun.Resume(path, _ => device, s => s with { HiddenSize = 48 }));
        Assert.Contains("another model", other.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void KeepsTheNewestAndTheBest()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        string path = Path.Combine(folder.Path, "run");
        using (TrainingRun run = TrainingRun.Begin(path, Settings(folder, "adamw") with { Steps = 50, CheckpointInterval = 5, EvalInterval = 5, Keep = 2 }, device))
            run.Train(CancellationToken.None);
        long[] steps = [.. TrainingRun.Checkpoints(path).Select(item => item.Step)];
        Assert.Equal([45, 50], steps[^2..]);
        Assert.InRange(steps.Length, 2, 3);
    }

    [Fact]
    public void TheBestOutlivesAResume()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        string path = Path.Combine(folder.Path, "run");
        TrainingSettings settings = Settings(folder, "adamw") with { Steps = 10, CheckpointInterval = 5, EvalInterval = 5, Keep = 1 };
        using (TrainingRun run = TrainingRun.Begin(path, settings, device))
            run.Train(CancellationToken.None);
        string best = Path.Combine(path, "checkpoints", "step-0000010", "checkpoint.json");
        var json = System.Text.Json.Nodes.JsonNode.Parse(File.ReadAllText(best))!;
        json["validation_loss"] = 0.001;
        File.WriteAllText(best, json.ToJsonString());
        using (TrainingRun run = TrainingRun.Resume(path, _ => device, s => s with { Steps = 20 }))
            run.Train(CancellationToken.None);
        Assert.Equal([10, 20], TrainingRun.Checkpoints(path).Select(item => item.Step));
    }

    [Fact]
    public void StopsWhenTheLossIsNoNumber()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        string path = Path.Combine(folder.Path, "run");
        TrainingSettings settings = Settings(folder, "sgd") with { Steps = 200, Clip = 0, CheckpointInterval = 1, Warmup = 0 };
        using TrainingRun run = TrainingRun.Begin(path, settings with { Optimizer = settings.Optimizer with { LearningRate = 1e12 } }, device);
        DivergedException error = Assert.Throws<DivergedException>(() => run.Train(CancellationToken.None));
        Assert.Matches(@"^step \d+: the loss is .* (wte|wpe|h\.|ln_f).* is not finite; lower the learning rate", error.Message);
        Assert.NotEmpty(TrainingRun.Checkpoints(path));
    }

    [Fact]
    public void AccumulationEqualsALargerBatch()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        TrainingSettings settings = Settings(folder, "sgd") with { Steps = 1, Dropout = 0, Clip = 0, Warmup = 0 };
        string small = Path.Combine(folder.Path, "small"), large = Path.Combine(folder.Path, "large");
        using TrainingRun accumulated = TrainingRun.Begin(small, settings with { Batch = 2, Accumulate = 4 }, device);
        using TrainingRun whole = TrainingRun.Begin(large, settings with { Batch = 8 }, device);
        StepResult left = accumulated.Trainer.Step(), right = whole.Trainer.Step();
        Assert.Equal(right.Loss, left.Loss, 1e-5f);
        Assert.Equal(right.GradientNorm, left.GradientNorm, 1e-5f);
    }

    private static TrainingSettings Settings(TemporaryFolder folder, string optimizer)
    {
        string text = Path.Combine(folder.Path, "text.txt");
        File.WriteAllText(text, string.Concat(Enumerable.Range(0, 400).Select(i => $"line {i * i % 97} of the text says {i % 7}\n")));
        return new TrainingSettings
        {
            Data = [text],
            Layers = 2,
            Heads = 2,
            HiddenSize = 24,
            Block = 16,
            Batch = 4,
            Dropout = 0.1,
            Warmup = 5,
            EvalInterval = 20,
            EvalBatches = 2,
            CheckpointInterval = 20,
            Optimizer = LowRankOptimizers.WithRank(new OptimizerSettings { Name = optimizer, LearningRate = 1e-3 }.WithDefault("update_projection_gap", "7").WithDefault("precondition_frequency", "7").WithDefault("curvature_interval", "7"), 4),
        };
    }

    private static string Weights(string run, int step) => Path.Combine(run, "checkpoints", $"step-{step:D7}", "model.safetensors");
}
