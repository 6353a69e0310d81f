using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="Adopt"/>.</summary>
public sealed record AdoptOptions : AdamOptions
{
    /// <summary>β₂ and ε of the paper.</summary>
    public AdoptOptions() => (Beta2, Epsilon) = (0.9999, 1e-6);

    /// <summary>Clips normalized gradients. The authors found the form without clipping unstable.</summary>
    [Description("clips elements of the normalized gradient to ±(t - 1)^clip_exponent")]
    public bool ClipsNormalized { get; init; } = true;

    /// <summary>The exponent of t - 1 in the clipping bound.</summary>
    [Description("exponent of the bound of clips_normalized")]
    [Range(0)]
    public double ClipExponent { get; init; } = 0.25;

    /// <summary>Multiplies the parameter by 1 - lr · decay, instead of adding decay · p to the gradient.</summary>
    [Description("applies weight decay directly to the parameter")]
    public bool DecoupledDecay { get; init; }
}

/// <summary>
/// ADOPT (Taniguchi et al., "ADOPT: Modified Adam Can Converge with Any β₂ with the Optimal Rate", NeurIPS 2024): each gradient is divided by the second moment
/// of the gradients before it, and the momentum is a mean of the quotients.
/// t = 1: v = g², and nothing else. t &gt; 1: n = g / max(√v, ε), clipped to ±(t-1)^¼; m = β₁m + (1-β₁)n; p -= lr · m; v = β₂v + (1-β₂)g².
/// One pass: 28 bytes a parameter in f32.
/// </summary>
/// <remarks>ε is a floor. Where the first gradients are zero, v is zero, and only the clipping bounds the next one.</remarks>
public sealed class Adopt : Optimizer<AdoptOptions>
{
    /// <inheritdoc/>
    public override string Name => "adopt";

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, AdoptOptions options) =>
        [StateTensor.Signed("exp_avg", shape), StateTensor.NonNegative("exp_avg_sq", shape)];

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, AdoptOptions o)
    {
        if (update.Step == 1)
        {
            update.Map(new FirstRule(o.DecoupledDecay ? 0 : (float)o.WeightDecay), update.Weights, update.Gradient, update["exp_avg_sq"]);
            update.Rest();
            return;
        }

        double bound = o.ClipsNormalized ? Math.Pow(update.Step - 1, o.ClipExponent) : float.MaxValue;
        update.Move(new Direction(o, bound), Decay.Of(o.WeightDecay, o.DecoupledDecay) with { IsDifference = true }, update["exp_avg"], update["exp_avg_sq"]);
    }

    internal static void Equations(double[] p, double[] g, IReadOnlyDictionary<string, double[]> state, UpdateContext at)
    {
        var o = (AdoptOptions)at.Options;
        double[] m = state["exp_avg"], v = state["exp_avg_sq"];
        double bound = o.ClipsNormalized ? Math.Pow(at.Step - 1, o.ClipExponent) : double.MaxValue;
        for (int i = 0; i < p.Length; i++)
        {
            double gradient = o.DecoupledDecay ? g[i] : g[i] + o.WeightDecay * p[i], square = gradient * gradient;
            if (at.Step > 1)
            {
                m[i] = o.Beta1 * m[i] + (1 - o.Beta1) * Math.Clamp(gradient / Math.Max(Math.Sqrt(v[i]), o.Epsilon), -bound, bound);
                p[i] = p[i] * (o.DecoupledDecay ? 1 - at.LearningRate * o.WeightDecay : 1) - at.LearningRate * m[i];
            }

            v[i] = at.Step == 1 ? square : o.Beta2 * v[i] + (1 - o.Beta2) * square;
        }
    }

    private readonly struct FirstRule(float penalty) : IMap3
    {
        private readonly float penalty = penalty;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L p, ref L g, ref L v) where L : struct, ILane<L>
        {
            L gradient = L.Fma(L.Splat(penalty), p, g);
            v = gradient * gradient;
        }
    }

    private readonly struct Direction(AdoptOptions o, double bound) : IDirection2
    {
        private readonly float beta1 = (float)o.Beta1, rest1 = (float)(1 - o.Beta1), beta2 = (float)o.Beta2, rest2 = (float)(1 - o.Beta2);
        private readonly float epsilon = (float)o.Epsilon, bound = (float)bound;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Of<L>(L g, ref L m, ref L v) where L : struct, ILane<L>
        {
            // The second operand of Min and Max is the result where one is NaN.
            L normalized = L.Min(L.Splat(bound), L.Max(L.Splat(-bound), g / L.Max(L.Splat(epsilon), L.Sqrt(v))));
            m = L.Fma(L.Splat(beta1), m, L.Splat(rest1) * normalized);
            v = L.Fma(L.Splat(beta2), v, L.Splat(rest2) * g * g);
            return m;
        }
    }
}
