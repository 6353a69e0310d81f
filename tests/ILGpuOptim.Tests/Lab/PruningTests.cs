using ILGpuOptim.Lab;

namespace ILGpuOptim.Tests.Lab;

/// <summary>Which learning rates are given up, and when.</summary>
public class PruningTests
{
    [Theory]
    [InlineData(1000, 125, new[] { 250, 500 })]
    [InlineData(1000, 300, new[] { 300, 600 })]
    [InlineData(1000, 600, new[] { 600 })]
    [InlineData(1000, 1000, new int[0])]
    [InlineData(7, 1, new[] { 2, 4 })]
    [InlineData(1, 1, new int[0])]
    public void RungsAreValidationsBeforeTheEnd(int steps, int interval, int[] rungs) => Assert.Equal(rungs, Pruning.Rungs(steps, interval));

    [Theory]
    [InlineData(new[] { 3.0, 2.0, 4.0, 2.5 }, new[] { false, true, false, true })]
    [InlineData(new[] { 3.0, 2.0, 4.0 }, new[] { true, true, false })]
    [InlineData(new[] { 2.0, 2.03, 2.039, 2.05 }, new[] { true, true, true, false })]
    [InlineData(new[] { 2.0, double.NaN, double.PositiveInfinity, 9.0 }, new[] { true, false, false, false })]
    [InlineData(new[] { double.NaN }, new[] { false })]
    [InlineData(new[] { 2.0 }, new[] { true })]
    [InlineData(new double[0], new bool[0])]
    public void TheBetterHalfStaysAndWhoeverIsClose(double[] losses, bool[] stay) => Assert.Equal(stay, Pruning.Survivors(losses));

    [Theory]
    [InlineData(new[] { 3.0, 2.0, 2.0 }, 1)]
    [InlineData(new[] { double.NaN, 5.0, double.PositiveInfinity }, 1)]
    [InlineData(new[] { double.NaN }, -1)]
    [InlineData(new double[0], -1)]
    public void TheBestIsTheFirstOfTheSmallest(double[] losses, int best) => Assert.Equal(best, Pruning.Best(losses));
}
