using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="Lion"/>.</summary>
public sealed record LionOptions : OptimizerOptions
{
    /// <summary>Lion takes a third to a tenth of AdamW's learning rate.</summary>
    public LionOptions() => LearningRate = 1e-4;

    /// <summary>Weight of the momentum in an update.</summary>
    [Description("weight of the momentum in an update")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Decay of the momentum.</summary>
    [Description("decay rate of the momentum")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Beta2 { get; init; } = 0.99;
}

/// <summary>
/// Lion (Chen et al., NeurIPS 2023): p = p (1 - lr · decay) - lr · sign(β₁m + (1-β₁)g); m = β₂m + (1-β₂)g.
/// One pass: 20 bytes a parameter. State 4mn bytes.
/// </summary>
public sealed class Lion : Optimizer<LionOptions>
{
    /// <inheritdoc/>
    public override string Name => "lion";

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, LionOptions options) => [StateTensor.Signed("exp_avg", shape)];

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, LionOptions o) =>
        update.Move(new Direction((float)o.Beta1, (float)(1 - o.Beta1), (float)o.Beta2, (float)(1 - o.Beta2)), Decay.Before(o.WeightDecay), update["exp_avg"]);

    internal readonly struct Direction(float beta1, float rest1, float beta2, float rest2) : IDirection1
    {
        private readonly float beta1 = beta1, rest1 = rest1, beta2 = beta2, rest2 = rest2;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Of<L>(L g, ref L m) where L : struct, ILane<L>
        {
            L mixed = L.Fma(L.Splat(beta1), m, L.Splat(rest1) * g), zero = L.Splat(0), one = L.Splat(1);
            m = L.Fma(L.Splat(beta2), m, L.Splat(rest2) * g);

            // A NaN is neither below nor above zero; it stays.
            return L.Select(L.Less(mixed, zero), -one, L.Select(L.Less(zero, mixed), one, mixed));
        }
    }
}
