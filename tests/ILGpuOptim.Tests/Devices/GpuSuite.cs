using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Lab;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;
using ILGpuOptim.Tests.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Devices;

/// <summary>Models, optimizers and training on a GPU, against recorded references and the processor. Stamped on each kind below.</summary>
public abstract class GpuSuite(GpuDevice device)
{
    /// <summary>Every folder of recorded results.</summary>
    public static TheoryData<string> Models => [.. Directory.GetDirectories(Goldens.Folder("models")).Select(folder => Path.GetFileName(folder)!).Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Models))]
    public void ModelsAgreeWithPyTorch(string model)
    {
        IReadOnlyList<Check> checks = ModelVerification.Run(Goldens.Folder("models", model), device);
        Assert.NotEmpty(checks);
        Assert.All(checks, check => Assert.True(check.Passes, $"{check.Name}: {check.Error:E2}"));
    }

    [Fact]
    public void EveryRecordedTrajectoryIsReplayed()
    {
        IReadOnlyList<Check> checks = OptimizerVerification.Run(Goldens.Folder("optimizers"), device);
        Assert.NotEmpty(checks);
        Assert.All(checks, check => Assert.True(check.Passes, $"{check.Name}: {check.Error:E2} of its bound, {check.Note}"));
    }

    [Fact]
    public void EveryOptimizerFollowsItselfInDoublePrecision() => Assert.All(Registry.Entries, entry =>
    {
        Check check = OptimizerChecks.On(device, entry);
        Assert.True(check.Passes, $"{entry.Name}: {check.Error:E2} of {check.Bound:E0}, {check.Note}");
    });

    [Fact]
    public void TwoHundredStepsFollowTheProcessor()
    {
        TrainingSettings settings = Presets.Find("shakespeare-char") with { Steps = 200, Warmup = 20 };
        float[] expected = Losses(new CpuDevice(2), settings), actual = Losses(device, settings);
        for (int step = 0; step < expected.Length; step++)
            Assert.True(Math.Abs(actual[step] - expected[step]) <= 1e-3, $"step {step + 1}: a loss of {actual[step]} instead of {expected[step]}");
    }

    [Fact]
    public void TheSameRunGivesTheSameBits()
    {
        TrainingSettings settings = Presets.Find("shakespeare-char") with { Steps = 5, Warmup = 1, Dropout = 0.1 };
        Assert.Equal(Losses(device, settings), Losses(device, settings));
    }

    /// <summary>Where products follow the precision, they round weights to bf16 too, which the processor does not.</summary>
    [Theory]
    [InlineData("tiny")]
    [InlineData("llama-tiny")]
    public void TrainsInBf16OrSaysWhyNot(string preset)
    {
        TrainingSettings settings = Presets.Find(preset) with { Steps = 10, Warmup = 1, Dropout = 0.1, Precision = Precision.BF16 };
        if (!device.HasNarrowAttention)
        {
            UserException error = Assert.Throws<UserException>(() => Losses(device, settings));
            Assert.Contains($"reads f32 only on {device.Name}", error.Message, StringComparison.Ordinal);
            return;
        }

        float[] expected = Losses(new CpuDevice(2), settings), actual = Losses(device, settings);
        for (int step = 0; step < expected.Length; step++)
            Assert.True(Math.Abs(actual[step] - expected[step]) <= 5e-3, $"step {step + 1}: a loss of {actual[step]} instead of {expected[step]}");
        Assert.Equal(actual, Losses(device, settings));
    }

    public static TheoryData<string> Optimizers => [.. Registry.Entries.Select(entry => entry.Name)];

    /// <summary>Dion copies small matrices to the host in each step: two orthonormalisations for each of the four matrices of this model. No other optimizer waits.</summary>
    private static long WaitsOfAStep(string optimizer) => optimizer == "dion" ? 8 : 0;

    [Theory]
    [MemberData(nameof(Optimizers))]
    public void AStepAllocatesNothingAndWaitsForNothing(string optimizer)
    {
        TrainingSettings settings = Presets.Find("shakespeare-char") with { Steps = 100, Layers = 1, HiddenSize = 32, Heads = 2, Optimizer = LowRankOptimizers.WithRank(new OptimizerSettings { Name = optimizer, LearningRate = 1e-3 }, 4) };
        using Dataset data = TrainingRun.LoadData(settings);
        using LanguageModel model = TrainedModel.Create(TrainedModel.Configuration(settings, data), settings, device);
        using var trainer = new Trainer(device, model, data, settings);
        trainer.Step();
        trainer.Step();
        long allocations = device.Pool.Allocations, waits = device.Synchronizations;
        StepResult[] steps = [.. Enumerable.Range(0, 6).Select(_ => trainer.Step())];
        trainer.Settle();
        waits += steps.Length * WaitsOfAStep(optimizer);
        Assert.Equal((allocations, waits), (device.Pool.Allocations, device.Synchronizations));
        Assert.All(steps, step => Assert.True(step.Loss is > 1 and < 10 && step.GradientNorm > 0, $"{step.Step}: {step.Loss}, {step.GradientNorm}"));
        Assert.True(double.IsFinite(trainer.Validate(5)));
        Assert.Equal(waits + 1, device.Synchronizations);
    }

    [Theory]
    [InlineData(Precision.F32)]
    [InlineData(Precision.BF16)]
    public void ThePlanIsWhatARunTakes(Precision precision)
    {
        if (!device.HasNarrowAttention && precision == Precision.BF16)
            precision = Precision.TF32;

        // Few tokens and wide layers, so that what products need beside their matrices counts.
        using var folder = new TemporaryFolder();
        TrainingSettings settings = Presets.Find("shakespeare-char") with { Steps = 2, Warmup = 0, Layers = 2, HiddenSize = 512, Batch = 1, Block = 16, EvalBatches = 0, Precision = precision };
        long before = device.Pool.UsedBytes;
        using TrainingRun run = TrainingRun.Begin(Path.Combine(folder.Path, "run"), settings, device);
        device.Pool.ResetPeak();
        run.Train(CancellationToken.None);
        Assert.InRange(device.Pool.PeakBytes - before, 0.95 * run.Plan.Total, 1.01 * run.Plan.Total);
    }

    [Fact]
    public void WhatIsReadLaterIsWhatWasThereThen()
    {
        const int Rounds = 200;
        Block block = device.Pool.Rent(3);
        var late = new Readback[Rounds];
        for (int i = 0; i < Rounds; i++)
        {
            device.Upload([i, i + 0.5f, -i], block);
            late[i] = device.ReadLater(block);
        }

        for (int i = Rounds - 1; i >= 0; i--)
            Assert.Equal([i, i + 0.5f, -i], late[i].Wait().ToArray());
        device.Pool.Return(block);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(1_000_003)]
    public void UploadsOfAnySizeArrive(int length)
    {
        // Several at once, so that they overtake each other if they can.
        Block[] blocks = [.. Enumerable.Range(0, 3).Select(_ => device.Pool.Rent(length))];
        float[][] values = [.. blocks.Select((_, k) => Enumerable.Range(0, length).Select(i => (float)(i % 1000 + k)).ToArray())];
        for (int k = 0; k < blocks.Length; k++)
            device.Upload(values[k], blocks[k]);
        for (int k = 0; k < blocks.Length; k++)
        {
            var read = new float[length];
            device.Download(blocks[k], read);
            Assert.Equal(values[k], read);
            device.Pool.Return(blocks[k]);
        }
    }

    [Fact]
    public void ADivergedStepReachesNoCheckpointAndTheRunGoesOnElsewhere()
    {
        using var folder = new TemporaryFolder();
        string path = Path.Combine(folder.Path, "run");
        TrainingSettings settings = Presets.Find("tiny") with { Layers = 1, Clip = 0, CheckpointInterval = 1, EvalInterval = 3, EvalBatches = 1, Warmup = 0, Optimizer = new() { Name = "sgd", LearningRate = 1e12 } };
        using (TrainingRun run = TrainingRun.Begin(path, settings, device))
        {
            DivergedException error = Assert.Throws<DivergedException>(() => run.Train(CancellationToken.None));
            Assert.Matches(@"^step \d+: the loss is .*checkpoints are not: lower the learning rate, .* the last checkpoint$", error.Message);
        }

        Assert.All(RunMetrics.Read(path).Steps, step => Assert.True(double.IsFinite(step.Loss)));
        long saved = TrainingRun.Checkpoints(path).Last().Step;
        using var cpu = new CpuDevice(1);
        using TrainingRun again = TrainingRun.Resume(path, _ => cpu);
        Assert.Equal(saved, again.Trainer.StepNumber);
    }

    private static float[] Losses(Device device, TrainingSettings settings)
    {
        Dataset data = TrainingRun.LoadData(settings);
        using LanguageModel model = TrainedModel.Create(TrainedModel.Configuration(settings, data), settings, device);
        using var trainer = new Trainer(device, model, data, settings);
        var losses = new float[settings.Steps];
        for (int step = 0; step < losses.Length; step++)
            losses[step] = trainer.Step().Loss;
        return losses;
    }
}

[Collection("gpu"), Trait("device", "opencl")]
public class OpenClSuite() : GpuSuite(Gpu.OpenCl());

[Collection("gpu"), Trait("device", "cuda")]
public class CudaSuite() : GpuSuite(Gpu.Cuda());
