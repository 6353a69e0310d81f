using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute;

/// <summary>A value and its partial derivatives with respect to three variables; otherwise as <see cref="Dual{L}"/>.</summary>
/// <typeparam name="L">The lane of all.</typeparam>
/// <param name="value">The value.</param>
/// <param name="first">Its derivative with respect to the first variable.</param>
/// <param name="second">Its derivative with respect to the second variable.</param>
/// <param name="third">Its derivative with respect to the third variable.</param>
public readonly struct Dual3<L>(L value, L first, L second, L third) : ILane<Dual3<L>> where L : struct, ILane<L>
{
    /// <summary>The value.</summary>
    public L Value { get; } = value;

    /// <summary>The derivative with respect to the first variable.</summary>
    public L First { get; } = first;

    /// <summary>The derivative with respect to the second variable.</summary>
    public L Second { get; } = second;

    /// <summary>The derivative with respect to the third variable.</summary>
    public L Third { get; } = third;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Splat(float value) => new(L.Splat(value), L.Splat(0), L.Splat(0), L.Splat(0));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> operator +(Dual3<L> left, Dual3<L> right) =>
        new(left.Value + right.Value, left.First + right.First, left.Second + right.Second, left.Third + right.Third);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> operator -(Dual3<L> left, Dual3<L> right) =>
        new(left.Value - right.Value, left.First - right.First, left.Second - right.Second, left.Third - right.Third);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> operator *(Dual3<L> left, Dual3<L> right) =>
        new(left.Value * right.Value, L.Fma(left.First, right.Value, left.Value * right.First), L.Fma(left.Second, right.Value, left.Value * right.Second), L.Fma(left.Third, right.Value, left.Value * right.Third));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> operator /(Dual3<L> left, Dual3<L> right)
    {
        L quotient = left.Value / right.Value, inverse = L.Splat(1) / right.Value;
        return new(quotient, (left.First - quotient * right.First) * inverse, (left.Second - quotient * right.Second) * inverse, (left.Third - quotient * right.Third) * inverse);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> operator -(Dual3<L> value) => new(-value.Value, -value.First, -value.Second, -value.Third);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Fma(Dual3<L> a, Dual3<L> b, Dual3<L> c) =>
        new(L.Fma(a.Value, b.Value, c.Value), L.Fma(a.First, b.Value, L.Fma(a.Value, b.First, c.First)), L.Fma(a.Second, b.Value, L.Fma(a.Value, b.Second, c.Second)), L.Fma(a.Third, b.Value, L.Fma(a.Value, b.Third, c.Third)));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Sqrt(Dual3<L> value)
    {
        L root = L.Sqrt(value.Value);
        return Chain(root, L.Splat(0.5f) / root, value);
    }

    /// <summary>Absolute value; its derivative at 0 is 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Abs(Dual3<L> value)
    {
        L zero = L.Splat(0), sign = L.Select(L.Less(value.Value, zero), L.Splat(-1), L.Select(L.Equal(value.Value, zero), zero, L.Splat(1)));
        return Chain(L.Abs(value.Value), sign, value);
    }

    /// <summary><c>left &lt; right ? left : right</c>, with the derivative of the operand chosen: of the second at ties.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Min(Dual3<L> left, Dual3<L> right)
    {
        L mask = L.Less(left.Value, right.Value);
        return new(L.Min(left.Value, right.Value), L.Select(mask, left.First, right.First), L.Select(mask, left.Second, right.Second), L.Select(mask, left.Third, right.Third));
    }

    /// <summary><c>left &gt; right ? left : right</c>, with the derivative of the operand chosen: of the second at ties.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Max(Dual3<L> left, Dual3<L> right)
    {
        L mask = L.Less(right.Value, left.Value);
        return new(L.Max(left.Value, right.Value), L.Select(mask, left.First, right.First), L.Select(mask, left.Second, right.Second), L.Select(mask, left.Third, right.Third));
    }

    /// <summary>A mask of the values: <c>left &lt; right</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Less(Dual3<L> left, Dual3<L> right) => new(L.Less(left.Value, right.Value), L.Splat(0), L.Splat(0), L.Splat(0));

    /// <summary>A mask of the values: <c>left == right</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Equal(Dual3<L> left, Dual3<L> right) => new(L.Equal(left.Value, right.Value), L.Splat(0), L.Splat(0), L.Splat(0));

    /// <summary>The operand that the mask chooses, with its derivative.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Select(Dual3<L> mask, Dual3<L> then, Dual3<L> otherwise) =>
        new(L.Select(mask.Value, then.Value, otherwise.Value), L.Select(mask.Value, then.First, otherwise.First), L.Select(mask.Value, then.Second, otherwise.Second), L.Select(mask.Value, then.Third, otherwise.Third));

    /// <summary>The nearest integer; its derivative is 0 everywhere.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Round(Dual3<L> value) => new(L.Round(value.Value), L.Splat(0), L.Splat(0), L.Splat(0));

    /// <summary><paramref name="value"/> · 2ⁿ; the integral <paramref name="exponent"/> n counts as a constant.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> ScaleByPowerOfTwo(Dual3<L> value, Dual3<L> exponent) =>
        new(L.ScaleByPowerOfTwo(value.Value, exponent.Value), L.ScaleByPowerOfTwo(value.First, exponent.Value), L.ScaleByPowerOfTwo(value.Second, exponent.Value), L.ScaleByPowerOfTwo(value.Third, exponent.Value));

    /// <summary>A fraction in [√½, √2), with the derivative 2⁻ⁿ, and the integral exponent n, whose derivative is 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Fraction(Dual3<L> value, out Dual3<L> exponent)
    {
        L fraction = L.Fraction(value.Value, out L power);
        exponent = new(power, L.Splat(0), L.Splat(0), L.Splat(0));
        return new(fraction, L.ScaleByPowerOfTwo(value.First, -power), L.ScaleByPowerOfTwo(value.Second, -power), L.ScaleByPowerOfTwo(value.Third, -power));
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Exp(Dual3<L> value)
    {
        L result = L.Exp(value.Value);
        return Chain(result, result, value);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Log(Dual3<L> value) => Chain(L.Log(value.Value), L.Splat(1) / value.Value, value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Tanh(Dual3<L> value)
    {
        L result = L.Tanh(value.Value);
        return Chain(result, L.Splat(1) - result * result, value);
    }

    /// <summary>The error function; its derivative is 2/√π · exp(-x²).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual3<L> Erf(Dual3<L> value) => Chain(L.Erf(value.Value), L.Splat(1.128379167f) * L.Exp(-value.Value * value.Value), value);

    /// <summary>The chain rule: a function's value, and its derivative times that of its argument.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Dual3<L> Chain(L result, L factor, Dual3<L> argument) => new(result, factor * argument.First, factor * argument.Second, factor * argument.Third);
}
