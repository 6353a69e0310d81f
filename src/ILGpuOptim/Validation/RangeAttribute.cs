using System.Globalization;

namespace ILGpuOptim.Validation;

/// <summary>
/// The valid range of a number, declared on its property. Validation, the readers of files and flags, help texts and error messages use it.
/// Infinities and NaN are outside every range, as are numbers that are infinite in single precision.
/// </summary>
/// <param name="minimum">The smallest value.</param>
/// <param name="maximum">The largest value; by default the limit of the type.</param>
[AttributeUsage(AttributeTargets.Property)]
public sealed class RangeAttribute(double minimum, double maximum = double.PositiveInfinity) : Attribute
{
    /// <summary>The smallest value; negative infinity means no limit.</summary>
    public double Minimum => minimum;

    /// <summary>The largest value; infinity means no limit.</summary>
    public double Maximum => maximum;

    /// <summary>Excludes <see cref="Minimum"/> itself, also after rounding to single precision.</summary>
    public bool MinimumIsExclusive { get; set; }

    /// <summary>Excludes <see cref="Maximum"/> itself, also after rounding to single precision.</summary>
    public bool MaximumIsExclusive { get; set; }

    /// <summary>True if a value is in the range.</summary>
    /// <param name="value">A number of any built-in type.</param>
    internal bool Contains(object value)
    {
        double number = Convert.ToDouble(value, CultureInfo.InvariantCulture);
        float single = (float)number;
        return float.IsFinite(single) && number >= minimum && number <= maximum && !(MinimumIsExclusive && single <= (float)minimum) && !(MaximumIsExclusive && single >= (float)maximum);
    }

    /// <summary>The range in words, without "a number": "of at least 0 and below 1". Empty if it has no limits.</summary>
    internal string Limits()
    {
        string lower = double.IsNegativeInfinity(minimum) ? "" : Invariant($"{(MinimumIsExclusive ? "above" : "of at least")} {minimum}");
        string upper = double.IsPositiveInfinity(maximum) ? "" : Invariant($"{(MaximumIsExclusive ? "below" : "of at most")} {maximum}");
        return lower.Length > 0 && upper.Length > 0
            ? !MinimumIsExclusive && !MaximumIsExclusive ? Invariant($"from {minimum} to {maximum}") : Invariant($"{lower} and {(MaximumIsExclusive ? "below" : "at most")} {maximum}")
            : lower + upper;
    }

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
