using ILGpuOptim.Lab;

namespace ILGpuOptim.Tests.Lab;

public class GoldenToleranceTests
{
    [Fact]
    public void LargeMovementsAreBoundedByTheValue()
    {
        // M = 2, moved by 1: 1e-5 · 2 is less than 1e-4 · 1.
        double error = GoldenTolerance.Usual.Check([2f + 1e-5f], [2f], [1f], 2, 1);
        Assert.Equal(((double)(2f + 1e-5f) - 2) / 2e-5, error, 1e-12);
    }

    [Fact]
    public void SmallMovementsAreBoundedByTheMovement()
    {
        // Moved by 0.001: 1e-4 · 0.001 and six roundings of 1.
        double moved = (double)1.001f - 1, bound = 1e-4 * moved + 6 * Math.Pow(2, -25);
        Assert.Equal(Math.Pow(2, -23) / bound, GoldenTolerance.Usual.Check([MathF.BitIncrement(1.001f)], [1.001f], [1f], 1, 2), 1e-9);
    }

    [Fact]
    public void WithoutMovementTheRoundingsDecide()
    {
        Assert.Equal(0.4, GoldenTolerance.Usual.Check([1 + MathF.Pow(2, -23)], [1], [1], 1, 6), 1e-12);
        Assert.Equal(0, GoldenTolerance.Usual.Check([0], [0], [0], 0, 1));
        Assert.Equal(double.PositiveInfinity, GoldenTolerance.Usual.Check([1e-30f], [0], [0], 0, 1));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(2)]
    public void NaNNeverPasses(int position)
    {
        float[] actual = [1, 2, 3];
        actual[position] = float.NaN;
        Assert.Equal(double.NaN, GoldenTolerance.Usual.Check(actual, [1, 2, 3], [0, 0, 0], 3, 1));
        Assert.Equal(double.NaN, GoldenTolerance.CheckState(actual, [1, 2, 3]));
        Assert.False(new Check("x", double.NaN, 1).Passes);
        Assert.False(ModelVerification.Compare("x", actual, [1, 2, 3]).Passes);
        Assert.Equal(double.NaN, GoldenTolerance.Usual.Check([1], [1, 2], [1], 1, 1));
        Assert.Equal(double.NaN, GoldenTolerance.CheckState([1], [1, 2]));
    }

    [Fact]
    public void StatesAreMeasuredByTheirLargest()
    {
        Assert.Equal(0.5, GoldenTolerance.CheckState([4, 0.0002f], [4, 0]), 1e-6);
        Assert.Equal(0, GoldenTolerance.CheckState([], []));
    }
}
