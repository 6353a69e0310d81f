using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;
using ILGpuOptim.Verification;

namespace ILGpuOptim.Tests.Devices;

/// <summary>Models, optimizers and training on a GPU, against recorded references and the processor. Stamped on each kind below.</summary>
public abstract class GpuSuite(GpuDevice device)
{
    [Theory]
    [InlineData("gpt2-tiny")]
    [InlineData("llama-tiny")]
    [InlineData("bert-tiny")]
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

    [Fact]
    public void AStepAllocatesNothingOnTheDevice()
    {
        TrainingSettings settings = Presets.Find("shakespeare-char") with { Steps = 6, Layers = 1 };
        Dataset data = TrainingRun.LoadData(settings);
        using LanguageModel model = TrainedModel.Create(TrainedModel.Configuration(settings, data), settings, device);
        using var trainer = new Trainer(device, model, data, settings);
        trainer.Step();
        trainer.Step();
        long before = device.Pool.Allocations;
        for (int step = 0; step < 4; step++)
            trainer.Step();
        Assert.Equal(before, device.Pool.Allocations);
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
