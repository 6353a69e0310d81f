using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="NAdam"/>.</summary>
public sealed record NAdamOptions : AdamOptions
{
    /// <summary>PyTorch's default learning rate.</summary>
    public NAdamOptions() => LearningRate = 2e-3;

    /// <summary>How fast the momentum grows from half of β₁ to β₁.</summary>
    [Description("speed ψ of the momentum schedule β₁ (1 - 0.96^(tψ) / 2)")]
    [Range(0)]
    public double MomentumDecay { get; init; } = 4e-3;

    /// <summary>Multiplies the parameter by 1 - lr · decay, instead of adding decay · p to the gradient.</summary>
    [Description("applies weight decay directly to the parameter")]
    public bool DecoupledDecay { get; init; }
}

/// <summary>
/// NAdam (Dozat, "Incorporating Nesterov Momentum into Adam", ICLR Workshop 2016) in PyTorch's form: Adam whose step looks ahead.
/// μₜ = β₁(1 - 0.96^(tψ) / 2), Mₜ = μ₁ ⋯ μₜ; m and v as Adam, D = √(v / (1-β₂ᵗ)) + ε;
/// p -= lr (1-μₜ) / (1-Mₜ) · g / D + lr μₜ₊₁ / (1-Mₜ₊₁) · m / D. One pass: 28 bytes a parameter in f32.
/// </summary>
/// <remarks>Mₜ follows from t and the options, so it is no state.</remarks>
public sealed class NAdam : Optimizer<NAdamOptions>
{
    /// <inheritdoc/>
    public override string Name => "nadam";

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, NAdamOptions options) =>
        [StateTensor.Signed("exp_avg", shape), StateTensor.NonNegative("exp_avg_sq", shape)];

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, NAdamOptions o)
    {
        var (direct, ahead) = Weights(o, update.Step);
        var direction = new Direction(o, direct, ahead, 1 / Math.Sqrt(1 - Math.Pow(o.Beta2, update.Step)));
        update.Move(direction, Decay.Of(o.WeightDecay, o.DecoupledDecay), update["exp_avg"], update["exp_avg_sq"]);
    }

    /// <summary>The weights of gradient and momentum in a step: (1-μₜ) / (1-Mₜ) and μₜ₊₁ / (1-Mₜ₊₁).</summary>
    private static (double Direct, double Ahead) Weights(NAdamOptions o, long t)
    {
        double Momentum(long step) => o.Beta1 * (1 - 0.5 * Math.Pow(0.96, step * o.MomentumDecay));
        double product = 1;

        // A product below half an ulp of 1 changes 1 - M no more.
        for (long step = 1; step <= t && product > 1e-17; step++)
            product *= Momentum(step);
        double next = Momentum(t + 1);
        return ((1 - Momentum(t)) / (1 - product), next / (1 - product * next));
    }

    internal static void Equations(double[] p, double[] g, IReadOnlyDictionary<string, double[]> state, UpdateContext at)
    {
        var o = (NAdamOptions)at.Options;
        double[] m = state["exp_avg"], v = state["exp_avg_sq"];
        double[] momenta = [.. Enumerable.Range(1, at.Step + 1).Select(t => o.Beta1 * (1 - 0.5 * Math.Pow(0.96, t * o.MomentumDecay)))];
        double all = momenta.Aggregate(1.0, (product, momentum) => product * momentum), now = all / momenta[^1];
        for (int i = 0; i < p.Length; i++)
        {
            double gradient = o.DecoupledDecay ? g[i] : g[i] + o.WeightDecay * p[i];
            p[i] *= o.DecoupledDecay ? 1 - at.LearningRate * o.WeightDecay : 1;
            m[i] = o.Beta1 * m[i] + (1 - o.Beta1) * gradient;
            v[i] = o.Beta2 * v[i] + (1 - o.Beta2) * gradient * gradient;
            double root = Math.Sqrt(v[i] / (1 - Math.Pow(o.Beta2, at.Step))) + o.Epsilon;
            p[i] -= at.LearningRate * ((1 - momenta[^2]) / (1 - now) * gradient + momenta[^1] / (1 - all) * m[i]) / root;
        }
    }

    private readonly struct Direction(NAdamOptions o, double direct, double ahead, double rootScale) : IDirection2
    {
        private readonly float beta1 = (float)o.Beta1, rest1 = (float)(1 - o.Beta1), beta2 = (float)o.Beta2, rest2 = (float)(1 - o.Beta2), epsilon = (float)o.Epsilon;
        private readonly float direct = (float)direct, ahead = (float)ahead, rootScale = (float)rootScale;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Of<L>(L g, ref L m, ref L v) where L : struct, ILane<L>
        {
            m = L.Fma(L.Splat(beta1), m, L.Splat(rest1) * g);
            v = L.Fma(L.Splat(beta2), v, L.Splat(rest2) * g * g);
            return L.Fma(L.Splat(ahead), m, L.Splat(direct) * g) / L.Fma(L.Sqrt(v), L.Splat(rootScale), L.Splat(epsilon));
        }
    }
}
