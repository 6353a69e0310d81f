using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

/// <summary>Rules that GaLore, Fira and APOLLO share.</summary>
internal static class LowRankRules
{
    /// <summary>Updates m and v; N = m / (√v + ε).</summary>
    internal readonly struct Moments(AdamOptions o)
    {
        private readonly float beta1 = (float)o.Beta1, rest1 = (float)(1 - o.Beta1), beta2 = (float)o.Beta2, rest2 = (float)(1 - o.Beta2), epsilon = (float)o.Epsilon;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Direction<L>(L g, ref L m, ref L v) where L : struct, ILane<L>
        {
            m = L.Fma(L.Splat(beta1), m, L.Splat(rest1) * g);
            v = L.Fma(L.Splat(beta2), v, L.Splat(rest2) * g * g);
            return m / (L.Sqrt(v) + L.Splat(epsilon));
        }
    }

    /// <summary>scale · N.</summary>
    internal readonly struct PlainDirection(Moments moments, float scale) : IDirection2
    {
        private readonly Moments moments = moments;
        private readonly float scale = scale;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Of<L>(L g, ref L m, ref L v) where L : struct, ILane<L> => L.Splat(scale) * moments.Direction(g, ref m, ref v);
    }

    /// <summary>Writes N.</summary>
    internal readonly struct DirectionRule(Moments moments) : IMap4
    {
        private readonly Moments moments = moments;

        public static Access Access => Access.Of(Slot.Read, Slot.Update, Slot.Update, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L r, ref L m, ref L v, ref L n) where L : struct, ILane<L> => n = moments.Direction(r, ref m, ref v);
    }

    /// <summary>Sums of N² and R² over the axes that the last operands lack.</summary>
    internal readonly struct NormsRule(Moments moments) : IMap5
    {
        private readonly Moments moments = moments;

        public static Access Access => Access.Of(Slot.Read, Slot.Update, Slot.Update, Slot.Sum, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L r, ref L m, ref L v, ref L directions, ref L gradients) where L : struct, ILane<L>
        {
            L n = moments.Direction(r, ref m, ref v);
            directions = n * n;
            gradients = r * r;
        }
    }

    /// <summary>φ = ‖N‖ / (‖R‖ + 1e-8), in place of ‖N‖².</summary>
    internal readonly struct FactorRule : IMap2
    {
        public static Access Access => Access.Of(Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L directions, ref L gradients) where L : struct, ILane<L> =>
            directions = L.Sqrt(directions) / (L.Sqrt(gradients) + L.Splat(1e-8f));
    }

    /// <summary>Sum of (G φ)².</summary>
    internal readonly struct ScaledNormRule : IMap3
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L factor, ref L sum) where L : struct, ILane<L>
        {
            L scaled = g * factor;
            sum = scaled * scaled;
        }
    }

    /// <summary>
    /// The norm-growth limiter: the norm may exceed the previous one by 1 % at most, or by another factor. Reads Σ(Gφ)², updates the previous norm and
    /// writes the factor of the update.
    /// </summary>
    /// <param name="isFirst">True if there is no previous norm.</param>
    /// <param name="front">Factor of the norm.</param>
    /// <param name="skipZero">True if a zero norm does not replace the previous one, which would freeze the parameter for many steps.</param>
    /// <param name="growth">The largest ratio of the norms.</param>
    internal readonly struct LimiterRule(bool isFirst, float front, bool skipZero, float growth = 1.01f) : IMap3
    {
        private readonly float front = front, growth = growth;
        private readonly int isFirst = isFirst ? 1 : 0, skipZero = skipZero ? 1 : 0;

        public static Access Access => Access.Of(Slot.Read, Slot.Update, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L squares, ref L previous, ref L factor) where L : struct, ILane<L>
        {
            L norm = L.Sqrt(squares) * L.Splat(front);
            L limit = L.Max(L.Splat(growth), norm / (previous + L.Splat(1e-8f))) / L.Splat(growth);
            if (isFirst != 0)
                limit = L.Splat(1);
            if (skipZero != 0)
                limit = L.Select(L.Equal(previous, L.Splat(0)), L.Splat(1), limit);
            L limited = norm / limit;
            factor = L.Splat(1) / limit;
            previous = skipZero != 0 ? L.Select(L.Equal(norm, L.Splat(0)), previous, limited) : limited;
        }
    }
}
