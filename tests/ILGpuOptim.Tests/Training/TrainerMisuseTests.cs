using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Generation;
using ILGpuOptim.Models;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Training;

/// <summary>Trainers, models and devices that are used wrongly, or whose callbacks fail.</summary>
public class TrainerMisuseTests
{
    private static readonly TrainingSettings Settings = Presets.Find("tiny") with { Layers = 1, Heads = 2, HiddenSize = 16, Block = 8, Batch = 2, Steps = 1000, Warmup = 0, EvalBatches = 0, Dropout = 0.1, Accumulate = 2 };

    [Theory]
    [InlineData(0, false)]
    [InlineData(3, false)]
    [InlineData(3, true)]
    public void AFailedStepLeavesNoTrace(int stepsBefore, bool clips)
    {
        using var disturbed = new Subject(Settings with { Clip = clips ? 1 : 0 });
        using var undisturbed = new Subject(Settings with { Clip = clips ? 1 : 0 });
        for (int i = 0; i < stepsBefore; i++)
            Assert.Equal(undisturbed.Step(), disturbed.Step());
        long used = disturbed.Device.Pool.UsedBytes;
        int calls = 0;
        disturbed.Trainer.Tape.GradientReady = _ => throw (++calls == 1 ? new IOException("first") : new IOException("again"));
        Assert.Throws<IOException>(() => disturbed.Trainer.Step());
        Assert.Throws<IOException>(() => disturbed.Trainer.Step());
        disturbed.Trainer.Tape.GradientReady = null;
        Assert.Equal(stepsBefore, disturbed.Trainer.StepNumber);
        Assert.Equal(used, disturbed.Device.Pool.UsedBytes);
        Assert.All(disturbed.Model.Parameters, parameter => Assert.False(disturbed.Trainer.Tape.Gradients.Has(parameter)));
        for (int i = 0; i < 3; i++)
            Assert.Equal(undisturbed.Step(), disturbed.Step());
        Assert.Equal(undisturbed.Device.Pool.UsedBytes, disturbed.Device.Pool.UsedBytes);
    }

    [Fact]
    public void AStepThatIsStoppedBetweenItsBatchesLeavesNoTrace()
    {
        using var disturbed = new Subject(Settings);
        using var undisturbed = new Subject(Settings);
        Assert.Equal(undisturbed.Step(), disturbed.Step());
        disturbed.Trainer.Stop = new CancellationToken(canceled: true);
        Assert.Throws<OperationCanceledException>(() => disturbed.Trainer.Step());
        disturbed.Trainer.Stop = default;
        Assert.Equal(1, disturbed.Trainer.StepNumber);
        Assert.Equal(undisturbed.Step(), disturbed.Step());
        Assert.Equal(undisturbed.Step(), disturbed.Step());
    }

    [Fact]
    public void ADivergedStepLeavesNoTrace()
    {
        using var disturbed = new Subject(Settings);
        using var undisturbed = new Subject(Settings);
        Parameter parameter = disturbed.Model.Parameters[2];
        float[] values = parameter.ToArray();
        parameter.Load([float.NaN, .. values[1..]]);
        Assert.Throws<DivergedException>(() => disturbed.Trainer.Step());
        parameter.Load(values);
        Assert.Equal(undisturbed.Step(), disturbed.Step());
        Assert.Equal(undisturbed.Step(), disturbed.Step());
    }

    [Fact]
    public void ACallbackThatFailsAfterAStepDoesNotUndoIt()
    {
        using var disturbed = new Subject(Settings);
        using var undisturbed = new Subject(Settings);
        disturbed.Trainer.Measured = _ => throw new IOException();
        Assert.Throws<IOException>(() => disturbed.Trainer.Step());
        disturbed.Trainer.Measured = null;
        undisturbed.Step();
        Assert.Equal(1, disturbed.Trainer.StepNumber);
        Assert.Equal(undisturbed.Step(), disturbed.Step());
    }

    [Fact]
    public void AfterAFailureWithinUpdatesTheTrainerRefusesToGoOn()
    {
        using var subject = new Subject(Settings with { Layerwise = true, Accumulate = 1, Clip = 0 });
        Action<Parameter> update = subject.Trainer.Tape.GradientReady!;
        int calls = 0;
        subject.Trainer.Tape.GradientReady = parameter =>
        {
            update(parameter);
            if (++calls == 2)
                throw new IOException();
        };
        Assert.Throws<IOException>(() => subject.Trainer.Step());
        Assert.Contains("step 1 failed within its update", Assert.Throws<InvalidOperationException>(() => subject.Trainer.Step()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void DisposingTwiceIsHarmless()
    {
        using var device = new CpuDevice(1);
        var subject = new Subject(Settings, device);
        subject.Step();
        for (int i = 0; i < 2; i++)
        {
            subject.Trainer.Dispose();
            subject.Trainer.Optimizer.Dispose();
            subject.Model.Dispose();
            subject.Data.Dispose();
        }

        Assert.Equal(0, device.Pool.UsedBytes);
        Block[] blocks = [.. Enumerable.Range(0, 40).Select(_ => device.Pool.Rent(64))];
        Assert.Equal(40, blocks.Select(block => block.Memory).Distinct().Count());
        device.Dispose();
        device.Dispose();
        foreach (Block block in blocks)
            device.Pool.Return(block);
        Assert.Equal(0, device.Pool.ReservedBytes);
    }

    [Fact]
    public void UseAfterDisposalIsAnError()
    {
        using var subject = new Subject(Settings);
        Tensor loss = subject.Model.Loss(new Tape(subject.Device), [1, 2], [2, 3], 1);
        Assert.True(float.IsFinite(loss.Item()));
        subject.Trainer.Optimizer.Dispose();
        Assert.Throws<ObjectDisposedException>(() => subject.Trainer.Step());
        subject.Trainer.Dispose();
        Assert.Throws<ObjectDisposedException>(() => subject.Trainer.Step());
        Assert.Throws<ObjectDisposedException>(() => subject.Trainer.Validate(1));
        subject.Model.Dispose();
        Assert.Throws<ObjectDisposedException>(() => subject.Model.Parameters[0].ToArray());
        Assert.Throws<ObjectDisposedException>(() => subject.Model.Loss(new Tape(subject.Device), [1, 2], [2, 3], 1));
    }

    [Fact]
    public void AStepWithADisposedModelIsAnError()
    {
        using var subject = new Subject(Settings);
        subject.Step();
        subject.Model.Dispose();
        Assert.Throws<ObjectDisposedException>(() => subject.Trainer.Step());
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void AStepOnADisposedDeviceIsAnError(int threads)
    {
        var subject = new Subject(Settings, new CpuDevice(threads));
        subject.Step();
        subject.Device.Dispose();
        Assert.Throws<ObjectDisposedException>(() => subject.Trainer.Step());
        Assert.Throws<ObjectDisposedException>(() => subject.Model.Parameters[0].ToArray());
        Assert.Throws<ObjectDisposedException>(() => subject.Device.Pool.Rent(1));
        subject.Dispose();
    }

    [Fact]
    public void TensorsOfATapeThatWasResetAreGone()
    {
        using var subject = new Subject(Settings);
        var tape = new Tape(subject.Device);
        Tensor loss = subject.Model.Loss(tape, [1, 2], [2, 3], 1);
        tape.Reset();
        Assert.Throws<ObjectDisposedException>(() => loss.Item());
        Assert.Throws<ObjectDisposedException>(() => tape.Backward(loss));
        Assert.Throws<ArgumentException>(() => new Tape(subject.Device).Backward(subject.Model.Loss(tape, [1, 2], [2, 3], 1)));
        tape.Reset();
    }

    [Fact]
    public void TwoDevicesAreNotMixed()
    {
        using var subject = new Subject(Settings);
        using var other = new CpuDevice(1);
        using var reference = new ReferenceDevice();
        Assert.Throws<ArgumentException>(() => new TextGenerator(subject.Model, other));
        Assert.Throws<ArgumentException>(() => new Trainer(other, subject.Model, subject.Data, Settings));
        foreach (Device device in (Device[])[other, reference])
            Assert.Throws<ArgumentException>(() => subject.Model.Loss(new Tape(device), [1, 2], [2, 3], 1));
    }

    [Fact]
    public void AStepWithinAStepIsAnError()
    {
        using var subject = new Subject(Settings);
        subject.Trainer.Tape.GradientReady = _ => subject.Trainer.Step();
        Assert.Throws<InvalidOperationException>(() => subject.Trainer.Step());
    }

    [Fact]
    public void TwoThreadsOnOneDeviceAreToldSo()
    {
        using var device = new CpuDevice(1);
        Block x = device.Pool.Rent(1 << 22), y = device.Pool.Rent(1 << 22);
        using (device.Enter())
        {
            var errors = new List<Exception?>();
            foreach (Action use in (Action[])[() => device.Fill(x, 1), () => device.Pool.Rent(1), () => device.Pool.Return(y), () => device.Copy(x, y), device.Synchronize, device.Dispose])
            {
                var thread = new Thread(() => errors.Add(Record.Exception(use)));
                thread.Start();
                thread.Join();
            }

            Assert.All(errors, error => Assert.Contains("one thread at a time", Assert.IsType<InvalidOperationException>(error).Message, StringComparison.Ordinal));
            device.Fill(x, 1);
        }

        // One after the other is allowed.
        var later = new Thread(() => device.Fill(y, 1));
        later.Start();
        later.Join();
        device.Copy(x, y);
        device.Pool.Return(x);
        device.Pool.Return(y);
    }

    /// <summary>A small model with what trains it.</summary>
    private sealed class Subject : IDisposable
    {
        public Subject(TrainingSettings settings, CpuDevice? device = null)
        {
            Device = device ?? new CpuDevice(1);
            Data = TrainingRun.LoadData(settings);
            Model = TrainedModel.Create(TrainedModel.Configuration(settings, Data), settings, Device);
            Trainer = new Trainer(Device, Model, Data, settings);
        }

        public CpuDevice Device { get; }

        public Dataset Data { get; }

        public LanguageModel Model { get; }

        public Trainer Trainer { get; }

        public (float Loss, float Norm) Step()
        {
            StepResult result = Trainer.Step();
            return (result.Loss, result.GradientNorm);
        }

        public void Dispose()
        {
            Trainer.Dispose();
            Model.Dispose();
            Data.Dispose();
            Device.Dispose();
        }
    }
}
