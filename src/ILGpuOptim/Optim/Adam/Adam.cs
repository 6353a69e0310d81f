using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="Adam"/> and <see cref="AdamW"/>.</summary>
public record AdamOptions : OptimizerOptions
{
    /// <summary>Decay of the mean of gradients.</summary>
    [Description("decay rate of the first moment")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Decay of the mean of squared gradients.</summary>
    [Description("decay rate of the second moment")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Beta2 { get; init; } = 0.999;

    /// <summary>Added to the root of the corrected second moment.</summary>
    [Description("term added to denominators")]
    [Range(0, MinimumIsExclusive = true)]
    public double Epsilon { get; init; } = 1e-8;
}

/// <summary>
/// Settings of <see cref="Adam"/> and <see cref="AdamW"/> with AMSGrad (Reddi et al., ICLR 2018): the largest second moment so far takes the
/// place of the current one, and is one more tensor of state.
/// </summary>
public sealed record AmsGradOptions : AdamOptions
{
    /// <summary>Enables AMSGrad.</summary>
    [Description("divides by the largest second moment so far; 4 more bytes per parameter")]
    public bool AmsGrad { get; init; } = true;
}

/// <summary>
/// Adam (Kingma and Ba, ICLR 2015). m = β₁m + (1-β₁)g, v = β₂v + (1-β₂)g², p -= lr · (m / (1-β₁ᵗ)) / (√(v / (1-β₂ᵗ)) + ε);
/// weight decay is added to the gradient. One pass: 28 bytes a parameter in f32.
/// </summary>
public class Adam : Optimizer<AdamOptions>
{
    /// <inheritdoc/>
    public override string Name => "adam";

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, AdamOptions options)
    {
        List<StateTensor> state = [StateTensor.Signed("exp_avg", shape), StateTensor.NonNegative("exp_avg_sq", shape)];
        if (options is AmsGradOptions { AmsGrad: true })
            state.Add(StateTensor.NonNegative("max_exp_avg_sq", shape));
        return state;
    }

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, AdamOptions options) =>
        Run(update, options, AdamRule.Corrected(options, update.LearningRate, update.Step, decay: 1, penalty: options.WeightDecay));

    private protected static void Run(in ParameterUpdate update, AdamOptions options, in AdamRule rule)
    {
        if (options is AmsGradOptions { AmsGrad: true })
            update.Map(new AmsGradRule(rule), update.Weights, update.Gradient, update["exp_avg"], update["exp_avg_sq"], update["max_exp_avg_sq"]);
        else
            update.Map(rule, update.Weights, update.Gradient, update["exp_avg"], update["exp_avg_sq"]);
    }
}

/// <summary>
/// AdamW (Loshchilov and Hutter, ICLR 2019): <see cref="Adam"/> whose weight decay multiplies the parameter by
/// 1 - lr · decay before the update. One pass: 28 bytes a parameter in f32.
/// </summary>
public sealed class AdamW : Adam
{
    /// <inheritdoc/>
    public override string Name => "adamw";

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, AdamOptions options) =>
        Run(update, options, AdamRule.Corrected(options, update.LearningRate, update.Step, decay: 1 - update.LearningRate * options.WeightDecay, penalty: 0));
}

/// <summary>One step of Adam with the corrections folded into its constants.</summary>
internal readonly struct AdamRule : IMap4
{
    private readonly float beta1, rest1, beta2, rest2, step, rootScale, epsilon, decay, penalty;

    private AdamRule(double beta1, double beta2, double step, double rootScale, double epsilon, double decay, double penalty)
    {
        (this.beta1, rest1) = ((float)beta1, (float)(1 - beta1));
        (this.beta2, rest2) = ((float)beta2, (float)(1 - beta2));
        this.step = (float)step;
        this.rootScale = (float)rootScale;
        this.epsilon = (float)epsilon;
        this.decay = (float)decay;
        this.penalty = (float)penalty;
    }

    /// <summary>ε is added to the root of the corrected moment.</summary>
    public static AdamRule Corrected(AdamOptions options, double learningRate, long t, double decay, double penalty) =>
        new(options.Beta1, options.Beta2, learningRate / (1 - Math.Pow(options.Beta1, t)), 1 / Math.Sqrt(1 - Math.Pow(options.Beta2, t)), options.Epsilon, decay, penalty);

    /// <summary>As <see cref="Corrected"/>, but the correction divides ε too.</summary>
    public static AdamRule CorrectedWithEpsilon(AdamOptions options, double learningRate, long t, double decay, double penalty)
    {
        double rootScale = 1 / Math.Sqrt(1 - Math.Pow(options.Beta2, t));
        return new(options.Beta1, options.Beta2, learningRate / (1 - Math.Pow(options.Beta1, t)), rootScale, options.Epsilon * rootScale, decay, penalty);
    }

    public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Update, Slot.Update);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L p, ref L g, ref L m, ref L v) where L : struct, ILane<L>
    {
        Average(p, g, ref m, ref v);
        p = Moved(p, m, v);
    }

    /// <summary>Updates the moments.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Average<L>(L p, L g, ref L m, ref L v) where L : struct, ILane<L>
    {
        L gradient = L.Fma(L.Splat(penalty), p, g);
        m = L.Fma(L.Splat(beta1), m, L.Splat(rest1) * gradient);
        v = L.Fma(L.Splat(beta2), v, L.Splat(rest2) * gradient * gradient);
    }

    /// <summary>The parameter after the step.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Moved<L>(L p, L m, L v) where L : struct, ILane<L> =>
        p * L.Splat(decay) - L.Splat(step) * m / L.Fma(L.Sqrt(v), L.Splat(rootScale), L.Splat(epsilon));
}

/// <summary>One step of Adam with the largest second moment so far in place of the current one.</summary>
internal readonly struct AmsGradRule(AdamRule adam) : IMap5
{
    private readonly AdamRule adam = adam;

    public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Update, Slot.Update, Slot.Update);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L p, ref L g, ref L m, ref L v, ref L most) where L : struct, ILane<L>
    {
        adam.Average(p, g, ref m, ref v);
        most = L.Max(most, v);
        p = adam.Moved(p, m, most);
    }
}
