using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="ScheduleFreeAdamW"/>.</summary>
public sealed record ScheduleFreeAdamWOptions : ScheduleFreeOptions
{
    /// <summary>The learning rate is that of the reference.</summary>
    public ScheduleFreeAdamWOptions() => LearningRate = 2.5e-3;

    /// <summary>β₁: the share of the average in the point where gradients are taken.</summary>
    [Description("share of the averaged weights in the point where gradients are taken")]
    [Range(0, 1, MinimumIsExclusive = true, MaximumIsExclusive = true)]
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Decay of the mean of squared gradients.</summary>
    [Description("decay rate of the second moment")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Beta2 { get; init; } = 0.999;

    /// <summary>Added to the root of the corrected second moment.</summary>
    [Description("term added to denominators")]
    [Range(0, MinimumIsExclusive = true)]
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>Decay of a mean of gradients that takes the gradient's place; 0 keeps none.</summary>
    [Description("decay rate of a first moment in place of the gradient; 0 keeps no state")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double InnerMomentum { get; init; }
}

/// <summary>
/// Schedule-free AdamW (Defazio et al., "The road less scheduled", NeurIPS 2024): <see cref="ScheduleFreeOptimizer{TOptions}"/> with v ← β₂v + (1-β₂)g² and
/// d = g / (√(v / (1-β₂ᵗ)) + ε) + decay · y. One pass: 28 bytes a parameter; state 8mn bytes.
/// </summary>
public sealed class ScheduleFreeAdamW : ScheduleFreeOptimizer<ScheduleFreeAdamWOptions>
{
    /// <inheritdoc/>
    public override string Name => "schedulefree-adamw";

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, ScheduleFreeAdamWOptions options)
    {
        List<StateTensor> state = [new("z", shape), StateTensor.NonNegative("exp_avg_sq", shape)];
        if (options.InnerMomentum > 0)
            state.Add(StateTensor.Signed("exp_avg", shape));
        return state;
    }

    /// <inheritdoc/>
    protected override double Interpolation(ScheduleFreeAdamWOptions options) => options.Beta1;

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, ScheduleFreeAdamWOptions o, double rate)
    {
        var quotient = new Quotient((float)o.Beta2, (float)(1 - o.Beta2), (float)(1 / Math.Sqrt(1 - Math.Pow(o.Beta2, update.Step))), (float)o.Epsilon);
        double correction = o.InnerMomentum == 0 ? 1 : 1 / (1 - Math.Pow(o.InnerMomentum, update.Step));
        if (update.State.Parts.ChangesMove)
        {
            Block direction = update.Device.Pool.Rent(update.Length);
            if (o.InnerMomentum == 0)
                update.Map(new DirectionRule(quotient), direction, update.Gradient, update["exp_avg_sq"]);
            else
                update.Map(new MomentumDirectionRule(quotient, (float)o.InnerMomentum, (float)(1 - o.InnerMomentum), (float)correction), direction, update.Gradient, update["exp_avg_sq"], update["exp_avg"]);
            Move(update, o, rate, direction);
            update.Device.Pool.Return(direction);
            return;
        }

        var rule = new Rule(new ScheduleFreeRules.Movement(rate, o.Beta1), quotient, (float)o.WeightDecay);
        if (o.InnerMomentum == 0)
        {
            update.Map(rule, update.Weights, update.Gradient, update["z"], update["exp_avg_sq"], AverageShare);
            return;
        }

        var momentum = new MomentumRule(rule, (float)o.InnerMomentum, (float)(1 - o.InnerMomentum), (float)correction);
        update.Map(momentum, update.Weights, update.Gradient, update["z"], update["exp_avg_sq"], AverageShare, update["exp_avg"]);
    }

    /// <summary>Updates v, and divides a direction by its root.</summary>
    private readonly struct Quotient(float beta, float rest, float rootScale, float epsilon)
    {
        private readonly float beta = beta, rest = rest, rootScale = rootScale, epsilon = epsilon;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Of<L>(L g, L direction, ref L v) where L : struct, ILane<L>
        {
            v = L.Fma(L.Splat(beta), v, L.Splat(rest) * g * g);
            return direction / L.Fma(L.Sqrt(v), L.Splat(rootScale), L.Splat(epsilon));
        }
    }

    private readonly struct DirectionRule(Quotient quotient) : IMap3
    {
        private readonly Quotient quotient = quotient;

        public static Access Access => Access.Of(Slot.Write, Slot.Read, Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L g, ref L v) where L : struct, ILane<L> => u = quotient.Of(g, g, ref v);
    }

    private readonly struct MomentumDirectionRule(Quotient quotient, float momentum, float rest, float correction) : IMap4
    {
        private readonly Quotient quotient = quotient;
        private readonly float momentum = momentum, rest = rest, correction = correction;

        public static Access Access => Access.Of(Slot.Write, Slot.Read, Slot.Update, Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L g, ref L v, ref L m) where L : struct, ILane<L>
        {
            m = L.Fma(L.Splat(momentum), m, L.Splat(rest) * g);
            u = quotient.Of(g, m * L.Splat(correction), ref v);
        }
    }

    private readonly struct Rule(ScheduleFreeRules.Movement movement, Quotient quotient, float decay) : IMap5
    {
        private readonly ScheduleFreeRules.Movement movement = movement;
        private readonly Quotient quotient = quotient;
        private readonly float decay = decay;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Update, Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L y, ref L g, ref L z, ref L v, ref L share) where L : struct, ILane<L> => Move(ref y, g, g, ref z, ref v, share);

        /// <summary>A step in a direction whose size v of the gradient gives.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Move<L>(ref L y, L g, L direction, ref L z, ref L v, L share) where L : struct, ILane<L> =>
            movement.Apply(ref y, ref z, share, L.Fma(L.Splat(decay), y, quotient.Of(g, direction, ref v)));
    }

    private readonly struct MomentumRule(Rule rule, float momentum, float rest, float correction) : IMap6
    {
        private readonly Rule rule = rule;
        private readonly float momentum = momentum, rest = rest, correction = correction;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Update, Slot.Update, Slot.Read, Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L y, ref L g, ref L z, ref L v, ref L share, ref L m) where L : struct, ILane<L>
        {
            m = L.Fma(L.Splat(momentum), m, L.Splat(rest) * g);
            rule.Move(ref y, g, m * L.Splat(correction), ref z, ref v, share);
        }
    }
}
