using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="Sgd"/>.</summary>
public sealed record SgdOptions : OptimizerOptions
{
    /// <summary>Decay of the velocity; 0 keeps no state.</summary>
    [Description("decay rate of the momentum; 0 keeps no state")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Momentum { get; init; }

    /// <summary>Dampening of the gradient in the velocity, after the first step.</summary>
    [Description("dampening of the gradient in the momentum")]
    [Range(0, 1)]
    public double Dampening { get; init; }

    /// <summary>Enables Nesterov momentum (Nesterov, 1983).</summary>
    [Description("enables Nesterov momentum")]
    public bool Nesterov { get; init; }
}

/// <summary>
/// Stochastic gradient descent (Robbins and Monro, 1951) with momentum (Polyak, 1964): g += decay · p; buf = momentum · buf + (1 - dampening) g (the first step copies g);
/// p -= lr · (nesterov ? g + momentum · buf : buf). One pass: 20 bytes a parameter, 12 without momentum.
/// </summary>
public sealed class Sgd : Optimizer<SgdOptions>
{
    /// <inheritdoc/>
    public override string Name => "sgd";

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, SgdOptions o)
    {
        if (o.Nesterov && (o.Momentum <= 0 || o.Dampening != 0))
            throw new UserException("Nesterov momentum needs a momentum and no dampening");
        return o.Momentum == 0 ? [] : [StateTensor.Signed("momentum_buffer", shape)];
    }

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, SgdOptions o)
    {
        float rate = (float)update.LearningRate, penalty = (float)o.WeightDecay;
        if (o.Momentum == 0)
        {
            update.Map(new Plain(rate, penalty), update.Weights, update.Gradient);
            return;
        }

        bool first = update.Step == 1;
        var rule = new Heavy(rate, penalty, first ? 0 : (float)o.Momentum, first ? 1 : (float)(1 - o.Dampening), o.Nesterov ? (float)o.Momentum : 0, o.Nesterov ? 1 : 0);
        update.Map(rule, update.Weights, update.Gradient, update["momentum_buffer"]);
    }

    private readonly struct Plain(float rate, float penalty) : IMap2
    {
        private readonly float rate = rate, penalty = penalty;

        public static Access Access => Access.Of(Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L p, ref L g) where L : struct, ILane<L> =>
            p -= L.Splat(rate) * L.Fma(L.Splat(penalty), p, g);
    }

    /// <summary>The step is ahead · buffer + direct · gradient with ahead 1 and direct 0, or (Nesterov) ahead momentum and direct 1.</summary>
    private readonly struct Heavy(float rate, float penalty, float momentum, float entering, float ahead, float direct) : IMap3
    {
        private readonly float rate = rate, penalty = penalty, momentum = momentum, entering = entering;
        private readonly float ahead = direct == 0 ? 1 : ahead, direct = direct;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L p, ref L g, ref L buffer) where L : struct, ILane<L>
        {
            L gradient = L.Fma(L.Splat(penalty), p, g);
            buffer = L.Fma(L.Splat(momentum), buffer, L.Splat(entering) * gradient);
            p -= L.Splat(rate) * L.Fma(L.Splat(ahead), buffer, L.Splat(direct) * gradient);
        }
    }
}
