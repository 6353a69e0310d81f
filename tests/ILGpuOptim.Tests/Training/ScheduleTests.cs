using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Training;

/// <summary>Learning rates at the steps where they can be told by hand.</summary>
public class ScheduleTests
{
    [Theory]
    [InlineData(ScheduleKind.Constant, 1, 1, 1, 1)]
    [InlineData(ScheduleKind.Linear, 1, 0.775, 0.55, 0.1)]
    [InlineData(ScheduleKind.Cosine, 1, 0.868198051533946, 0.55, 0.1)]
    [InlineData(ScheduleKind.Wsd, 1, 1, 1, 0.1)]
    public void FallsFromThePeakToTheEnd(ScheduleKind kind, double peak, double quarter, double half, double end)
    {
        var schedule = new Schedule(kind, Steps: 110, Warmup: 10, Final: 0.1);
        Assert.Equal(peak, schedule.Factor(10), 12);
        Assert.Equal(quarter, schedule.Factor(35), 12);
        Assert.Equal(half, schedule.Factor(60), 12);
        Assert.Equal(end, schedule.Factor(110), 12);
        Assert.Equal(end, schedule.Factor(1000), 12);
    }

    [Theory]
    [InlineData(0, 1 / 11.0)]
    [InlineData(4, 5 / 11.0)]
    [InlineData(9, 10 / 11.0)]
    public void WarmsUpOnALine(int step, double factor)
    {
        foreach (ScheduleKind kind in Enum.GetValues<ScheduleKind>())
            Assert.Equal(factor, new Schedule(kind, 110, 10, 0.1).Factor(step), 12);
    }

    [Fact]
    public void StaysBeforeItDecays()
    {
        var schedule = new Schedule(ScheduleKind.Wsd, Steps: 100, Warmup: 0, Final: 0, DecayFraction: 0.2);
        Assert.Equal(1, schedule.Factor(79), 12);
        Assert.Equal(1, schedule.Factor(80), 12);
        Assert.Equal(0.5, schedule.Factor(90), 12);
        Assert.Equal(0.05, schedule.Factor(99), 12);
    }

    [Fact]
    public void ARunOfWarmUpAloneEndsAtTheFinalRate() => Assert.Equal(0.3, new Schedule(ScheduleKind.Cosine, 10, 10, 0.3).Factor(10), 12);
}
