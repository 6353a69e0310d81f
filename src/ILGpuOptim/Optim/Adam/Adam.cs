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
/// Settings of <see cref="Adam"/> and <see cref="AdamW"/> with their variants. AMSGrad (Reddi et al., ICLR 2018): the largest second moment so far takes the
/// place of the current one, and is one more tensor of state.
/// </summary>
public sealed record AmsGradOptions : AdamOptions
{
    /// <summary>Enables AMSGrad.</summary>
    [Description("divides by the largest second moment so far; 4 more bytes per parameter")]
    public bool AmsGrad { get; init; }

    /// <summary>Enables bias correction of the moments.</summary>
    [Description("enables bias correction of the moments")]
    public bool CorrectBias { get; init; } = true;

    /// <summary>Where ε is added.</summary>
    [Description("ε is added to the root of the corrected second moment, as in PyTorch, or of the uncorrected one, as in the paper's efficient form")]
    public EpsilonForm EpsilonForm { get; init; }
}

/// <summary>Where ε is added.</summary>
public enum EpsilonForm
{
    /// <summary>√(v / (1-β₂ᵗ)) + ε.</summary>
    Corrected,

    /// <summary>(√v + ε) / √(1-β₂ᵗ).</summary>
    Uncorrected,
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
    protected override void Update(in ParameterUpdate update, AdamOptions options) => Move(update, options, Decay.Gradient(options.WeightDecay));

    private protected static void Move(in ParameterUpdate update, AdamOptions options, in Decay decay)
    {
        AdamDirection direction = options switch
        {
            AmsGradOptions { CorrectBias: false } => AdamDirection.Uncorrected(options, 1),
            AmsGradOptions { EpsilonForm: EpsilonForm.Uncorrected } => AdamDirection.CorrectedWithEpsilon(options, update.Step),
            _ => AdamDirection.Corrected(options, update.Step),
        };
        if (options is AmsGradOptions { AmsGrad: true })
            update.Move(new AmsGradDirection(direction), decay, update["exp_avg"], update["exp_avg_sq"], update["max_exp_avg_sq"]);
        else
            update.Move(direction, decay, update["exp_avg"], update["exp_avg_sq"]);
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
    protected override void Update(in ParameterUpdate update, AdamOptions options) => Move(update, options, Decay.Before(options.WeightDecay));
}

/// <summary>Adam's direction (m / (1-β₁ᵗ)) / (√(v / (1-β₂ᵗ)) + ε), with the corrections folded into its constants.</summary>
internal readonly struct AdamDirection : IDirection2
{
    private readonly float beta1, rest1, beta2, rest2, meanScale, rootScale, epsilon;

    private AdamDirection(AdamOptions options, double rest1, double meanScale, double rootScale, double epsilon)
    {
        (beta1, this.rest1) = ((float)options.Beta1, (float)rest1);
        (beta2, rest2) = ((float)options.Beta2, (float)(1 - options.Beta2));
        this.meanScale = (float)meanScale;
        this.rootScale = (float)rootScale;
        this.epsilon = (float)epsilon;
    }

    /// <summary>Other weights of the gradient in the first moment, and other corrections.</summary>
    public static AdamDirection Of(AdamOptions options, double rest1, double correction1, double correction2) =>
        new(options, rest1, 1 / correction1, 1 / Math.Sqrt(correction2), options.Epsilon);

    /// <summary>ε is added to the root of the corrected moment.</summary>
    public static AdamDirection Corrected(AdamOptions options, long t) =>
        Of(options, 1 - options.Beta1, 1 - Math.Pow(options.Beta1, t), 1 - Math.Pow(options.Beta2, t));

    /// <summary>As <see cref="Corrected"/>, but the correction divides ε too.</summary>
    public static AdamDirection CorrectedWithEpsilon(AdamOptions options, long t)
    {
        double rootScale = 1 / Math.Sqrt(1 - Math.Pow(options.Beta2, t));
        return new(options, 1 - options.Beta1, 1 / (1 - Math.Pow(options.Beta1, t)), rootScale, options.Epsilon * rootScale);
    }

    /// <summary>meanScale · m / (√v + ε): ε is added to the root of the uncorrected moment.</summary>
    public static AdamDirection Uncorrected(AdamOptions options, double meanScale) => new(options, 1 - options.Beta1, meanScale, 1, options.Epsilon);

    /// <summary>meanScale · m.</summary>
    public static AdamDirection Unnormalized(AdamOptions options, double meanScale) => new(options, 1 - options.Beta1, meanScale, 0, 1);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Of<L>(L g, ref L m, ref L v) where L : struct, ILane<L>
    {
        Average(g, ref m, ref v);
        return Of(m, v);
    }

    /// <summary>Updates the moments.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Average<L>(L g, ref L m, ref L v) where L : struct, ILane<L>
    {
        m = L.Fma(L.Splat(beta1), m, L.Splat(rest1) * g);
        v = L.Fma(L.Splat(beta2), v, L.Splat(rest2) * g * g);
    }

    /// <summary>The direction of the moments.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Of<L>(L m, L v) where L : struct, ILane<L> => L.Splat(meanScale) * m / L.Fma(L.Sqrt(v), L.Splat(rootScale), L.Splat(epsilon));
}

/// <summary>Adam's direction with the largest second moment so far in place of the current one.</summary>
internal readonly struct AmsGradDirection(AdamDirection adam) : IDirection3
{
    private readonly AdamDirection adam = adam;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Of<L>(L g, ref L m, ref L v, ref L most) where L : struct, ILane<L>
    {
        adam.Average(g, ref m, ref v);
        most = L.Max(most, v);
        return adam.Of(m, most);
    }
}
