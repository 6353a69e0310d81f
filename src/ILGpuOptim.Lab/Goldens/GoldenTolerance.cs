namespace ILGpuOptim.Lab;

/// <summary>
/// The tolerance of a comparison with a recorded tensor. With M the largest absolute value of a parameter over its trajectory, after
/// t steps its error must be at most <paramref name="OfValue"/> · M, and, because small steps hide behind large weights,
/// at most <paramref name="OfMovement"/> times the largest movement since the start, plus (t + 4) · 2⁻²⁵ · M for the
/// rounding of each step.
/// </summary>
/// <param name="OfValue">Relative to M.</param>
/// <param name="OfMovement">Relative to the largest movement.</param>
internal readonly record struct GoldenTolerance(double OfValue, double OfMovement)
{
    /// <summary>Relative to a state's largest value.</summary>
    public const double OfState = 1e-4;

    /// <summary>Relative to a basis's largest value, where directions of small singular values are ill-conditioned.</summary>
    public const double OfIteratedBasis = 5e-3;

    /// <summary>f32 against f32.</summary>
    public static GoldenTolerance Usual { get; } = new(1e-5, 1e-4);

    /// <summary>GaLore's two-sided projection divides by nearly nothing in its first two steps.</summary>
    public static GoldenTolerance FullProjectionStart { get; } = new(1e-5, 1e-3);

    /// <summary>An iteration in bf16 agrees with one in f32 in the movement only, and roughly.</summary>
    public static GoldenTolerance Bf16Iteration { get; } = new(double.PositiveInfinity, 1e-1);

    /// <summary>Added to both bounds, relative to M: the recorded run's own distance from double precision, for a device that computes in it.</summary>
    public double OfRecording { get; init; }

    /// <summary>A parameter's largest error relative to its bound: it agrees when at most 1, never when NaN.</summary>
    /// <param name="actual">After <paramref name="step"/> steps.</param>
    /// <param name="expected">Recorded after as many.</param>
    /// <param name="start">Before the first step.</param>
    /// <param name="largest">M.</param>
    /// <param name="step">From 1.</param>
    public double Check(ReadOnlySpan<float> actual, ReadOnlySpan<float> expected, ReadOnlySpan<float> start, double largest, int step)
    {
        if (actual.Length != expected.Length || actual.Length != start.Length)
            return double.NaN;
        double bound = Math.Min(OfValue * largest, OfMovement * LargestDifference(expected, start) + (step + 4) * Math.ScaleB(largest, -25)) + OfRecording * largest;
        return Relative(LargestDifference(actual, expected), bound);
    }

    /// <summary>A state's largest error relative to its bound: it agrees when at most 1, never when NaN.</summary>
    public static double CheckState(ReadOnlySpan<float> actual, ReadOnlySpan<float> expected) =>
        actual.Length != expected.Length ? double.NaN : Relative(LargestDifference(actual, expected), OfState * Largest(expected));

    /// <summary>As <see cref="CheckState"/> for a matrix whose columns are known up to their signs.</summary>
    public static double CheckBasis(ReadOnlySpan<float> actual, ReadOnlySpan<float> expected, int columns, double tolerance)
    {
        if (actual.Length != expected.Length)
            return double.NaN;
        double error = 0;
        for (int j = 0; j < columns; j++)
        {
            double same = 0, opposite = 0;
            for (int i = j; i < actual.Length; i += columns)
            {
                same = Math.Max(same, Math.Abs((double)actual[i] - expected[i]));
                opposite = Math.Max(opposite, Math.Abs((double)actual[i] + expected[i]));
            }

            error = Math.Max(error, Math.Min(same, opposite));
        }

        return Relative(error, tolerance * Largest(expected));
    }

    /// <summary>The largest absolute value; NaN if any value is NaN.</summary>
    public static double Largest(float[] values) => Largest(values.AsSpan());

    private static double Largest(ReadOnlySpan<float> values)
    {
        double largest = 0;
        foreach (float value in values)
            largest = Math.Max(largest, Math.Abs((double)value));
        return largest;
    }

    /// <summary>Math.Max propagates NaN.</summary>
    private static double LargestDifference(ReadOnlySpan<float> left, ReadOnlySpan<float> right)
    {
        double largest = 0;
        for (int i = 0; i < left.Length; i++)
            largest = Math.Max(largest, Math.Abs((double)left[i] - right[i]));
        return largest;
    }

    private static double Relative(double error, double bound) => error == 0 ? 0 : error / bound;
}
