using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="Signum"/>.</summary>
public sealed record SignumOptions : OptimizerOptions
{
    /// <summary>Every element moves by the learning rate, so it is that of <see cref="Lion"/>.</summary>
    public SignumOptions() => LearningRate = 1e-4;

    /// <summary>Decay of the momentum; 0 keeps no state, which is signSGD.</summary>
    [Description("decay rate of the momentum; 0 keeps no state")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Momentum { get; init; } = 0.9;

    /// <summary>
    /// Multiplies the parameter by 1 - lr · decay. Otherwise decay · p is added to the gradient, where it acts only if it changes the sign of the momentum.
    /// </summary>
    [Description("applies weight decay directly to the parameter")]
    public bool DecoupledDecay { get; init; }
}

/// <summary>
/// Signum (Bernstein et al., "signSGD: Compressed Optimisation for Non-Convex Problems", ICML 2018): g += decay · p; m = βm + (1-β)g; p -= lr · sign(m).
/// One pass: 20 bytes a parameter in f32, 12 without momentum. State 4mn bytes, none without momentum.
/// </summary>
public sealed class Signum : Optimizer<SignumOptions>
{
    /// <inheritdoc/>
    public override string Name => "signum";

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, SignumOptions o) => o.Momentum == 0 ? [] : [StateTensor.Signed("momentum_buffer", shape)];

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, SignumOptions o)
    {
        var decay = Decay.Of(o.WeightDecay, o.DecoupledDecay);
        if (o.Momentum == 0)
            update.Move(new OfGradient(), decay);
        else
            update.Move(new OfMomentum((float)o.Momentum, (float)(1 - o.Momentum)), decay, update["momentum_buffer"]);
    }

    /// <summary>-1, 0 or 1; NaN stays.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static L Sign<L>(L value) where L : struct, ILane<L>
    {
        L zero = L.Splat(0), one = L.Splat(1);
        return L.Select(L.Less(value, zero), -one, L.Select(L.Less(zero, value), one, value));
    }

    private readonly struct OfGradient : IDirection0
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Of<L>(L g) where L : struct, ILane<L> => Sign(g);
    }

    private readonly struct OfMomentum(float momentum, float rest) : IDirection1
    {
        private readonly float momentum = momentum, rest = rest;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Of<L>(L g, ref L m) where L : struct, ILane<L>
        {
            m = L.Fma(L.Splat(momentum), m, L.Splat(rest) * g);
            return Sign(m);
        }
    }
}
