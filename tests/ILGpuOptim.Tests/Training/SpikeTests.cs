using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Models;
using ILGpuOptim.Tests.Devices;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Training;

/// <summary>Steps whose loss or gradient norm spikes.</summary>
public sealed class SpikeTests : IDisposable
{
    /// <summary>Half a standard deviation above the mean of few steps: losses of a model that hardly learns have that often.</summary>
    private static readonly TrainingSettings Guarded = Presets.Find("tiny") with { Optimizer = new() { LearningRate = 1e-5 }, Steps = 24, Accumulate = 2, Batch = 2, EvalBatches = 0, Dropout = 0.1, SpikeThreshold = 0.5, SpikeWindow = 3, CheckpointInterval = 0 };

    private readonly TemporaryFolder folder = new();
    private readonly CpuDevice device = new(1);

    public void Dispose()
    {
        device.Dispose();
        folder.Dispose();
    }

    private static (Trainer Trainer, LanguageModel Model) Begin(Device device, TrainingSettings settings)
    {
        Dataset data = TrainingRun.LoadData(settings);
        LanguageModel model = TrainedModel.Create(TrainedModel.Configuration(settings, data), settings, device);
        return (new Trainer(device, model, data, settings), model);
    }

    [Fact]
    public void StatisticsAreThoseOfAllValuesAndThenExponential()
    {
        double[] values = [3, 5, 4, 8, 1, 7];
        RunningStatistics running = default;
        for (int i = 0; i < 4; i++)
            running = running.With(values[i], 4);
        Assert.Equal((5, 3.5), (running.Mean, running.Variance), (a, b) => Math.Abs(a.Item1 - b.Item1) < 1e-12 && Math.Abs(a.Item2 - b.Item2) < 1e-12);
        running = running.With(values[4], 4);
        Assert.Equal((4, 0.75 * (3.5 + 0.25 * 16)), (running.Mean, running.Variance), (a, b) => Math.Abs(a.Item1 - b.Item1) < 1e-12 && Math.Abs(a.Item2 - b.Item2) < 1e-12);
        Assert.Equal(3 / Math.Sqrt(running.Variance), running.Score(7), 1e-12);
        Assert.True(new RunningStatistics(5, 2, 0).Score(2.0001) < 1.01, "rounding alone is no spike");
    }

    /// <summary>Against losses and norms judged again in the test; on a device that works by itself, too.</summary>
    [Theory]
    [InlineData(SpikeMeasure.Loss, false)]
    [InlineData(SpikeMeasure.GradientNorm, false)]
    [InlineData(SpikeMeasure.Either, false)]
    [InlineData(SpikeMeasure.Either, true)]
    public void SkippedStepsChangeNothing(SpikeMeasure measure, bool distant)
    {
        using Device used = distant ? new DistantDevice(new CpuDevice(1)) : new CpuDevice(2);
        (Trainer trainer, LanguageModel model) = Begin(used, Guarded with { SpikeMeasure = measure, Ema = 0.9 });
        RunningStatistics losses = default, norms = default;
        long skipped = 0;
        var told = new List<StepResult>();
        trainer.Measured = told.Add;
        for (int step = 1; step <= Guarded.Steps; step++)
        {
            float[] before = State(trainer, model);
            StepResult result = trainer.Step();
            bool spikes = losses.Count >= 3 && ((measure != SpikeMeasure.GradientNorm && losses.Score(result.Loss) > 0.5) || (measure != SpikeMeasure.Loss && norms.Score(result.GradientNorm) > 0.5));
            Assert.Equal(spikes, result.Spike is not null);
            Assert.Equal(spikes, before.SequenceEqual(State(trainer, model)));
            Assert.Equal((step, spikes ? ++skipped : skipped), (trainer.StepNumber, trainer.Spikes!.Value.Skipped));
            if (spikes)
                Assert.Equal(skipped, result.Spike!.Skipped);
            else
                (losses, norms) = (losses.With(result.Loss, 3), norms.With(result.GradientNorm, 3));
        }

        Assert.InRange(skipped, 1, 20);
        Assert.Equal(Enumerable.Range(1, Guarded.Steps).Select(step => (long)step), told.Select(result => result.Step));
        trainer.Dispose();
        model.Dispose();
    }

    private static float[] State(Trainer trainer, LanguageModel model)
    {
        IDisposable? average = trainer.Average?.Use();
        float[] averages = [.. model.Parameters.SelectMany(parameter => parameter.ToArray())];
        average?.Dispose();
        return [.. averages, .. model.Parameters.SelectMany(parameter => parameter.ToArray()), .. trainer.Optimizer.States.SelectMany(state => state.Declared.SelectMany(tensor => Download(trainer.Device, state[tensor.Name]))), .. trainer.Optimizer.States.Select(state => (float)state.Step)];
    }

    private static float[] Download(Device device, Block block)
    {
        var values = new float[block.Length];
        device.Download(block, values);
        return values;
    }

    [Fact]
    public void AResumedRunSkipsTheSameSteps()
    {
        using (TrainingRun run = TrainingRun.Begin(folder["parts"], Guarded with { Steps = 11, Schedule = ScheduleKind.Constant, Warmup = 0 }, device))
            run.Train(TestContext.Current.CancellationToken);
        using (TrainingRun run = TrainingRun.Begin(folder["straight"], Guarded with { Schedule = ScheduleKind.Constant, Warmup = 0 }, device))
            run.Train(TestContext.Current.CancellationToken);
        using (TrainingRun run = TrainingRun.Resume(folder["parts"], _ => device, settings => settings with { Steps = Guarded.Steps }))
            run.Train(TestContext.Current.CancellationToken);
        Assert.Equal(MetricLines.Losses(folder["straight"]), MetricLines.Losses(folder["parts"]));
        Assert.Contains(MetricLines.Losses(folder["parts"])[12..], line => line.Contains("\"skipped\":{\"measure\":\"loss\"", StringComparison.Ordinal));
    }

    /// <summary>The state before the spike is saved; with other settings the run goes on as if it had always had them.</summary>
    [Fact]
    public void AStoppedRunIsSavedAndGoesOn()
    {
        string run = folder["run"];
        SpikeException stop;
        using (TrainingRun stopping = TrainingRun.Begin(run, Guarded with { OnSpike = SpikeAction.Stop }, device))
            stop = Assert.Throws<SpikeException>(() => stopping.Train(TestContext.Current.CancellationToken));
        Assert.Equal(stop.Step - 1, Assert.Single(TrainingRun.Checkpoints(run)).Step);
        Assert.Matches($"^step {stop.Step}: the loss of .* is .* standard deviations above its mean of .*saved: continue with --resume .* and --on-spike skip, a larger --spike-threshold, or a lower --lr$", stop.InFlags());
        Assert.Contains($"{{\"step\":{stop.Step},\"stopped\":{{\"measure\":\"loss\"", File.ReadLines(Path.Combine(run, TrainingRun.MetricsFile)).Last(), StringComparison.Ordinal);
        using (TrainingRun resumed = TrainingRun.Resume(run, _ => device, settings => settings with { OnSpike = SpikeAction.Skip }))
            Assert.True(resumed.Train(TestContext.Current.CancellationToken));
        using (TrainingRun skipping = TrainingRun.Begin(folder["skipping"], Guarded, device))
            Assert.True(skipping.Train(TestContext.Current.CancellationToken));
        Assert.Equal(MetricLines.Losses(folder["skipping"]), MetricLines.Losses(run));
    }

    /// <summary>Weights of 1e30 give losses that are no numbers, from the first step on.</summary>
    [Fact]
    public void LossesThatAreNotFiniteAreSkippedTenTimesInARow()
    {
        (Trainer trainer, LanguageModel model) = Begin(device, Guarded with { SpikeThreshold = 1000 });
        Parameter norm = model.Parameters.Last(parameter => parameter.Name.EndsWith("ln_f.weight", StringComparison.Ordinal));
        float[] weights = norm.ToArray();
        norm.Load([.. weights.Select(_ => 1e38f)]);
        for (int i = 1; i <= 10; i++)
            Assert.Equal((double.PositiveInfinity, i), (trainer.Step().Spike!.Score, trainer.Spikes!.Value.InARow));
        Assert.Contains("the 10 steps before were skipped too", Assert.Throws<SpikeException>(() => trainer.Step()).Message, StringComparison.Ordinal);
        norm.Load(weights);
        Assert.Null(trainer.Step().Spike);
        Assert.Equal((11, 10, 0), (trainer.StepNumber, trainer.Spikes!.Value.Skipped, trainer.Spikes.Value.InARow));

        // Weights that are no numbers cannot be skipped.
        norm.Load([.. weights.Select((value, i) => i == 3 ? float.NaN : value)]);
        Assert.Contains("ln_f.weight is not finite", Assert.Throws<DivergedException>(() => trainer.Step()).Message, StringComparison.Ordinal);
        trainer.Dispose();
        model.Dispose();
    }

    [Fact]
    public void LayerwiseUpdatesStopBeforeTheFirst()
    {
        TrainingSettings settings = Guarded with { Layerwise = true, Clip = 0, Accumulate = 1, OnSpike = SpikeAction.Stop };
        (Trainer trainer, LanguageModel model) = Begin(device, settings);
        float[] before = [];
        long step = 0;
        SpikeException stop = Assert.Throws<SpikeException>(() =>
        {
            for (; step < settings.Steps; step++)
            {
                before = State(trainer, model);
                trainer.Step();
            }
        });
        Assert.Equal((step + 1, step), (stop.Step, trainer.StepNumber));
        Assert.True(step >= 3 && before.SequenceEqual(State(trainer, model)));
        Assert.Contains("a step cannot be skipped (--on-spike skip)", Refused(settings with { OnSpike = SpikeAction.Skip }), StringComparison.Ordinal);
        Assert.Contains("(--spike-of either)", Refused(settings with { SpikeMeasure = SpikeMeasure.Either }), StringComparison.Ordinal);
        trainer.Dispose();
        model.Dispose();
    }

    [Fact]
    public void SettingsOfNoGuardAreRefused()
    {
        Assert.Equal("--on-spike stop: no spikes are found; add --spike-threshold, such as 6", Refused(new() { OnSpike = SpikeAction.Stop }));
        Assert.StartsWith("--spike-of gradient_norm: ", Refused(new() { SpikeMeasure = SpikeMeasure.GradientNorm }), StringComparison.Ordinal);
        Assert.StartsWith("--spike-window 7: ", Refused(new() { SpikeWindow = 7 }), StringComparison.Ordinal);
    }

    private static string Refused(TrainingSettings settings) => Assert.Throws<UserException>(settings.Check).InFlags();
}
