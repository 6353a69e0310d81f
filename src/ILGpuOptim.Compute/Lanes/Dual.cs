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
[method: MethodImpl(MethodImplOptions.AggressiveInlining)]
public readonly struct Dual<L>(L value, L derivative) : ILane<Dual<L>> where L : struct, ILane<L>
{
    // Operations read the fields, and the derivative of a constant is default and not Splat(0): each call takes locals, and the JIT stops inlining when a
    // method has many.
    private readonly L value = value;
    private readonly L derivative = derivative;

    /// <summary>The value.</summary>
    public L Value => value;

    /// <summary>The derivative with respect to the variable.</summary>
    public L Derivative => derivative;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Splat(float value) => new(L.Splat(value), default);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> operator +(Dual<L> left, Dual<L> right) => new(left.value + right.value, left.derivative + right.derivative);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> operator -(Dual<L> left, Dual<L> right) => new(left.value - right.value, left.derivative - right.derivative);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> operator *(Dual<L> left, Dual<L> right) => new(left.value * right.value, L.Fma(left.derivative, right.value, left.value * right.derivative));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> operator /(Dual<L> left, Dual<L> right)
    {
        // Where the numerator is 1, compilers find that both divisions are the same.
        L quotient = left.value / right.value, inverse = L.Splat(1) / right.value;
        return new(quotient, (left.derivative - quotient * right.derivative) * inverse);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> operator -(Dual<L> value) => new(-value.value, -value.derivative);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Fma(Dual<L> a, Dual<L> b, Dual<L> c) =>
        new(L.Fma(a.value, b.value, c.value), L.Fma(a.derivative, b.value, L.Fma(a.value, b.derivative, c.derivative)));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Sqrt(Dual<L> value)
    {
        L root = L.Sqrt(value.value);
        return new(root, value.derivative / (root + root));
    }

    /// <summary>Absolute value; its derivative at 0 is 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Abs(Dual<L> value)
    {
        L zero = L.Splat(0), sign = L.Select(L.Less(value.value, zero), L.Splat(-1), L.Select(L.Equal(value.value, zero), zero, L.Splat(1)));
        return Chain(L.Abs(value.value), sign, value);
    }

    /// <summary><c>left &lt; right ? left : right</c>, with the derivative of the operand chosen: of the second at ties.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Min(Dual<L> left, Dual<L> right)
    {
        L mask = L.Less(left.value, right.value);
        return new(L.Min(left.value, right.value), L.Select(mask, left.derivative, right.derivative));
    }

    /// <summary><c>left &gt; right ? left : right</c>, with the derivative of the operand chosen: of the second at ties.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Max(Dual<L> left, Dual<L> right)
    {
        L mask = L.Less(right.value, left.value);
        return new(L.Max(left.value, right.value), L.Select(mask, left.derivative, right.derivative));
    }

    /// <summary>A mask of the values: <c>left &lt; right</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Less(Dual<L> left, Dual<L> right) => new(L.Less(left.value, right.value), default);

    /// <summary>A mask of the values: <c>left == right</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Equal(Dual<L> left, Dual<L> right) => new(L.Equal(left.value, right.value), default);

    /// <summary>The operand that the mask chooses, with its derivative.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Select(Dual<L> mask, Dual<L> then, Dual<L> otherwise) =>
        new(L.Select(mask.value, then.value, otherwise.value), L.Select(mask.value, then.derivative, otherwise.derivative));

    /// <summary>The nearest integer; its derivative is 0 everywhere.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Round(Dual<L> value) => new(L.Round(value.value), default);

    /// <summary><paramref name="value"/> · 2ⁿ; the integral <paramref name="exponent"/> n counts as a constant.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> ScaleByPowerOfTwo(Dual<L> value, Dual<L> exponent) =>
        new(L.ScaleByPowerOfTwo(value.value, exponent.value), L.ScaleByPowerOfTwo(value.derivative, exponent.value));

    /// <summary>A fraction in [√½, √2), with the derivative 2⁻ⁿ, and the integral exponent n, whose derivative is 0.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Fraction(Dual<L> value, out Dual<L> exponent)
    {
        L fraction = L.Fraction(value.value, out L power);
        exponent = new(power, default);
        return new(fraction, L.ScaleByPowerOfTwo(value.derivative, -power));
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Exp(Dual<L> value)
    {
        L result = L.Exp(value.value);
        return Chain(result, result, value);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Log(Dual<L> value) => new(L.Log(value.value), value.derivative / value.value);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Tanh(Dual<L> value)
    {
        L result = L.Tanh(value.value);
        return Chain(result, L.Splat(1) - result * result, value);
    }

    /// <summary>The error function; its derivative is 2/√π · exp(-x²).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Dual<L> Erf(Dual<L> value) => Chain(L.Erf(value.value), L.Splat(1.128379167f) * L.Exp(-value.value * value.value), value);

    /// <summary>The chain rule: a function's value, and its derivative times that of its argument.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Dual<L> Chain(L result, L factor, Dual<L> argument) => new(result, factor * argument.derivative);
}
