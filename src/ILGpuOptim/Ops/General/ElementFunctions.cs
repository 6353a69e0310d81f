using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

// The functions of ElementOps. Their gradients come from dual lanes, so the branches of a function must have the right derivative where they meet.

internal readonly struct Product : IFunction2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x, L y) where L : struct, ILane<L> => x * y;
}

internal readonly struct Quotient : IFunction2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x, L y) where L : struct, ILane<L> => x / y;
}

/// <summary>numerator / x.</summary>
internal readonly struct Reciprocal(float numerator) : IFunction1
{
    private readonly float numerator = numerator;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L> => L.Splat(numerator) / x;
}

/// <summary>The greater of two; NaN where either is.</summary>
internal readonly struct Maximum : IFunction2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x, L y) where L : struct, ILane<L> => L.Select(L.Equal(x, x), L.Max(x, y), x);
}

/// <summary>The lesser of two; NaN where either is.</summary>
internal readonly struct Minimum : IFunction2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x, L y) where L : struct, ILane<L> => L.Select(L.Equal(x, x), L.Min(x, y), x);
}

internal readonly struct Squared : IFunction1
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L> => x * x;
}

internal readonly struct SquareRoot : IFunction1
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L> => L.Sqrt(x);
}

internal readonly struct ReciprocalRoot : IFunction1
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L> => L.Splat(1) / L.Sqrt(x);
}

internal readonly struct Exponential : IFunction1
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L> => L.Exp(x);
}

internal readonly struct Logarithm : IFunction1
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L> => L.Log(x);
}

internal readonly struct Absolute : IFunction1
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L> => L.Abs(x);
}

/// <summary>x clamped to limits. The derivative at the limits is 1; NaN stays.</summary>
internal readonly struct Limited(float least, float most) : IFunction1
{
    private readonly float least = least;
    private readonly float most = most;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L> =>
        L.Select(L.Less(x, L.Splat(least)), L.Splat(least), L.Select(L.Less(L.Splat(most), x), L.Splat(most), x));
}

internal readonly struct Power : IFunction2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x, L y) where L : struct, ILane<L> => Of(x, y);

    /// <summary>
    /// xʸ as exp(y ln |x|) with a sign; zeros, infinities and NaN as in IEEE 754's pow. A finite negative x has powers for integers y only. At x = 0 the
    /// derivative counts as 0, except for y = 1.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static L Of<L>(L x, L y) where L : struct, ILane<L>
    {
        L zero = L.Splat(0), one = L.Splat(1), infinity = L.Splat(float.PositiveInfinity), half = L.Splat(0.5f) * y, size = L.Abs(x);
        L isZero = L.Equal(x, zero), isFinite = L.Less(L.Abs(y), infinity);

        // 1 to the power of an infinity is 1, and so is any power of 0, that of NaN included.
        L magnitude = L.Exp(L.Select(isFinite, y, L.Select(L.Equal(size, one), zero, y)) * L.Log(L.Select(isZero, one, size)));
        magnitude = L.Select(L.Equal(y, zero), L.Select(L.Less(size, infinity), magnitude, one), magnitude);
        L ofEven = L.Select(L.Less(zero, y), zero, L.Select(L.Less(y, zero), infinity, y));
        L ofOdd = L.Select(L.Less(zero, y), L.Select(L.Equal(y, one), x, x * zero), L.Select(L.Less(one / x, zero), -infinity, infinity));
        L isEven = L.Equal(L.Round(half), half), isInteger = L.Equal(L.Round(y), y);
        L ofZero = L.Select(L.Equal(y, zero), one, L.Select(isEven, ofEven, L.Select(isInteger, ofOdd, ofEven)));
        L ofNegative = L.Select(isEven, magnitude, L.Select(isInteger, -magnitude, L.Select(L.Less(size, infinity), L.Splat(float.NaN), magnitude)));
        return L.Select(isZero, ofZero, L.Select(L.Less(x, zero), ofNegative, magnitude));
    }
}

internal readonly struct PowerOf(float exponent) : IFunction1
{
    private readonly float exponent = exponent;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L> => Power.Of(x, L.Splat(exponent));
}

/// <summary>y where the condition is 0, else x.</summary>
internal readonly struct Choice : IFunction3
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L condition, L x, L y) where L : struct, ILane<L> => L.Select(L.Equal(condition, L.Splat(0)), y, x);
}

/// <summary>x where the mask is 0, else a value.</summary>
internal readonly struct Masked(float value) : IFunction2
{
    private readonly float value = value;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x, L mask) where L : struct, ILane<L> => L.Select(L.Equal(mask, L.Splat(0)), x, L.Splat(value));
}

/// <summary>A function of two arguments whose second is a constant.</summary>
internal readonly struct WithNumber<F>(F function, float number) : IFunction1 where F : unmanaged, IFunction2
{
    private readonly F function = function;
    private readonly float number = number;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L> => function.Apply(x, L.Splat(number));
}

/// <summary>1 where x &gt; y, else 0.</summary>
internal readonly struct IsGreater : IFunction2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x, L y) where L : struct, ILane<L> => L.Select(L.Less(y, x), L.Splat(1), L.Splat(0));
}

/// <summary>1 where x ≥ y, else 0.</summary>
internal readonly struct IsGreaterOrEqual : IFunction2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x, L y) where L : struct, ILane<L> => L.Select(L.Less(y, x), L.Splat(1), L.Select(L.Equal(x, y), L.Splat(1), L.Splat(0)));
}

/// <summary>1 where x &lt; y, else 0.</summary>
internal readonly struct IsLess : IFunction2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x, L y) where L : struct, ILane<L> => L.Select(L.Less(x, y), L.Splat(1), L.Splat(0));
}

/// <summary>1 where x ≤ y, else 0.</summary>
internal readonly struct IsLessOrEqual : IFunction2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x, L y) where L : struct, ILane<L> => L.Select(L.Less(x, y), L.Splat(1), L.Select(L.Equal(x, y), L.Splat(1), L.Splat(0)));
}

/// <summary>1 where x = y, else 0.</summary>
internal readonly struct IsEqual : IFunction2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x, L y) where L : struct, ILane<L> => L.Select(L.Equal(x, y), L.Splat(1), L.Splat(0));
}

/// <summary>0 where x = y, else 1.</summary>
internal readonly struct IsNotEqual : IFunction2
{
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x, L y) where L : struct, ILane<L> => L.Select(L.Equal(x, y), L.Splat(0), L.Splat(1));
}
