using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="StableAdamW"/>.</summary>
public sealed record StableAdamWOptions : AdamOptions
{
    /// <summary>β₂ and ε of optimi.</summary>
    public StableAdamWOptions() => (Beta2, Epsilon) = (0.99, 1e-6);

    /// <summary>Divides the rate in weight decay by <see cref="MaxLearningRate"/>, so that decay follows the schedule only.</summary>
    [Description("makes weight decay independent of the peak learning rate")]
    public bool FullyDecoupledDecay { get; init; }

    /// <summary>The peak learning rate of fully decoupled decay; 0 takes that of the parameter's group.</summary>
    [Description("peak learning rate of fully decoupled decay; 0: the learning rate")]
    [Range(0)]
    public double MaxLearningRate { get; init; }
}

/// <summary>
/// StableAdamW (Wortsman et al., "Stable and low-precision training for large-scale vision-language models", NeurIPS 2023) in the form of optimi: AdamW whose
/// learning rate is divided by the root mean square of g / √v where that is above 1, as in Adafactor.
/// β̂ = (β - βᵗ) / (1 - βᵗ); m = β̂₁m + (1-β̂₁)g; v = β̂₂v + (1-β̂₂)g²; a = lr / max(1, √mean(g² / max(v, ε²))); p = p (1 - a · decay) - a · m / (√v + ε).
/// </summary>
/// <remarks>Two passes, 36 bytes a parameter in f32: g, m, v (20); p, m, v (16). The moments are those of Adam, already corrected for their bias.</remarks>
public sealed class StableAdamW : Optimizer<StableAdamWOptions>
{
    /// <inheritdoc/>
    public override string Name => "stable-adamw";

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, StableAdamWOptions options) =>
        [StateTensor.Signed("exp_avg", shape), StateTensor.NonNegative("exp_avg_sq", shape)];

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, StableAdamWOptions o)
    {
        Device device = update.Device;
        Block m = update.StateValues("exp_avg"), v = update.StateValues("exp_avg_sq"), scalar = device.Pool.Rent(1);
        update.Map(new MomentsRule(Debiased(o.Beta1, update.Step), Debiased(o.Beta2, update.Step), (float)o.Epsilon), update.Gradient, m, v, Operand.Scalar(scalar));
        device.Map(new RateRule((float)update.LearningRate, (float)(1.0 / update.Length)), 1, 1, scalar);
        var rule = new DirectionRule((float)o.Epsilon);
        if (update.State.Parts.ChangesMove)
        {
            Block direction = device.Pool.Rent(update.Length);
            update.Map(rule, direction, m, v);
            update.Move(direction, Decay.Before(o.WeightDecay / Peak(o)), scalar);
            device.Pool.Return(direction);
        }
        else
        {
            update.Map(new StepRule(rule, (float)(o.WeightDecay / Peak(o))), update.Weights, m, v, Operand.Scalar(scalar));
        }

        device.Pool.Return(scalar);
    }

    private static double Debiased(double beta, long t) => (beta - Math.Pow(beta, t)) / (1 - Math.Pow(beta, t));

    /// <summary>What the rate of weight decay is divided by.</summary>
    private static double Peak(StableAdamWOptions o) => !o.FullyDecoupledDecay ? 1 : o.MaxLearningRate > 0 ? o.MaxLearningRate : o.LearningRate > 0 ? o.LearningRate : 1;

    internal static void Equations(double[] p, double[] g, IReadOnlyDictionary<string, double[]> state, UpdateContext at)
    {
        var o = (StableAdamWOptions)at.Options;
        double[] m = state["exp_avg"], v = state["exp_avg_sq"];
        double beta1 = Debiased(o.Beta1, at.Step), beta2 = Debiased(o.Beta2, at.Step), squares = 0;
        for (int i = 0; i < p.Length; i++)
        {
            m[i] = beta1 * m[i] + (1 - beta1) * g[i];
            v[i] = beta2 * v[i] + (1 - beta2) * g[i] * g[i];
            squares += g[i] * g[i] / Math.Max(v[i], o.Epsilon * o.Epsilon);
        }

        double rate = at.LearningRate / Math.Max(1, Math.Sqrt(squares / p.Length));
        for (int i = 0; i < p.Length; i++)
            p[i] = p[i] * (1 - rate / Peak(o) * o.WeightDecay) - rate * m[i] / (Math.Sqrt(v[i]) + o.Epsilon);
    }

    /// <summary>Updates the moments, and sums g² / max(v, ε²).</summary>
    private readonly struct MomentsRule(double beta1, double beta2, float epsilon) : IMap4
    {
        private readonly float beta1 = (float)beta1, rest1 = (float)(1 - beta1), beta2 = (float)beta2, rest2 = (float)(1 - beta2), floor = epsilon * epsilon;

        public static Access Access => Access.Of(Slot.Read, Slot.Update, Slot.Update, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L m, ref L v, ref L sum) where L : struct, ILane<L>
        {
            m = L.Fma(L.Splat(beta1), m, L.Splat(rest1) * g);
            v = L.Fma(L.Splat(beta2), v, L.Splat(rest2) * g * g);
            sum = g * g / L.Max(L.Splat(floor), v);
        }
    }

    /// <summary>lr / max(1, √mean) in place of the sum; NaN stays.</summary>
    private readonly struct RateRule(float rate, float perElement) : IMap1
    {
        private readonly float rate = rate, perElement = perElement;

        public static Access Access => Access.Of(Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L sum) where L : struct, ILane<L> => sum = L.Splat(rate) / L.Max(L.Splat(1), L.Sqrt(sum * L.Splat(perElement)));
    }

    private readonly struct DirectionRule(float epsilon) : IMap3
    {
        private readonly float epsilon = epsilon;

        public static Access Access => Access.Of(Slot.Write, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L m, ref L v) where L : struct, ILane<L> => u = m / (L.Sqrt(v) + L.Splat(epsilon));
    }

    private readonly struct StepRule(DirectionRule direction, float decay) : IMap4
    {
        private readonly DirectionRule direction = direction;
        private readonly float decay = decay;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L p, ref L m, ref L v, ref L rate) where L : struct, ILane<L>
        {
            L u = p;
            direction.Apply(ref u, ref m, ref v);
            p -= rate * L.Fma(L.Splat(decay), p, u);
        }
    }
}
