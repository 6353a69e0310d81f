using ILGpuOptim.Lab;
using MathNet.Numerics.Distributions;

namespace ILGpuOptim.Tests.Lab;

/// <summary>The statistics of paired runs.</summary>
public class PairedTestTests
{
    [Fact]
    public void AgreesWithValuesByHand()
    {
        // t = 2 / (1 / √3), and with two degrees of freedom p = 1 - t / √(t² + 2).
        PairedTest test = PairedTest.Of([1, 2, 3])!;
        Assert.Equal(2, test.Mean, 1e-12);
        Assert.Equal(1, test.StandardDeviation, 1e-12);
        Assert.Equal(Math.Sqrt(12), test.T, 1e-12);
        Assert.Equal(1 - Math.Sqrt(12.0 / 14), test.P, 1e-12);
        Assert.Equal(4.302652729911275 / Math.Sqrt(3), test.HalfWidth, 1e-9);
    }

    [Fact]
    public void EqualRunsDifferByNothingAndConstantDifferencesSurely()
    {
        Assert.Equal((0d, 1d), (PairedTest.Of([0, 0, 0])!.T, PairedTest.Of([0, 0, 0])!.P));
        PairedTest constant = PairedTest.Of([-0.5, -0.5])!;
        Assert.Equal((double.NegativeInfinity, 0d, 0d), (constant.T, Math.Round(constant.P, 12), constant.HalfWidth));
        Assert.Null(PairedTest.Of([1]));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(7)]
    [InlineData(30)]
    public void AgreesWithMathNet(int degrees)
    {
        foreach (double t in (double[])[0, 0.1, -0.7, 1, 2.5, 8, 100])
            Assert.Equal(1 - 2 * StudentT.CDF(0, 1, degrees, -Math.Abs(t)), PairedTest.Within(t, degrees), 1e-10);
        Assert.Equal(StudentT.InvCDF(0, 1, degrees, 0.975), PairedTest.Quantile(0.95, degrees), 1e-7);
    }

    [Theory]
    [InlineData(new[] { 0.01, 0.04, 0.03, 0.005 }, new[] { 0.03, 0.06, 0.06, 0.02 })]
    [InlineData(new[] { 0.5, 0.4, 0.9 }, new[] { 1.0, 1.0, 1.0 })]
    [InlineData(new[] { 0.02 }, new[] { 0.02 })]
    [InlineData(new double[0], new double[0])]
    public void HolmMultipliesBySmallestFirst(double[] probabilities, double[] corrected)
    {
        IReadOnlyList<double> result = PairedTest.Holm(probabilities);
        Assert.Equal(corrected.Length, result.Count);
        for (int i = 0; i < corrected.Length; i++)
            Assert.Equal(corrected[i], result[i], 1e-12);
    }

    [Theory]
    [InlineData(4.5, 0.5, -1)]
    [InlineData(4.0, 0.5, 0)]
    [InlineData(3.75, 0.70710678118654757, 0)]
    [InlineData(3.5, 1, 0)]
    [InlineData(3.35, 1.4142135623730951, 0)]
    [InlineData(3.2, 2, 0)]
    [InlineData(3.1, 2, 1)]
    public void TokensAreInterpolatedInTheirLogarithm(double loss, double multiple, int beyond)
    {
        TokenEquivalent tokens = TokenEquivalent.Of([(1, 3.5), (0.5, 4.0), (2, 3.2)], loss)!;
        Assert.Equal(multiple, tokens.Multiple, 1e-12);
        Assert.Equal(beyond, tokens.Beyond);
    }

    [Fact]
    public void ThereAreNoTokensForACurveThatDoesNotFall()
    {
        Assert.Null(TokenEquivalent.Of([(1, 3.5), (2, 3.6)], 3.5));
        Assert.Null(TokenEquivalent.Of([(1, 3.5)], 3.5));
    }
}
