using System.Globalization;

namespace ILGpuOptim.Validation;

/// <summary>
/// The valid range of a number, declared on its property. Validation, the readers of files and flags, help texts and error messages use it.
/// Infinities and NaN are outside every range, as are numbers that are infinite in single precision.
/// </summary>
/// <param name="least">The smallest value.</param>
/// <param name="most">The largest value; by default the limit of the type.</param>
[AttributeUsage(AttributeTargets.Property)]
public sealed class RangeAttribute(double least, double most = double.PositiveInfinity) : Attribute
{
    /// <summary>The smallest value; negative infinity means no limit.</summary>
    public double Least => least;

    /// <summary>The largest value; infinity means no limit.</summary>
    public double Most => most;

    /// <summary>Excludes <see cref="Least"/> itself, also after rounding to single precision.</summary>
    public bool Above { get; set; }

    /// <summary>Excludes <see cref="Most"/> itself, also after rounding to single precision.</summary>
    public bool Below { get; set; }

    /// <summary>True if a value is in the range.</summary>
    /// <param name="value">A number of any built-in type.</param>
    public bool Contains(object value)
    {
        double number = Convert.ToDouble(value, CultureInfo.InvariantCulture);
        float single = (float)number;
        return float.IsFinite(single) && number >= least && number <= most && !(Above && single <= (float)least) && !(Below && single >= (float)most);
    }

    /// <summary>The range in words, without "a number": "of at least 0 and below 1". Empty if it has no limits.</summary>
    public string Limits()
    {
        string lower = double.IsNegativeInfinity(least) ? "" : Invariant($"{(Above ? "above" : "of at least")} {least}");
        string upper = double.IsPositiveInfinity(most) ? "" : Invariant($"{(Below ? "below" : "of at most")} {most}");
        return lower.Length > 0 && upper.Length > 0
            ? !Above && !Below ? Invariant($"from {least} to {most}") : Invariant($"{lower} and {(Below ? "below" : "at most")} {most}")
            : lower + upper;
    }

    private static string Invariant(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
