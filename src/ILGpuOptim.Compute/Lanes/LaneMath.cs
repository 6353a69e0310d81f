using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute;

/// <summary>
/// Elementary functions in f32, written once over any lane. Polynomials are Chebyshev fits made for this file; every
/// step is a single rounded operation, so that all widths agree bit for bit.
/// </summary>
internal static class LaneMath
{
    /// <summary>e^x = 2ⁿ e^r with |r| ≤ ln 2 / 2: two-part reduction, then a polynomial of degree 7 in r.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static L Exp<L>(L x) where L : struct, ILane<L>
    {
        // Beyond these the result is infinite or zero in any case; a NaN passes, being the second operand.
        x = L.Min(L.Splat(89f), L.Max(L.Splat(-104f), x));
        L n = L.Round(x * L.Splat(1.44269504f));
        L r = L.Fma(n, L.Splat(-0.693359375f), x);
        r = L.Fma(n, L.Splat(2.12194440e-4f), r);
        L p = L.Splat(1.989099082e-4f);
        p = L.Fma(p, r, L.Splat(1.393365e-3f));
        p = L.Fma(p, r, L.Splat(8.333310925e-3f));
        p = L.Fma(p, r, L.Splat(4.166646493e-2f));
        p = L.Fma(p, r, L.Splat(1.666666668e-1f));
        p = L.Fma(p, r, L.Splat(0.5f));
        p = L.Fma(p, r * r, r) + L.Splat(1f);

        // At the bound a product would underflow to zero, which takes Intel's processors twenty times as long: masked scores of attention lie there.
        return L.ScaleByPowerOfTwo(L.Select(L.Equal(x, L.Splat(-104f)), L.Splat(0f), p), n);
    }

    /// <summary>ln x = e ln 2 + ln(1 + f): f in [√½ - 1, √2 - 1), a polynomial of degree 11 in f.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static L Log<L>(L x) where L : struct, ILane<L>
    {
        L subnormal = L.Less(x, L.Splat(1.17549435e-38f));
        L normal = L.Select(subnormal, x * L.Splat(16777216f), x);
        L f = L.Fraction(normal, out L e) - L.Splat(1f);
        e = L.Select(subnormal, e - L.Splat(24f), e);
        L p = L.Splat(6.971611471e-2f);
        p = L.Fma(p, f, L.Splat(-1.147973385e-1f));
        p = L.Fma(p, f, L.Splat(1.168541992e-1f));
        p = L.Fma(p, f, L.Splat(-1.242568733e-1f));
        p = L.Fma(p, f, L.Splat(1.424905765e-1f));
        p = L.Fma(p, f, L.Splat(-1.666780232e-1f));
        p = L.Fma(p, f, L.Splat(2.000071575e-1f));
        p = L.Fma(p, f, L.Splat(-2.499999696e-1f));
        p = L.Fma(p, f, L.Splat(3.333333118e-1f));
        L square = f * f;
        L y = L.Fma(e, L.Splat(-2.12194440e-4f), p * f * square);
        y = L.Fma(square, L.Splat(-0.5f), y);
        y = L.Fma(e, L.Splat(0.693359375f), f + y);

        // Outside the positive finite numbers: 0 → -∞, negative and NaN → NaN, ∞ → ∞.
        y = L.Select(L.Less(x, L.Splat(float.PositiveInfinity)), y, x);
        y = L.Select(L.Equal(x, L.Splat(0f)), L.Splat(float.NegativeInfinity), y);
        return L.Select(L.Less(x, L.Splat(0f)), L.Splat(float.NaN), y);
    }

    /// <summary>tanh x = x P(x²) / Q(x²), a rational fit of degrees 4 and 4; beyond 9.01 the result rounds to ±1.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static L Tanh<L>(L x) where L : struct, ILane<L>
    {
        // A NaN passes both clamps, being the second operand.
        x = L.Min(L.Splat(9.01f), L.Max(L.Splat(-9.01f), x));
        L z = x * x;
        L p = L.Splat(1.333351391e-8f);
        p = L.Fma(p, z, L.Splat(2.059404532e-5f));
        p = L.Fma(p, z, L.Splat(3.494685885e-3f));
        p = L.Fma(p, z, L.Splat(1.33802706e-1f));
        p = L.Fma(p, z, L.Splat(1f));
        L q = L.Splat(7.767966895e-7f);
        q = L.Fma(q, z, L.Splat(3.284150742e-4f));
        q = L.Fma(q, z, L.Splat(2.58735636e-2f));
        q = L.Fma(q, z, L.Splat(4.671358631e-1f));
        q = L.Fma(q, z, L.Splat(1f));
        return L.Min(L.Splat(1f), L.Max(L.Splat(-1f), x * p / q));
    }

    /// <summary>erf x: an odd polynomial below 1, else 1 - e^q(|x|), q a fit to ln erfc, with the sign of x.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static L Erf<L>(L x) where L : struct, ILane<L>
    {
        L magnitude = L.Abs(x);
        L z = x * x;
        L p = L.Splat(7.875875063e-5f);
        p = L.Fma(p, z, L.Splat(-8.016864287e-4f));
        p = L.Fma(p, z, L.Splat(5.189087423e-3f));
        p = L.Fma(p, z, L.Splat(-2.685421201e-2f));
        p = L.Fma(p, z, L.Splat(1.128359472e-1f));
        p = L.Fma(p, z, L.Splat(-3.761262667e-1f));

        // 2/√π = 1.125 + 0.003379166726…: the first part is exact, so that small results round once.
        p = L.Fma(p, z, L.Splat(3.3791671e-3f));
        L small = L.Fma(x, L.Splat(1.125f), p * x);

        // erf(4) rounds to 1; a NaN passes, being the second operand.
        L m = L.Min(L.Splat(4f), magnitude);
        L q = L.Splat(-1.327236181e-5f);
        q = L.Fma(q, m, L.Splat(3.169370225e-4f));
        q = L.Fma(q, m, L.Splat(-3.432351381e-3f));
        q = L.Fma(q, m, L.Splat(2.260477224e-2f));
        q = L.Fma(q, m, L.Splat(-1.032811176e-1f));
        q = L.Fma(q, m, L.Splat(-6.391412576e-1f));
        q = L.Fma(q, m, L.Splat(-1.125893652f));
        q = L.Fma(q, m, L.Splat(-7.658977797e-4f));
        L large = L.Splat(1f) - L.Exp(q);
        large = L.Select(L.Less(x, L.Splat(0f)), -large, large);
        return L.Select(L.Less(magnitude, L.Splat(1f)), small, large);
    }

    /// <summary>
    /// Sine and cosine of 2π times a number of turns in [0, 1], a multiple of 2⁻²⁴: the quarter turns come off exactly,
    /// the rest is a polynomial on an eighth of a turn to both sides. Absolute errors stay below 1e-7.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void SinCosTurns<L>(L turns, out L sin, out L cos) where L : struct, ILane<L>
    {
        L quarter = L.Round(turns * L.Splat(4f));
        L rest = L.Fma(quarter, L.Splat(-0.25f), turns), z = rest * rest;
        L s = L.Splat(41.47283173f);
        s = L.Fma(s, z, L.Splat(-76.69786835f));
        s = L.Fma(s, z, L.Splat(81.60520172f));
        s = L.Fma(s, z, L.Splat(-41.34170151f));
        s = L.Fma(s, z, L.Splat(6.283185482f)) * rest;
        L c = L.Splat(-26.11921502f);
        c = L.Fma(c, z, L.Splat(60.24045181f));
        c = L.Fma(c, z, L.Splat(-85.45679474f));
        c = L.Fma(c, z, L.Splat(64.93939209f));
        c = L.Fma(c, z, L.Splat(-19.73920822f));
        c = L.Fma(c, z, L.Splat(1f));

        // One quarter turn: (s, c) → (c, -s), twice: both change sign, three times: (-c, s); four are none.
        L one = L.Equal(quarter, L.Splat(1f)), two = L.Equal(quarter, L.Splat(2f)), three = L.Equal(quarter, L.Splat(3f));
        sin = L.Select(one, c, L.Select(two, -s, L.Select(three, -c, s)));
        cos = L.Select(one, -s, L.Select(two, -c, L.Select(three, s, c)));
    }
}
