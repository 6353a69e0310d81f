using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

/// <summary>Rules of <see cref="Prodigy"/>.</summary>
internal static class ProdigyRules
{
    /// <summary>lr √(1-β₂ᵏ) / (1-β₁ᵏ) of the coming k, or lr, from 1-β₁ᵏ and 1-β₂ᵏ of the last.</summary>
    internal readonly struct BaseRate(ProdigyOptions o, double scheduleFactor) : IMap3
    {
        private readonly float rate = (float)(o.LearningRate * scheduleFactor), beta1 = (float)o.Beta1, rest1 = (float)(1 - o.Beta1), beta2 = (float)o.Beta2, rest2 = (float)(1 - o.Beta2);
        private readonly int corrects = o.UseBiasCorrection ? 1 : 0;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L first, ref L second, ref L result) where L : struct, ILane<L>
        {
            L correction = L.Sqrt(L.Fma(L.Splat(beta2), second, L.Splat(rest2))) / L.Fma(L.Splat(beta1), first, L.Splat(rest1));
            result = corrects != 0 ? L.Splat(rate) * correction : L.Splat(rate);
        }
    }

    /// <summary>d and its largest value begin with d₀; a = d · lr; the factors (d/d₀) a, or (d/d₀) d, and d of gradients.</summary>
    internal readonly struct Begin(float first, bool safeguards) : IMap6
    {
        private readonly float first = first;
        private readonly int safeguards = safeguards ? 1 : 0;

        public static Access Access => Access.Of(Slot.Update, Slot.Update, Slot.Read, Slot.Write, Slot.Write, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L d, ref L largest, ref L rate, ref L step, ref L ofSums, ref L ofMoments) where L : struct, ILane<L>
        {
            L zero = L.Splat(0), begin = L.Splat(first);
            d = L.Select(L.Equal(d, zero), begin, d);
            largest = L.Select(L.Equal(largest, zero), begin, largest);
            step = d * rate;
            ofSums = d / begin * (safeguards != 0 ? d : step);
            ofMoments = d;
        }
    }

    /// <summary>b = -a.</summary>
    internal readonly struct Negate : IMap2
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L a, ref L b) where L : struct, ILane<L> => b = -a;
    }

    /// <summary>s = β₃s + g, Σ g (p₀ - p) and Σ |s|, where g comes with its factor.</summary>
    internal readonly struct Sums(float beta) : IMap6
    {
        private readonly float beta = beta;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Update, Slot.Sum, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L p, ref L g, ref L origin, ref L s, ref L products, ref L norm) where L : struct, ILane<L>
        {
            s = L.Fma(L.Splat(beta), s, g);
            products = g * (origin - p);
            norm = L.Abs(s);
        }
    }

    /// <summary>The new d from the sums; without any gradient so far everything stays, and the step is 0.</summary>
    internal readonly struct Estimate(ProdigyOptions o) : IMap6
    {
        // Rates near 1 lose digits in f32, the same way in each step; their distance from 1 does not.
        private readonly float first = (float)o.D0, coefficient = (float)o.DCoef, gain = (float)((o.GrowthRate ?? double.PositiveInfinity) - 1), loss = (float)(o.DecayOfSums - 1);

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Update, Slot.Update, Slot.Update, Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L products, ref L norm, ref L d, ref L largest, ref L numerator, ref L step) where L : struct, ILane<L>
        {
            L zero = L.Splat(0), none = L.Equal(norm, zero), sum = L.Fma(L.Splat(loss), numerator, numerator) + products, estimate = L.Splat(coefficient) * sum / norm;
            L began = L.Select(L.Equal(d, L.Splat(first)), L.Max(d, estimate), d), highest = L.Max(largest, estimate);
            numerator = L.Select(none, numerator, sum);
            largest = L.Select(none, largest, highest);
            d = L.Select(none, d, L.Min(L.Fma(L.Splat(gain), began, began), highest));
            step = L.Select(none, zero, step);
        }
    }

    /// <summary>1-βᵏ of both moments; d ε; lr · d of the new d in the place of lr.</summary>
    internal readonly struct End(ProdigyOptions o) : IMap6
    {
        private readonly float beta1 = (float)o.Beta1, rest1 = (float)(1 - o.Beta1), beta2 = (float)o.Beta2, rest2 = (float)(1 - o.Beta2), epsilon = (float)o.Epsilon;

        public static Access Access => Access.Of(Slot.Read, Slot.Update, Slot.Update, Slot.Read, Slot.Update, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L norm, ref L first, ref L second, ref L d, ref L rate, ref L floored) where L : struct, ILane<L>
        {
            L zero = L.Splat(0), none = L.Equal(norm, zero);
            first = L.Select(none, first, L.Fma(L.Splat(beta1), first, L.Splat(rest1)));
            second = L.Select(none, second, L.Fma(L.Splat(beta2), second, L.Splat(rest2)));
            rate = L.Select(none, zero, rate * d);
            floored = d * L.Splat(epsilon);
        }
    }

    /// <summary>p -= decay · a · p.</summary>
    internal readonly struct Decay(float decay) : IMap2
    {
        private readonly float decay = decay;

        public static Access Access => Access.Of(Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L p, ref L rate) where L : struct, ILane<L> => p -= L.Splat(decay) * rate * p;
    }

    /// <summary>The moments of d · g; p -= decay · a · p, then p -= a m / (√v + d ε).</summary>
    internal readonly struct Step(ProdigyOptions o, float decay) : IMap6
    {
        private readonly Direction direction = new(o);
        private readonly float decay = decay;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Update, Slot.Update, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L p, ref L g, ref L m, ref L v, ref L rate, ref L epsilon) where L : struct, ILane<L>
        {
            L u = p;
            direction.Apply(ref u, ref g, ref m, ref v, ref epsilon);
            p -= rate * (L.Splat(decay) * p + u);
        }
    }

    /// <summary>As <see cref="Step"/> without a first moment: the new d multiplies the gradient. Without a learning rate v stays.</summary>
    internal readonly struct GradientStep(ProdigyOptions o, float decay, bool rests) : IMap6
    {
        private readonly float beta2 = rests ? 1 : (float)o.Beta2, rest2 = rests ? 0 : (float)(1 - o.Beta2), decay = decay;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Update, Slot.Read, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L p, ref L g, ref L v, ref L rate, ref L newRate, ref L epsilon) where L : struct, ILane<L>
        {
            v = L.Fma(L.Splat(beta2), v, L.Splat(rest2) * g * g);
            p -= L.Splat(decay) * rate * p + newRate * g / (L.Sqrt(v) + epsilon);
        }
    }

    /// <summary>The direction of <see cref="Step"/>.</summary>
    internal readonly struct Direction(ProdigyOptions o) : IMap5
    {
        private readonly float beta1 = (float)o.Beta1, rest1 = (float)(1 - o.Beta1), beta2 = (float)o.Beta2, rest2 = (float)(1 - o.Beta2);

        public static Access Access => Access.Of(Slot.Write, Slot.Read, Slot.Update, Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L g, ref L m, ref L v, ref L epsilon) where L : struct, ILane<L>
        {
            m = L.Fma(L.Splat(beta1), m, L.Splat(rest1) * g);
            v = L.Fma(L.Splat(beta2), v, L.Splat(rest2) * g * g);
            u = m / (L.Sqrt(v) + epsilon);
        }
    }

    /// <summary>The direction of <see cref="GradientStep"/>, a move by a.</summary>
    internal readonly struct GradientDirection(ProdigyOptions o) : IMap6
    {
        private readonly float beta2 = (float)o.Beta2, rest2 = (float)(1 - o.Beta2);

        public static Access Access => Access.Of(Slot.Write, Slot.Read, Slot.Update, Slot.Read, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L g, ref L v, ref L rate, ref L newRate, ref L epsilon) where L : struct, ILane<L>
        {
            v = L.Fma(L.Splat(beta2), v, L.Splat(rest2) * g * g);
            L zero = L.Splat(0);
            u = L.Select(L.Equal(rate, zero), zero, newRate / rate * g / (L.Sqrt(v) + epsilon));
        }
    }
}
