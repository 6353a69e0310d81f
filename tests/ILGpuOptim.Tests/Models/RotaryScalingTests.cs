using ILGpuOptim.Layers;

namespace ILGpuOptim.Tests.Models;

/// <summary>Every kind of rotary scaling against the formulas written in another way.</summary>
public class RotaryScalingTests
{
    private const int Positions = 4096;

    [Theory]
    [InlineData(10000, 64, 1024, 4, 32, 1, true)]
    [InlineData(1000000, 128, 32768, 4, 32, 1, true)]
    [InlineData(10000, 10, 64, 8, 16, 2, true)]
    [InlineData(10000, 10, 64, 8, 16, 2, false)]
    [InlineData(150000, 64, 4096, 32, 32, 1, false)]
    [InlineData(10000, 2, 16, 3, 32, 1, true)]
    [InlineData(10000, 8, 200, 3, 5, 5, false)]
    public void YarnMixesFrequenciesByTheirTurns(double theta, int size, int original, double factor, double fast, double slow, bool truncates)
    {
        var scaling = new RotaryScaling { Kind = "yarn", Factor = factor, OriginalPositions = original, FastTurns = fast, SlowTurns = slow, Truncates = truncates };
        var angles = new RotaryAngles(new RotaryDescription(theta, size, scaling) { MaxPositions = Positions });
        double low = PairWithTurns(fast), high = PairWithTurns(slow);
        if (truncates)
            (low, high) = (Math.Floor(low), Math.Ceiling(high));
        low = low < 0 ? 0 : low;
        high = high > size - 1 ? size - 1 : high;
        high += low == high ? 0.001 : 0;
        double magnitude = 1 + Math.Log(factor) / 10;
        float[] row = Row(angles, 1, size);
        for (int k = 0; k < size / 2; k++)
        {
            double full = Math.Exp(-2 * k * Math.Log(theta) / size);
            double part = k <= low ? 0 : k >= high ? 1 : (k - low) / (high - low);
            double expected = full + part * (full / factor - full);
            Assert.Equal(magnitude * Math.Cos(expected), row[k], 2e-7);
            Assert.Equal(magnitude * Math.Sin(expected), row[size / 2 + k], 2e-7);
        }

        // The pair, not a whole number, that turns so often in the original context: by bisection.
        double PairWithTurns(double turns)
        {
            double from = -1000, to = 1000;
            for (int i = 0; i < 200; i++)
            {
                double middle = (from + to) / 2;
                if (original * Math.Pow(theta, -2 * middle / size) > turns * 2 * Math.PI)
                    from = middle;
                else
                    to = middle;
            }

            return from;
        }
    }

    [Theory]
    [InlineData(null, null, null, 1.13862943611199)]
    [InlineData(1.5, null, null, 1.5)]
    [InlineData(null, 1.0, 0.0, 1.13862943611199)]
    [InlineData(null, 1.0, 1.0, 1.0)]
    [InlineData(null, 2.0, 0.5, 1.277258872 / 1.069314718)]
    public void YarnScalesCosinesAndSines(double? attention, double? scale, double? all, double expected)
    {
        var scaling = new RotaryScaling { Kind = "yarn", Factor = 4, AttentionFactor = attention, Scale = scale, AllDimensionsScale = all };
        AssertMagnitude(scaling, expected);
        AssertMagnitude(scaling with { Factor = 0.5, AttentionFactor = null, Scale = null }, 1);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(4096)]
    [InlineData(4097)]
    [InlineData(9000)]
    public void DynamicScalingRaisesTheBaseWithTheLongestSequence(int length)
    {
        const int size = 10;
        var angles = new RotaryAngles(new RotaryDescription(10000, size, new RotaryScaling { Kind = "dynamic", Factor = 3 }) { MaxPositions = Positions });
        float[] rows = new float[2 * size];
        angles.Write([3, length - 1], rows);
        double stretch = Math.Log(3.0 * Math.Max(length, Positions) / Positions - 2);
        for (int k = 0; k < size / 2; k++)
        {
            double expected = 3 * Math.Exp(-2.0 * k / size * (Math.Log(10000) + stretch * size / (size - 2)));
            Assert.Equal(Math.Cos(expected), rows[k], 2e-7);
            Assert.Equal(Math.Sin(expected), rows[size / 2 + k], 2e-7);
        }

        Assert.Equal(length > Positions, angles.VariantOf(length) != angles.VariantOf(1));
        Assert.NotEqual(angles.VariantOf(Positions + 1), angles.VariantOf(Positions + 2));
    }

    [Theory]
    [InlineData(null, null, 64, 1)]
    [InlineData(null, null, 1024, 1.09544511501)]
    [InlineData(null, 16.0, 1024, 1.18321595662)]
    [InlineData(1.25, 16.0, 1024, 1.25)]
    [InlineData(null, 0.5, 1024, 1)]
    public void LongRopeHasTwoListsOfDivisors(double? attention, double? factor, int original, double magnitude)
    {
        const int size = 6;
        double[] shortFactors = [1, 1.5, 3], longFactors = [2, 5, 11];
        var scaling = new RotaryScaling { Kind = "longrope", Factor = factor, AttentionFactor = attention, OriginalPositions = original, ShortFactors = shortFactors, LongFactors = longFactors };
        var angles = new RotaryAngles(new RotaryDescription(500, size, scaling) { MaxPositions = original == 64 ? 64 : 4096 });
        foreach (int length in (int[])[1, original, original + 1, original + 7])
        {
            float[] rows = new float[2 * size];
            angles.Write([5 % length, length - 1], rows);
            double position = 5 % length;
            for (int k = 0; k < size / 2; k++)
            {
                double expected = position / Math.Pow(500, k / 3.0) / (length > original ? longFactors : shortFactors)[k];
                Assert.Equal(magnitude * Math.Cos(expected), rows[k], 3e-7);
                Assert.Equal(magnitude * Math.Sin(expected), rows[size / 2 + k], 3e-7);
            }
        }

        Assert.NotEqual(angles.VariantOf(original), angles.VariantOf(original + 1));
    }

    /// <summary>Positions beyond 2²⁴ / 100 lose digits in products of f32: they are computed in f64.</summary>
    [Fact]
    public void AnglesOfFarPositionsAreExact()
    {
        var angles = new RotaryAngles(new RotaryDescription(10000, 8) { MaxPositions = 1 << 20 });
        const int position = 1_000_003;
        float[] row = Row(angles, position, 8);
        for (int k = 0; k < 4; k++)
        {
            double angle = position / Math.Pow(10, k);
            Assert.Equal((float)Math.Cos(angle), row[k], 1e-7f);
            Assert.Equal((float)Math.Sin(angle), row[4 + k], 1e-7f);
        }
    }

    private static void AssertMagnitude(RotaryScaling scaling, double expected)
    {
        float[] row = Row(new RotaryAngles(new RotaryDescription(10000, 8, scaling) { MaxPositions = Positions }), 7, 8);
        for (int k = 0; k < 4; k++)
            Assert.Equal(expected, Math.Sqrt((double)row[k] * row[k] + (double)row[4 + k] * row[4 + k]), 2e-7);
    }

    private static float[] Row(RotaryAngles angles, int position, int size)
    {
        var row = new float[size];
        angles.Write([position], row);
        return row;
    }
}
