using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops.Functions;

// Derivatives come from dual lanes, except for the activations of GPT-2, BERT and LLaMA, for which these were measured to be slower: by a factor of 1.08 to 1.15
// for tanh GELU, 1.05 to 1.12 for erf GELU, and 1.11 to 1.4 for SiLU (128-, 256- and 512-bit vectors).

/// <summary>Tanh approximation of GELU: x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))) (Hendrycks and Gimpel, 2016).</summary>
public readonly struct GeluTanh : IFunctionWithDerivative
{
    private const float Inner = 0.7978845608f; // √(2/π)
    private const float Cubic = 0.044715f;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L>
    {
        L half = Limits.Below(x) * L.Splat(0.5f);
        return L.Fma(half, L.Tanh(Argument(x)), half);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Differentiate<L>(L x, out L value, out L derivative) where L : struct, ILane<L>
    {
        L below = Limits.Below(x), bounded = Limits.Above(below), tanh = L.Tanh(Argument(bounded)), half = L.Splat(0.5f);
        L inner = L.Fma(bounded * bounded, L.Splat(3 * Inner * Cubic), L.Splat(Inner));
        L bend = (L.Splat(1) - tanh * tanh) * inner;
        derivative = half * L.Fma(bounded, bend, L.Splat(1) + tanh);
        value = L.Fma(half * below, tanh, half * below);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static L Argument<L>(L x) where L : struct, ILane<L> => x * L.Fma(x * x, L.Splat(Inner * Cubic), L.Splat(Inner));
}

/// <summary>Exact GELU: x/2 · (1 + erf(x/√2)) (Hendrycks and Gimpel, 2016).</summary>
public readonly struct GeluErf : IFunctionWithDerivative
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L>
    {
        L half = Limits.Below(x) * L.Splat(0.5f);
        return L.Fma(half, L.Erf(x * L.Splat(0.7071067812f)), half);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Differentiate<L>(L x, out L value, out L derivative) where L : struct, ILane<L>
    {
        L area = L.Fma(L.Erf(x * L.Splat(0.7071067812f)), L.Splat(0.5f), L.Splat(0.5f));
        L below = Limits.Below(x), bounded = Limits.Above(below);
        L density = L.Splat(0.3989422804f) * L.Exp(bounded * bounded * L.Splat(-0.5f));
        derivative = L.Fma(bounded, density, area);
        value = below * area;
    }
}

/// <summary>x · σ(x) with the logistic function σ: SiLU, or swish (Elfwing et al., 2017).</summary>
public readonly struct Silu : IFunctionWithDerivative
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L> => Limits.Below(x) * Logistic(x);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Differentiate<L>(L x, out L value, out L derivative) where L : struct, ILane<L>
    {
        L logistic = Logistic(x);
        value = Limits.Below(x) * logistic;
        derivative = L.Fma(Limits.Above(value), L.Splat(1) - logistic, logistic);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static L Logistic<L>(L x) where L : struct, ILane<L> => L.Splat(1) / (L.Splat(1) + L.Exp(-x));
}

/// <summary>The logistic function σ(x) = 1 / (1 + e⁻ˣ).</summary>
public readonly struct Sigmoid : IFunction1
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L>
    {
        // With e = e^-|x| ≤ 1, which never overflows: 1 / (1 + e), or e / (1 + e) for negative x.
        L negative = L.Less(x, L.Splat(0)), e = L.Exp(L.Select(negative, x, -x));
        return L.Select(negative, e, L.Splat(1)) / (L.Splat(1) + e);
    }
}

/// <summary>x · σ(1.702 x), an approximation of GELU.</summary>
public readonly struct QuickGelu : IFunction1
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L>
    {
        L bounded = Limits.Below(x);
        return Limits.Identity(x, bounded * new Sigmoid().Apply(bounded * L.Splat(1.702f)));
    }
}

/// <summary>max(x, 0), with the derivative 0 at 0.</summary>
public readonly struct Relu : IFunction1
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L>
    {
        // Max would replace NaN by zero.
        L zero = L.Splat(0);
        return L.Select(L.Less(x, zero), zero, L.Select(L.Equal(x, zero), zero, x));
    }
}

/// <summary>max(x, 0)² (So et al., "Primer", 2021).</summary>
public readonly struct SquaredRelu : IFunction1
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L>
    {
        L positive = L.Select(L.Less(x, L.Splat(0)), L.Splat(0), x);
        return positive * positive;
    }
}

/// <summary>min(max(x, 0), 6), with the derivative 0 at 0 and 6.</summary>
public readonly struct Relu6 : IFunction1
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L>
    {
        L positive = new Relu().Apply(x), six = L.Splat(6);
        return L.Select(L.Less(positive, six), positive, L.Select(L.Equal(positive, positive), six, positive));
    }
}

/// <summary>x where x is positive, else slope · x.</summary>
/// <param name="slope">The factor of negative elements.</param>
public readonly struct LeakyRelu(float slope) : IFunctionWithDerivative
{
    private readonly float slope = slope;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L> => L.Select(L.Less(L.Splat(0), x), x, x * L.Splat(slope));

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Differentiate<L>(L x, out L value, out L derivative) where L : struct, ILane<L>
    {
        // By hand, as a dual lane multiplies x by the constant's derivative: -∞ · 0 is NaN.
        value = Apply(x);
        derivative = L.Select(L.Less(L.Splat(0), x), L.Splat(1), L.Splat(slope));
    }
}

/// <summary>x where x is positive, else α (eˣ - 1) (Clevert et al., 2016).</summary>
/// <param name="alpha">α.</param>
public readonly struct Elu(float alpha) : IFunction1
{
    private readonly float alpha = alpha;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L>
    {
        // eˣ - 1 = tanh(x/2) (eˣ + 1) is accurate for small x.
        L below = Limits.Below(L.Min(L.Splat(0), x));
        return L.Select(L.Less(L.Splat(0), x), x, L.Splat(alpha) * L.Tanh(below * L.Splat(0.5f)) * (L.Exp(below) + L.Splat(1)));
    }
}

/// <summary>ln(1 + eˣ).</summary>
public readonly struct Softplus : IFunction1
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L>
    {
        // ln(1 + eˣ) = max(x, 0) + ln(1 + e) with e = e^-|x| ≤ 1, and ln(1 + e) = 2 artanh(s) with s = e / (2 + e) ≤ 1/3.
        L zero = L.Splat(0), negative = L.Less(x, zero);
        L e = L.Exp(L.Select(negative, x, -x)), s = e / (L.Splat(2) + e), z = s * s;
        L p = L.Splat(2f / 15);
        p = L.Fma(p, z, L.Splat(2f / 13));
        p = L.Fma(p, z, L.Splat(2f / 11));
        p = L.Fma(p, z, L.Splat(2f / 9));
        p = L.Fma(p, z, L.Splat(2f / 7));
        p = L.Fma(p, z, L.Splat(2f / 5));
        p = L.Fma(p, z, L.Splat(2f / 3));
        p = L.Fma(p, z, L.Splat(2));
        return L.Fma(p, s, L.Select(negative, zero, x));
    }
}

/// <summary>x · tanh(ln(1 + eˣ)) (Misra, 2019).</summary>
public readonly struct Mish : IFunction1
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L>
    {
        // tanh(ln(1 + e)) = n / (n + 2) with n = e (e + 2); from 20 on it rounds to 1.
        L bounded = Limits.Below(x), e = L.Exp(L.Min(L.Splat(20), bounded)), n = e * (e + L.Splat(2));
        return Limits.Identity(x, bounded * (n / (n + L.Splat(2))));
    }
}

/// <summary>The hyperbolic tangent.</summary>
public readonly struct Tanh : IFunction1
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L> => L.Tanh(x);
}

/// <summary>x.</summary>
public readonly struct Identity : IFunction1
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L> => x;
}

/// <summary>cap · tanh(x / cap): bounds elements to ±cap (Gemma 2).</summary>
/// <param name="cap">The bound, positive.</param>
public readonly struct SoftCap(float cap) : IFunction1
{
    private readonly float cap = cap;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L>
    {
        // Beyond 20 caps, tanh is 1 in double precision too.
        L most = L.Splat(20 * cap);
        return L.Splat(cap) * L.Tanh(L.Min(most, L.Max(-most, x)) / L.Splat(cap));
    }
}

/// <summary>(1 + erf((x - μ) / (σ √2))) / 2 with μ = √½ and σ = 1/√(4π): MEGA's approximation of squared ReLU (Ma et al., 2023).</summary>
public readonly struct Laplace : IFunction1
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L> => L.Fma(L.Erf((Limits.Above(Limits.Below(x)) - L.Splat(0.707107f)) * L.Splat(2.5066264f)), L.Splat(0.5f), L.Splat(0.5f));
}

/// <summary>
/// Bounds beyond which activations equal their limits in single precision. A factor that is bounded there gives the limit at ±∞ too, and so does its
/// derivative, where ∞ · 0 would be NaN. NaN passes, being the second operand of Min and Max.
/// </summary>
internal static class Limits
{
    private const float Bound = 110;

    /// <summary>max(-110, x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static L Below<L>(L x) where L : struct, ILane<L> => L.Max(L.Splat(-Bound), x);

    /// <summary>min(110, x).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static L Above<L>(L x) where L : struct, ILane<L> => L.Min(L.Splat(Bound), x);

    /// <summary>x where it is above 110, else a function that nears x there.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static L Identity<L>(L x, L function) where L : struct, ILane<L> => L.Select(L.Less(L.Splat(Bound), x), x, function);
}
