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
        var decay = Decay.Gradient(o.WeightDecay);
        if (o.Momentum == 0)
        {
            update.Move(default(Plain), decay);
            return;
        }

        bool first = update.Step == 1;
        var direction = new Heavy(first ? 0 : (float)o.Momentum, first ? 1 : (float)(1 - o.Dampening), o.Nesterov ? (float)o.Momentum : 1, o.Nesterov ? 1 : 0);
        update.Move(direction, decay, update["momentum_buffer"]);
    }

    private readonly struct Plain : IDirection0
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Of<L>(L g) where L : struct, ILane<L> => g;
    }

    /// <summary>ahead · buffer + direct · gradient with ahead 1 and direct 0, or (Nesterov) ahead momentum and direct 1.</summary>
    private readonly struct Heavy(float momentum, float entering, float ahead, float direct) : IDirection1
    {
        private readonly float momentum = momentum, entering = entering, ahead = ahead, direct = direct;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Of<L>(L g, ref L buffer) where L : struct, ILane<L>
        {
            buffer = L.Fma(L.Splat(momentum), buffer, L.Splat(entering) * g);
            return L.Fma(L.Splat(ahead), buffer, L.Splat(direct) * g);
        }
    }
}
