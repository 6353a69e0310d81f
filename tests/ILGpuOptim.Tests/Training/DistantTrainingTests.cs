using ILGPU.Runtime.OpenCL;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Models;
using ILGpuOptim.Tests.Devices;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Training;

/// <summary>Training on a device that works by itself: nothing waits in a step, and what goes wrong there is told in time.</summary>
public class DistantTrainingTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void NothingWaitsInAStep(bool layerwise)
    {
        TrainingSettings settings = Settings() with { Layerwise = layerwise, Clip = layerwise ? 0 : 1, Accumulate = layerwise ? 1 : 2 };
        using var cpu = new CpuDevice(1);
        float[] expected = Losses(cpu, settings, _ => { });
        var distant = new DistantDevice(cpu);
        int before = 0;
        float[] actual = Losses(distant, settings, step => before = step == 1 ? distant.Waits : before);
        Assert.Equal(before, distant.Waits);
        Assert.Equal(2, distant.MaxUnderWay);
        Assert.Equal(expected, actual);
    }

    [Fact]
    public void AValidationWaitsOnce()
    {
        using var cpu = new CpuDevice(1);
        var distant = new DistantDevice(cpu);
        TrainingSettings settings = Settings();
        using Dataset data = TrainingRun.LoadData(settings);
        using LanguageModel model = TrainedModel.Create(TrainedModel.Configuration(settings, data), settings, distant);
        using var trainer = new Trainer(distant, model, data, settings);
        int before = distant.Waits;
        double loss = trainer.Validate(7);
        Assert.Equal(before + 1, distant.Waits);
        using var near = new Trainer(cpu, TrainedModel.Create(TrainedModel.Configuration(settings, data), settings, cpu), data, settings);
        Assert.Equal(near.Validate(7), loss);
    }

    [Fact]
    public void ARunWritesWhatTheProcessorWrites()
    {
        using var folder = new TemporaryFolder();
        string near = Path.Combine(folder.Path, "near"), far = Path.Combine(folder.Path, "far");
        using var cpu = new CpuDevice(1);
        Train(near, cpu);
        Train(far, new DistantDevice(cpu));
        Assert.Equal(MetricLines.Losses(near), MetricLines.Losses(far));
        Assert.Equal(Checkpoints(near), Checkpoints(far));

        void Train(string path, Device device)
        {
            var told = new List<(long, float)>();
            using TrainingRun run = TrainingRun.Begin(path, Settings(), device);
            run.Stepped = step => told.Add((step.Step, step.Loss));
            Assert.True(run.Train(CancellationToken.None));
            Assert.Equal(Enumerable.Range(1, 12).Select(step => (long)step), told.Select(step => step.Item1));
        }

        static byte[][] Checkpoints(string path) => [.. TrainingRun.Checkpoints(path).Select(item => File.ReadAllBytes(Path.Combine(item.Path, "model.safetensors")))];
    }

    [Fact]
    public void ADivergedStepReachesNoCheckpoint()
    {
        using var folder = new TemporaryFolder();
        string path = Path.Combine(folder.Path, "run");
        using var cpu = new CpuDevice(1);
        using (TrainingRun run = TrainingRun.Begin(path, Settings() with { Clip = 0, CheckpointInterval = 1, Warmup = 0, Optimizer = new() { Name = "sgd", LearningRate = 1e12 } }, new DistantDevice(cpu)))
        {
            DivergedException error = Assert.Throws<DivergedException>(() => run.Train(CancellationToken.None));
            Assert.Matches(@"^step \d+: the loss is .*checkpoints are not: lower the learning rate, .* the last checkpoint$", error.Message);
        }

        (long Step, string Path)[] checkpoints = [.. TrainingRun.Checkpoints(path)];
        Assert.NotEmpty(checkpoints);
        double[] losses = [.. RunMetrics.Read(path).Steps.Select(step => step.Loss)];
        Assert.True(losses.Length >= checkpoints[^1].Step);
        Assert.All(losses, loss => Assert.True(double.IsFinite(loss)));
    }

    [Fact]
    public void ADivergedStepBetweenCheckpointsIsToldAndNotSaved()
    {
        using var cpu = new CpuDevice(1);
        using var folder = new TemporaryFolder();
        TrainingSettings settings = Settings() with { Clip = 0, Warmup = 0, Optimizer = new() { Name = "sgd", LearningRate = 1e12 } };
        using Dataset data = TrainingRun.LoadData(settings);
        var distant = new DistantDevice(cpu);
        using LanguageModel model = TrainedModel.Create(TrainedModel.Configuration(settings, data), settings, distant);
        using var trainer = new Trainer(distant, model, data, settings);

        // The step whose loss is no number: the trainer has launched it and looked at the one before.
        StepResult step;
        do
            step = trainer.Step();
        while (float.IsFinite(step.Loss) && float.IsFinite(step.GradientNorm));
        string checkpoint = Path.Combine(folder.Path, "checkpoint");
        Assert.Throws<DivergedException>(() => Checkpoint.Save(checkpoint, trainer, null, null));
        Assert.False(Directory.Exists(checkpoint));
    }

    [Fact]
    public void ALostDeviceIsOneLineAndTheRunGoesOnElsewhere()
    {
        using var folder = new TemporaryFolder();
        string path = Path.Combine(folder.Path, "run"), whole = Path.Combine(folder.Path, "whole");
        using var cpu = new CpuDevice(1);
        var distant = new DistantDevice(cpu);
        using (TrainingRun run = TrainingRun.Begin(path, Settings(), distant))
        {
            run.Stepped = step =>
            {
                if (step.Step == 9)
                    distant.Launching = () => throw new CLException(CLError.CL_OUT_OF_RESOURCES);
            };
            UserException error = Assert.Throws<UserException>(() => run.Train(CancellationToken.None));
            Assert.Matches(@"^distant: .*CL_OUT_OF_RESOURCES.* checkpoint of step 8: continue with --resume \S+run, or with --resume \S+run --device cpu$", error.InFlags());
            Assert.DoesNotContain('\n', error.Message);
        }

        using (TrainingRun run = TrainingRun.Resume(path, _ => cpu))
        {
            Assert.Equal(8, run.Trainer.StepNumber);
            Assert.True(run.Train(CancellationToken.None));
        }

        using (TrainingRun run = TrainingRun.Begin(whole, Settings(), cpu))
            run.Train(CancellationToken.None);
        Assert.Equal(MetricLines.Losses(whole), MetricLines.Losses(path));
    }

    [Fact]
    public void MemoryThatIsGoneInMidRunIsOneLine()
    {
        using var folder = new TemporaryFolder();
        using var cpu = new CpuDevice(1);
        var distant = new DistantDevice(cpu);
        using TrainingRun run = TrainingRun.Begin(Path.Combine(folder.Path, "run"), Settings() with { CheckpointInterval = 0 }, distant);
        run.Stepped = _ =>
        {
            distant.Pool.Trim();
            distant.Allocating = () => throw new DeviceMemoryException("out of memory: 4,096 bytes requested, 8,192 in use");
        };
        UserException error = Assert.Throws<UserException>(() => run.Train(CancellationToken.None));
        Assert.Contains("out of memory: 4,096 bytes", error.Message, StringComparison.Ordinal);
        Assert.Contains("starts from the beginning", error.Message, StringComparison.Ordinal);
        Assert.Empty(TrainingRun.Checkpoints(run.Folder));
    }

    [Fact]
    public void IdleMemoryIsGivenBackBeforeARequestFails()
    {
        using var cpu = new CpuDevice(1);
        var distant = new DistantDevice(cpu);
        distant.Pool.Return(distant.Pool.Rent(1 << 20));
        bool full = true;
        distant.Allocating = () =>
        {
            if (full)
            {
                full = false;
                throw new DeviceMemoryException("full");
            }
        };
        Block block = distant.Pool.Rent(1 << 10);
        Assert.Equal(block.Memory.Bytes, distant.Pool.ReservedBytes);
        full = true;
        Assert.Throws<DeviceMemoryException>(() => distant.Pool.Rent(1 << 12));
    }

    private static float[] Losses(Device device, TrainingSettings settings, Action<int> stepped)
    {
        using Dataset data = TrainingRun.LoadData(settings);
        using LanguageModel model = TrainedModel.Create(TrainedModel.Configuration(settings, data), settings, device);
        using var trainer = new Trainer(device, model, data, settings);
        var steps = new StepResult[settings.Steps];
        for (int step = 0; step < steps.Length; step++)
        {
            steps[step] = trainer.Step();
            stepped(step);
        }

        trainer.Settle();
        return [.. steps.Select(step => step.Loss)];
    }

    private static TrainingSettings Settings() => new()
    {
        Steps = 12,
        Layers = 1,
        Heads = 2,
        HiddenSize = 16,
        Block = 8,
        Batch = 2,
        Warmup = 2,
        EvalInterval = 5,
        EvalBatches = 2,
        CheckpointInterval = 4,
        Keep = 20,
        Optimizer = new() { Name = "adamw", LearningRate = 1e-3 },
    };
}
