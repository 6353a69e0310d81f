using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute;

/// <summary>A value and its partial derivatives with respect to three variables; otherwise as <see cref="Dual{L}"/>.</summary>
/// <typeparam name="L">The lane of all.</typeparam>
/// <param name="value">The value.</param>
/// <param name="first">Its derivative with respect to the first variable.</param>
/// <param name="second">Its derivative with respect to the second variable.</param>
/// <param name="third">Its derivative with respect to the third variable.</param>
[method: MethodImpl(MethodImplOptions.AggressiveInlining)]
public readonly struct Dual3<L>(L value, L first, L second, L third) : ILane<Dual3<L>> where L : struct, ILane<L>
{
    // Operations read the fields, and the derivative of a constant is default and not Splat(0): each call takes locals, and the JIT stops inlining when a
    // method has many.
    private readonly L value = value;
    private readonly L first = first;
    private readonly L second = second;
    private readonly L third = third;

    /// <summary>The value.</summary>
    public L Value => value;

    /// <summary>The derivative with respect to the first variable.</summary>
    public L First => first;

    /// <summary>The derivative with respect to the second variable.</summary>
    public L Second => second;

    /// <summary>The derivative with respect to the third variable.</summary>
    public L Third => third;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Splat(float value) => new(L.Splat(value), default, default, default);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> operator +(Dual3<L> left, Dual3<L> right) =>
        new(left.value + right.value, left.first + right.first, left.second + right.second, left.third + right.third);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> operator -(Dual3<L> left, Dual3<L> right) =>
        new(left.value - right.value, left.first - right.first, left.second - right.second, left.third - right.third);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> operator *(Dual3<L> left, Dual3<L> right) =>
        new(left.value * right.value, L.Fma(left.first, right.value, left.value * right.first), L.Fma(left.second, right.value, left.value * right.second), L.Fma(left.third, right.value, left.value * right.third));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> operator /(Dual3<L> left, Dual3<L> right)
    {
        L quotient = left.value / right.value, inverse = L.Splat(1) / right.value;
        return new(quotient, (left.first - quotient * right.first) * inverse, (left.second - quotient * right.second) * inverse, (left.third - quotient * right.third) * inverse);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> operator -(Dual3<L> value) => new(-value.value, -value.first, -value.second, -value.third);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Fma(Dual3<L> a, Dual3<L> b, Dual3<L> c) =>
        new(L.Fma(a.value, b.value, c.value), L.Fma(a.first, b.value, L.Fma(a.value, b.first, c.first)), L.Fma(a.second, b.value, L.Fma(a.value, b.second, c.second)), L.Fma(a.third, b.value, L.Fma(a.value, b.third, c.third)));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Sqrt(Dual3<L> value)
    {
        L root = L.Sqrt(value.value);
        return Chain(root, L.Splat(0.5f) / root, value);
    }

    /// <summary>Absolute value; its derivative at 0 is 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Abs(Dual3<L> value)
    {
        L zero = L.Splat(0), sign = L.Select(L.Less(value.value, zero), L.Splat(-1), L.Select(L.Equal(value.value, zero), zero, L.Splat(1)));
        return Chain(L.Abs(value.value), sign, value);
    }

    /// <summary><c>left &lt; right ? left : right</c>, with the derivative of the operand chosen: of the second at ties.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Min(Dual3<L> left, Dual3<L> right)
    {
        L mask = L.Less(left.value, right.value);
        return new(L.Min(left.value, right.value), L.Select(mask, left.first, right.first), L.Select(mask, left.second, right.second), L.Select(mask, left.third, right.third));
    }

    /// <summary><c>left &gt; right ? left : right</c>, with the derivative of the operand chosen: of the second at ties.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Max(Dual3<L> left, Dual3<L> right)
    {
        L mask = L.Less(right.value, left.value);
        return new(L.Max(left.value, right.value), L.Select(mask, left.first, right.first), L.Select(mask, left.second, right.second), L.Select(mask, left.third, right.third));
    }

    /// <summary>A mask of the values: <c>left &lt; right</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Less(Dual3<L> left, Dual3<L> right) => new(L.Less(left.value, right.value), default, default, default);

    /// <summary>A mask of the values: <c>left == right</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Equal(Dual3<L> left, Dual3<L> right) => new(L.Equal(left.value, right.value), default, default, default);

    /// <summary>The operand that the mask chooses, with its derivative.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Select(Dual3<L> mask, Dual3<L> then, Dual3<L> otherwise) =>
        new(L.Select(mask.value, then.value, otherwise.value), L.Select(mask.value, then.first, otherwise.first), L.Select(mask.value, then.second, otherwise.second), L.Select(mask.value, then.third, otherwise.third));

    /// <summary>The nearest integer; its derivative is 0 everywhere.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Round(Dual3<L> value) => new(L.Round(value.value), default, default, default);

    /// <summary><paramref name="value"/> · 2ⁿ; the integral <paramref name="exponent"/> n counts as a constant.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> ScaleByPowerOfTwo(Dual3<L> value, Dual3<L> exponent) =>
        new(L.ScaleByPowerOfTwo(value.value, exponent.value), L.ScaleByPowerOfTwo(value.first, exponent.value), L.ScaleByPowerOfTwo(value.second, exponent.value), L.ScaleByPowerOfTwo(value.third, exponent.value));

    /// <summary>A fraction in [√½, √2), with the derivative 2⁻ⁿ, and the integral exponent n, whose derivative is 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Fraction(Dual3<L> value, out Dual3<L> exponent)
    {
        L fraction = L.Fraction(value.value, out L power);
        exponent = new(power, default, default, default);
        return new(fraction, L.ScaleByPowerOfTwo(value.first, -power), L.ScaleByPowerOfTwo(value.second, -power), L.ScaleByPowerOfTwo(value.third, -power));
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Exp(Dual3<L> value)
    {
        L result = L.Exp(value.value);
        return Chain(result, result, value);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Log(Dual3<L> value) => Chain(L.Log(value.value), L.Splat(1) / value.value, value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Tanh(Dual3<L> value)
    {
        L result = L.Tanh(value.value);
        return Chain(result, L.Splat(1) - result * result, value);
    }

    /// <summary>The error function; its derivative is 2/√π · exp(-x²).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Erf(Dual3<L> value) => Chain(L.Erf(value.value), L.Splat(1.128379167f) * L.Exp(-value.value * value.value), value);

    /// <summary>The chain rule: a function's value, and its derivative times that of its argument.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Dual3<L> Chain(L result, L factor, Dual3<L> argument) => new(result, factor * argument.first, factor * argument.second, factor * argument.third);
}
