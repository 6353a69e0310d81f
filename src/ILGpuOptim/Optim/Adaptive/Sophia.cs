using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>
/// An optimizer that estimates the curvature of the loss from a second kind of gradients: those of the loss with labels that are drawn from the model's own
/// predictions (Gauss–Newton–Bartlett). Training calls it every <see cref="CurvatureInterval"/> steps, after the update.
/// </summary>
public interface ICurvatureOptimizer
{
    /// <summary>Steps between estimates.</summary>
    int CurvatureInterval { get; }

    /// <summary>Updates the estimate of every parameter that this rank owns and that has a gradient.</summary>
    /// <param name="gradients">Gradients of the mean loss over a batch with drawn labels.</param>
    void UpdateCurvature(Gradients gradients);
}

/// <summary>Settings of <see cref="Sophia"/>.</summary>
public sealed record SophiaOptions : OptimizerOptions
{
    /// <summary>The rates are those of the reference.</summary>
    public SophiaOptions() => (LearningRate, WeightDecay) = (1e-4, 0.1);

    /// <summary>Decay of the mean of gradients.</summary>
    [Description("decay rate of the first moment")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Beta1 { get; init; } = 0.965;

    /// <summary>Decay of the curvature.</summary>
    [Description("decay rate of the curvature")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Beta2 { get; init; } = 0.99;

    /// <summary>Divides the ratio of momentum and curvature, which is clipped to 1.</summary>
    [Description("factor of the curvature in the clipped ratio; smaller clips more")]
    [Range(0, MinimumIsExclusive = true)]
    public double Rho { get; init; } = 0.04;

    /// <summary>Tokens of the batch whose mean loss gives the curvature; null: the reference's 5120.</summary>
    [Description("tokens of a step; training takes it from its batches")]
    [Range(1)]
    public long? BatchTokens { get; init; }

    /// <summary>Steps between estimates of the curvature.</summary>
    [Description("steps between estimates of the curvature")]
    [Range(1)]
    public int CurvatureInterval { get; init; } = 10;
}

/// <summary>
/// Sophia-G (Liu et al., "Sophia: A scalable stochastic second-order optimizer for language model pre-training", ICLR 2024): p = p (1 - lr · decay);
/// m ← β₁m + (1-β₁)g; p -= lr sign(m) min(1, |m| / (ρ B h + 10⁻¹⁵)). Every k steps, after the update, h ← β₂h + (1-β₂)ĝ², where ĝ is the gradient of the mean loss of B
/// tokens with labels drawn from the model. Neither moment is corrected; until the first estimate h is zero, and the update is the sign of the momentum.
/// </summary>
/// <remarks>One pass: 24 bytes a parameter; 12 more for an estimate. State 8mn bytes.</remarks>
public sealed class Sophia : Optimizer<SophiaOptions>, ICurvatureOptimizer
{
    /// <inheritdoc/>
    public override string Name => "sophia";

    /// <inheritdoc/>
    public override bool SupportsRanks => true;

    /// <inheritdoc/>
    public int CurvatureInterval => States.Count > 0 ? ((SophiaOptions)States[0].Options).CurvatureInterval : new SophiaOptions().CurvatureInterval;

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, SophiaOptions options) => [StateTensor.Signed("exp_avg", shape), StateTensor.NonNegative("hessian", shape)];

    /// <inheritdoc/>
    public void UpdateCurvature(Gradients gradients)
    {
        foreach (ParameterState state in States)
        {
            if (state.Parameter.Length == 0 || !state.IsOwned || !gradients.Has(state.Parameter))
                continue;
            double beta = ((SophiaOptions)state.Options).Beta2;
            var update = new ParameterUpdate(state, gradients[state.Parameter], 0);
            update.Map(new CurvatureRule((float)beta, (float)(1 - beta)), update.Gradient, update["hessian"]);
        }
    }

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, SophiaOptions o)
    {
        var motion = new Motion(update, Decay.Before(o.WeightDecay), isWhole: true);
        motion.Map(new Rule((float)o.Beta1, (float)(1 - o.Beta1), (float)(o.Rho * (o.BatchTokens ?? 5120))), update.Gradient, update["exp_avg"], update["hessian"]);
        motion.End();
    }

    /// <summary>The direction.</summary>
    private readonly struct Rule(float beta, float rest, float scale) : IMap4
    {
        private const float Epsilon = 1e-15f;
        private readonly float beta = beta, rest = rest, scale = scale;

        public static Access Access => Access.Of(Slot.Write, Slot.Read, Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L g, ref L m, ref L h) where L : struct, ILane<L>
        {
            m = L.Fma(L.Splat(beta), m, L.Splat(rest) * g);
            L ratio = m / L.Fma(L.Splat(scale), h, L.Splat(Epsilon)), one = L.Splat(1);

            // A NaN compares as false and stays.
            u = L.Select(L.Less(one, ratio), one, L.Select(L.Less(ratio, -one), -one, ratio));
        }
    }

    /// <summary>h = β₂h + (1-β₂)ĝ².</summary>
    private readonly struct CurvatureRule(float beta, float rest) : IMap2
    {
        private readonly float beta = beta, rest = rest;

        public static Access Access => Access.Of(Slot.Read, Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L h) where L : struct, ILane<L> => h = L.Fma(L.Splat(beta), h, L.Splat(rest) * g * g);
    }
}
