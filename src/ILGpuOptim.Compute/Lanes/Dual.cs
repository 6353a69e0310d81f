using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute;

/// <summary>
/// A value and its derivative (a dual number, forward-mode differentiation; Wengert, 1964). A lane itself: a function that is written over lanes computes its
/// own derivative when it is run on duals. On a GPU it is two floats, on a CPU two vectors.
/// </summary>
/// <remarks>
/// Values have the bits that <typeparamref name="L"/> computes. Where a function has no derivative, a convention holds: Abs'(0) is 0; Min and Max take
/// that of their second operand at ties, so that max(x, 0) has 0 at 0; a comparison and Round have 0; Select takes that of the chosen operand alone.
/// Constants have the derivative 0, and 0 · ∞ is NaN: at infinite values most derivatives are NaN.
/// </remarks>
/// <typeparam name="L">The lane of both.</typeparam>
/// <param name="value">The value.</param>
/// <param name="derivative">Its derivative with respect to the variable.</param>
public readonly struct Dual<L>(L value, L derivative) : ILane<Dual<L>> where L : struct, ILane<L>
{
    /// <summary>The value.</summary>
    public L Value { get; } = value;

    /// <summary>The derivative with respect to the variable.</summary>
    public L Derivative { get; } = derivative;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Splat(float value) => new(L.Splat(value), L.Splat(0));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> operator +(Dual<L> left, Dual<L> right) => new(left.Value + right.Value, left.Derivative + right.Derivative);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> operator -(Dual<L> left, Dual<L> right) => new(left.Value - right.Value, left.Derivative - right.Derivative);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> operator *(Dual<L> left, Dual<L> right) => new(left.Value * right.Value, L.Fma(left.Derivative, right.Value, left.Value * right.Derivative));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> operator /(Dual<L> left, Dual<L> right)
    {
        L quotient = left.Value / right.Value;
        return new(quotient, (left.Derivative - quotient * right.Derivative) / right.Value);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> operator -(Dual<L> value) => new(-value.Value, -value.Derivative);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Fma(Dual<L> a, Dual<L> b, Dual<L> c) =>
        new(L.Fma(a.Value, b.Value, c.Value), L.Fma(a.Derivative, b.Value, L.Fma(a.Value, b.Derivative, c.Derivative)));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Sqrt(Dual<L> value)
    {
        L root = L.Sqrt(value.Value);
        return new(root, value.Derivative / (root + root));
    }

    /// <summary>Absolute value; its derivative at 0 is 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Abs(Dual<L> value)
    {
        L zero = L.Splat(0), sign = L.Select(L.Less(value.Value, zero), L.Splat(-1), L.Select(L.Equal(value.Value, zero), zero, L.Splat(1)));
        return Chain(L.Abs(value.Value), sign, value);
    }

    /// <summary><c>left &lt; right ? left : right</c>, with the derivative of the operand chosen: of the second at ties.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Min(Dual<L> left, Dual<L> right)
    {
        L mask = L.Less(left.Value, right.Value);
        return new(L.Min(left.Value, right.Value), L.Select(mask, left.Derivative, right.Derivative));
    }

    /// <summary><c>left &gt; right ? left : right</c>, with the derivative of the operand chosen: of the second at ties.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Max(Dual<L> left, Dual<L> right)
    {
        L mask = L.Less(right.Value, left.Value);
        return new(L.Max(left.Value, right.Value), L.Select(mask, left.Derivative, right.Derivative));
    }

    /// <summary>A mask of the values: <c>left &lt; right</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Less(Dual<L> left, Dual<L> right) => new(L.Less(left.Value, right.Value), L.Splat(0));

    /// <summary>A mask of the values: <c>left == right</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Equal(Dual<L> left, Dual<L> right) => new(L.Equal(left.Value, right.Value), L.Splat(0));

    /// <summary>The operand that the mask chooses, with its derivative.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Select(Dual<L> mask, Dual<L> then, Dual<L> otherwise) =>
        new(L.Select(mask.Value, then.Value, otherwise.Value), L.Select(mask.Value, then.Derivative, otherwise.Derivative));

    /// <summary>The nearest integer; its derivative is 0 everywhere.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Round(Dual<L> value) => new(L.Round(value.Value), L.Splat(0));

    /// <summary><paramref name="value"/> · 2ⁿ; the integral <paramref name="exponent"/> n counts as a constant.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> ScaleByPowerOfTwo(Dual<L> value, Dual<L> exponent) =>
        new(L.ScaleByPowerOfTwo(value.Value, exponent.Value), L.ScaleByPowerOfTwo(value.Derivative, exponent.Value));

    /// <summary>A fraction in [√½, √2), with the derivative 2⁻ⁿ, and the integral exponent n, whose derivative is 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Fraction(Dual<L> value, out Dual<L> exponent)
    {
        L fraction = L.Fraction(value.Value, out L power);
        exponent = new(power, L.Splat(0));
        return new(fraction, L.ScaleByPowerOfTwo(value.Derivative, -power));
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Exp(Dual<L> value)
    {
        L result = L.Exp(value.Value);
        return Chain(result, result, value);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Log(Dual<L> value) => new(L.Log(value.Value), value.Derivative / value.Value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Tanh(Dual<L> value)
    {
        L result = L.Tanh(value.Value);
        return Chain(result, L.Splat(1) - result * result, value);
    }

    /// <summary>The error function; its derivative is 2/√π · exp(-x²).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Erf(Dual<L> value) => Chain(L.Erf(value.Value), L.Splat(1.128379167f) * L.Exp(-value.Value * value.Value), value);

    /// <summary>The chain rule: a function's value, and its derivative times that of its argument.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Dual<L> Chain(L result, L factor, Dual<L> argument) => new(result, factor * argument.Derivative);
}
