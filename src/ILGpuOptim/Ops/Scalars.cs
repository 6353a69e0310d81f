using System.Runtime.CompilerServices;

namespace ILGpuOptim.Ops;

/// <summary>Checks of scalar arguments. The exception names the operation (and the layer, where a weight is given), the argument and its value.</summary>
internal static class Scalars
{
    /// <summary>A factor: neither NaN nor infinite.</summary>
    public static void Finite(string operation, float value, Tensor? weight = null, [CallerArgumentExpression(nameof(value))] string name = "") =>
        Require(float.IsFinite(value), operation, value, weight, name, "must be finite");

    /// <summary>An epsilon, or a standard deviation.</summary>
    public static void NotNegative(string operation, float value, Tensor? weight = null, [CallerArgumentExpression(nameof(value))] string name = "") =>
        Require(value >= 0 && float.IsFinite(value), operation, value, weight, name, "must be finite and at least 0");

    /// <summary>A cap or a bound.</summary>
    public static void Positive(string operation, float value, Tensor? weight = null, [CallerArgumentExpression(nameof(value))] string name = "") =>
        Require(value > 0 && float.IsFinite(value), operation, value, weight, name, "must be finite and above 0");

    /// <summary>A probability with which something may be dropped: 1 would leave nothing.</summary>
    public static void Probability(string operation, float value, Tensor? weight = null, [CallerArgumentExpression(nameof(value))] string name = "") =>
        Require(value is >= 0 and < 1, operation, value, weight, name, "must lie in [0, 1)");

    /// <summary>A number of elements, rows or heads.</summary>
    public static void AtLeast(string operation, long least, long value, [CallerArgumentExpression(nameof(value))] string name = "") =>
        Require(value >= least, operation, value, null, name, $"must be at least {least}");

    private static void Require<T>(bool holds, string operation, T value, Tensor? weight, string name, string range)
    {
        if (!holds)
            throw new ArgumentOutOfRangeException(name, value, FormattableString.Invariant($"{(weight is null ? operation : ProductShape.Named(operation, weight))}: {name} is {value}; it {range}"));
    }
}
