using System.ComponentModel;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="RAdam"/>.</summary>
public sealed record RAdamOptions : AdamOptions
{
    /// <summary>Multiplies the parameter by 1 - lr · decay, instead of adding decay · p to the gradient.</summary>
    [Description("applies weight decay directly to the parameter")]
    public bool DecoupledDecay { get; init; }
}

/// <summary>
/// RAdam (Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", ICLR 2020) in PyTorch's form: Adam without division by √v until v is the mean
/// of enough gradients. ρ∞ = 2 / (1-β₂) - 1, ρ = ρ∞ - 2tβ₂ᵗ / (1-β₂ᵗ);
/// p -= lr · r · m / (1-β₁ᵗ) · √(1-β₂ᵗ) / (√v + ε), r = √((ρ-4)(ρ-2)ρ∞ / ((ρ∞-4)(ρ∞-2)ρ)), where ρ &gt; 5; otherwise p -= lr · m / (1-β₁ᵗ).
/// One pass: 28 bytes a parameter in f32.
/// </summary>
/// <remarks>With usual β₂, steps are rectified from the sixth on. The first five scale with the gradient. β₂ below ⅔ is never rectified.</remarks>
public sealed class RAdam : Optimizer<RAdamOptions>
{
    /// <inheritdoc/>
    public override string Name => "radam";

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, RAdamOptions options) =>
        [StateTensor.Signed("exp_avg", shape), StateTensor.NonNegative("exp_avg_sq", shape)];

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, RAdamOptions o)
    {
        double meanScale = 1 / (1 - Math.Pow(o.Beta1, update.Step));
        AdamDirection direction = Rectification(o.Beta2, update.Step) is { } rectified
            ? AdamDirection.Uncorrected(o, meanScale * rectified * Math.Sqrt(1 - Math.Pow(o.Beta2, update.Step)))
            : AdamDirection.Unnormalized(o, meanScale);
        update.Move(direction, Decay.Of(o.WeightDecay, o.DecoupledDecay), update["exp_avg"], update["exp_avg_sq"]);
    }

    /// <summary>r; null where the variance of 1 / √v is not tractable.</summary>
    private static double? Rectification(double beta2, long t)
    {
        double most = 2 / (1 - beta2) - 1, power = Math.Pow(beta2, t), rho = most - 2 * t * power / (1 - power);
        return rho > 5 ? Math.Sqrt((rho - 4) * (rho - 2) * most / ((most - 4) * (most - 2) * rho)) : null;
    }

    internal static void Equations(double[] p, double[] g, IReadOnlyDictionary<string, double[]> state, UpdateContext at)
    {
        var o = (RAdamOptions)at.Options;
        double[] m = state["exp_avg"], v = state["exp_avg_sq"];
        double correction1 = 1 - Math.Pow(o.Beta1, at.Step), correction2 = 1 - Math.Pow(o.Beta2, at.Step);
        double? rectified = Rectification(o.Beta2, at.Step);
        for (int i = 0; i < p.Length; i++)
        {
            double gradient = o.DecoupledDecay ? g[i] : g[i] + o.WeightDecay * p[i];
            p[i] *= o.DecoupledDecay ? 1 - at.LearningRate * o.WeightDecay : 1;
            m[i] = o.Beta1 * m[i] + (1 - o.Beta1) * gradient;
            v[i] = o.Beta2 * v[i] + (1 - o.Beta2) * gradient * gradient;
            p[i] -= at.LearningRate * m[i] / correction1 * (rectified is { } r ? r * Math.Sqrt(correction2) / (Math.Sqrt(v[i]) + o.Epsilon) : 1);
        }
    }
}
