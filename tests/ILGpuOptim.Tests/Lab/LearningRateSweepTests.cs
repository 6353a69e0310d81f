using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Lab;
using ILGpuOptim.Models;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Lab;

public class LearningRateSweepTests
{
    private static readonly TrainingSettings Settings = Presets.Find("tiny") with { Layers = 1, Block = 16, Threads = 1, Clip = 0 };

    private static LearningRateSweep Sweep(double from, double to, int steps, Action<int, RatePoint>? stepped = null, CancellationTokenSource? stop = null)
    {
        using Dataset data = TrainingRun.LoadData(Settings, null);
        using var device = new CpuDevice(1);
        ModelConfig config = TrainedModel.Configuration(Settings, data, null);
        return LearningRateSweep.Run(device, config, Settings, data, from, to, steps, stepped, stop?.Token ?? TestContext.Current.CancellationToken);
    }

    [Fact]
    public void RatesGrowByTheSameFactorAndTheSuggestionLearns()
    {
        int calls = 0;
        LearningRateSweep sweep = Sweep(1e-4, 0.1, 61, (step, _) => Assert.Equal(++calls, step));
        Assert.Null(sweep.End);
        Assert.Equal((61, 61), (sweep.Points.Count, calls));
        Assert.Equal(1e-4, sweep.Points[0].Rate, 1e-12);
        Assert.Equal(0.1, sweep.Points[60].Rate, 1e-12);
        Assert.All(sweep.Points.Zip(sweep.Points.Skip(1)), pair => Assert.Equal(Math.Pow(1000, 1.0 / 60), pair.Second.Rate / pair.First.Rate, 1e-9));
        Assert.Equal(sweep.Points[0].Loss, sweep.Points[0].Smoothed, 1e-9);
        Assert.Equal(sweep.Lowest!.Rate / 3, sweep.Suggested);
        Assert.InRange(sweep.Suggested!.Value, 1e-3, 0.05);
        Assert.Equal(sweep.Points.Select(point => point.Loss), Sweep(1e-4, 0.1, 61).Points.Select(point => point.Loss));
    }

    [Fact]
    public void ItEndsWhereTheLossRises()
    {
        LearningRateSweep sweep = Sweep(1e-3, 1e4, 80);
        Assert.NotNull(sweep.End);
        Assert.InRange(sweep.Points.Count, 10, 79);
        Assert.InRange(sweep.Suggested!.Value, 1e-3, sweep.Points[^1].Rate / 4);
    }

    [Fact]
    public void WithoutProgressNothingIsSuggested()
    {
        Assert.Null(Sweep(1e-30, 1e-29, 10).Suggested);
        using var stop = new CancellationTokenSource();
        LearningRateSweep stopped = Sweep(1e-4, 0.1, 61, (step, _) => { if (step == 5) stop.Cancel(); }, stop);
        Assert.Equal((5, "it was stopped"), (stopped.Points.Count, stopped.End));
    }

    [Theory]
    [InlineData(0, 1)]
    [InlineData(1, 1)]
    [InlineData(double.NaN, 1)]
    [InlineData(1, double.PositiveInfinity)]
    public void RatesMustRise(double from, double to) => Assert.Throws<UserException>(() => Sweep(from, to, 10));
}
