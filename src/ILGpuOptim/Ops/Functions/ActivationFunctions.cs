using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops.Functions;

// Derivatives come from dual lanes, but for those of GPT-2, BERT and LLaMA that were measured slower so: tanh GELU takes 1.08 to 1.15 of its hand-written
// derivative's time, erf GELU 1.05 to 1.12, SiLU 1.11 to 1.4 (128-, 256- and 512-bit vectors).

/// <summary>GELU by tanh: x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³))) (Hendrycks and Gimpel, 2016).</summary>
public readonly struct GeluTanh : IFunctionWithDerivative
{
    private const float Inner = 0.7978845608f; // √(2/π)
    private const float Cubic = 0.044715f;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L>
    {
        L half = x * L.Splat(0.5f);
        return L.Fma(half, L.Tanh(Argument(x)), half);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Differentiate<L>(L x, out L value, out L derivative) where L : struct, ILane<L>
    {
        L tanh = L.Tanh(Argument(x)), half = L.Splat(0.5f);
        L inner = L.Fma(x * x, L.Splat(3 * Inner * Cubic), L.Splat(Inner));
        L bend = (L.Splat(1) - tanh * tanh) * inner;
        derivative = half * L.Fma(x, bend, L.Splat(1) + tanh);
        value = L.Fma(half * x, tanh, half * x);
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
        L half = x * L.Splat(0.5f);
        return L.Fma(half, L.Erf(x * L.Splat(0.7071067812f)), half);
    }

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Differentiate<L>(L x, out L value, out L derivative) where L : struct, ILane<L>
    {
        L area = L.Fma(L.Erf(x * L.Splat(0.7071067812f)), L.Splat(0.5f), L.Splat(0.5f));
        L density = L.Splat(0.3989422804f) * L.Exp(x * x * L.Splat(-0.5f));
        derivative = L.Fma(x, density, area);
        value = x * area;
    }
}

/// <summary>x · σ(x) with the logistic function σ: SiLU, or swish (Elfwing et al., 2017).</summary>
public readonly struct Silu : IFunctionWithDerivative
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L> => x * Logistic(x);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Differentiate<L>(L x, out L value, out L derivative) where L : struct, ILane<L>
    {
        L logistic = Logistic(x);
        value = x * logistic;
        derivative = L.Fma(value, L.Splat(1) - logistic, logistic);
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
    public L Apply<L>(L x) where L : struct, ILane<L> => x * new Sigmoid().Apply(x * L.Splat(1.702f));
}

/// <summary>max(x, 0), with the derivative 0 at 0.</summary>
public readonly struct Relu : IFunction1
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L>
    {
        // Not Max, which would make zero of NaN.
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
/// <param name="slope">The factor of negative numbers.</param>
public readonly struct LeakyRelu(float slope) : IFunction1
{
    private readonly float slope = slope;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L> => L.Select(L.Less(L.Splat(0), x), x, x * L.Splat(slope));
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
        // eˣ - 1 = tanh(x/2) (eˣ + 1) keeps the digits of a small x.
        L below = L.Min(L.Splat(0), x);
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
        L e = L.Exp(L.Min(L.Splat(20), x)), n = e * (e + L.Splat(2));
        return x * (n / (n + L.Splat(2)));
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

/// <summary>cap · tanh(x / cap): keeps numbers within ±cap (Gemma 2).</summary>
/// <param name="cap">The bound, positive.</param>
public readonly struct SoftCap(float cap) : IFunction1
{
    private readonly float cap = cap;

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L> => L.Splat(cap) * L.Tanh(x / L.Splat(cap));
}

/// <summary>(1 + erf((x - μ) / (σ √2))) / 2 with μ = √½ and σ = 1/√(4π): MEGA's approximation of squared ReLU (Ma et al., 2023).</summary>
public readonly struct Laplace : IFunction1
{
    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x) where L : struct, ILane<L> => L.Fma(L.Erf((x - L.Splat(0.707107f)) * L.Splat(2.5066264f)), L.Splat(0.5f), L.Splat(0.5f));
}
