using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="AdEmaMix"/>.</summary>
public sealed record AdEmaMixOptions : OptimizerOptions
{
    /// <summary>Decay of the fast mean of gradients; 0 keeps no state for it.</summary>
    [Description("decay rate of the fast mean of gradients; 0 keeps no state")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Decay of the mean of squared gradients.</summary>
    [Description("decay rate of the second moment")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Beta2 { get; init; } = 0.999;

    /// <summary>Decay of the slow mean of gradients.</summary>
    [Description("decay rate of the slow mean of gradients")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Beta3 { get; init; } = 0.9999;

    /// <summary>Weight of the slow mean. The paper uses 4 to 10 with both warm-ups over the whole run.</summary>
    [Description("weight of the slow mean")]
    [Range(0)]
    public double Alpha { get; init; } = 2;

    /// <summary>Steps in which alpha grows linearly from 0; 0: none.</summary>
    [Description("steps of alpha's linear warm-up; 0: none")]
    [Range(0)]
    public int AlphaWarmup { get; init; }

    /// <summary>Steps in which the half-life of the slow mean grows linearly from that of the fast one; 0: none.</summary>
    [Description("steps in which the slow mean's half-life grows from the fast mean's; 0: none")]
    [Range(0)]
    public int Beta3Warmup { get; init; }

    /// <summary>Added to the root of the corrected second moment.</summary>
    [Description("term added to denominators")]
    [Range(0, MinimumIsExclusive = true)]
    public double Epsilon { get; init; } = 1e-8;
}

/// <summary>
/// AdEMAMix (Pagliardini, Ablin and Grangier, "The AdEMAMix Optimizer: Better, Faster, Older", ICLR 2025): AdamW with a second, slow mean of gradients.
/// m₁ = β₁m₁ + (1-β₁)g; m₂ = β₃m₂ + (1-β₃)g; v = β₂v + (1-β₂)g²; p -= lr · ((m₁ / (1-β₁ᵗ) + α m₂) / (√v / √(1-β₂ᵗ) + ε) + decay · p).
/// One pass: 36 bytes a parameter in f32. State 12mn bytes, 8mn with β₁ = 0.
/// </summary>
/// <remarks>m₂ is not corrected for its bias. A huge gradient stays in it for about 1 / (1-β₃) steps, so clip gradients.</remarks>
public sealed class AdEmaMix : Optimizer<AdEmaMixOptions>
{
    /// <inheritdoc/>
    public override string Name => "ademamix";

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, AdEmaMixOptions o)
    {
        IReadOnlyList<StateTensor> state = [StateTensor.Signed("exp_avg_slow", shape), StateTensor.NonNegative("exp_avg_sq", shape)];
        return o.Beta1 == 0 ? state : [StateTensor.Signed("exp_avg_fast", shape), .. state];
    }

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, AdEmaMixOptions o)
    {
        long t = update.Step;
        var mixed = new Mixed(o, SlowDecay(o, t), 1 / (1 - Math.Pow(o.Beta1, t)), SlowWeight(o, t), 1 / Math.Sqrt(1 - Math.Pow(o.Beta2, t)));
        var decay = Decay.WithUpdate(o.WeightDecay);
        if (o.Beta1 == 0)
            update.Move(new SlowOnly(mixed), decay, update["exp_avg_slow"], update["exp_avg_sq"]);
        else
            update.Move(new FastAndSlow(mixed, o), decay, update["exp_avg_slow"], update["exp_avg_sq"], update["exp_avg_fast"]);
    }

    private static double SlowWeight(AdEmaMixOptions o, long t) => t < o.AlphaWarmup ? o.Alpha * t / o.AlphaWarmup : o.Alpha;

    /// <summary>β₃ of a step. The warm-up is linear in ln ½ / ln β - 1, the half-life but for one step.</summary>
    private static double SlowDecay(AdEmaMixOptions o, long t)
    {
        if (t >= o.Beta3Warmup)
            return o.Beta3;
        static double HalfLife(double beta) => Math.Log(0.5) / Math.Log(beta + 1e-8) - 1;
        double way = (double)t / o.Beta3Warmup;
        return Math.Pow(0.5, 1 / ((1 - way) * HalfLife(o.Beta1) + way * HalfLife(o.Beta3) + 1));
    }

    internal static void Equations(double[] p, double[] g, IReadOnlyDictionary<string, double[]> state, UpdateContext at)
    {
        var o = (AdEmaMixOptions)at.Options;
        double beta3 = SlowDecay(o, at.Step), alpha = SlowWeight(o, at.Step);
        double[] fast = state.GetValueOrDefault("exp_avg_fast") ?? new double[p.Length], slow = state["exp_avg_slow"], v = state["exp_avg_sq"];
        for (int i = 0; i < p.Length; i++)
        {
            fast[i] = o.Beta1 * fast[i] + (1 - o.Beta1) * g[i];
            slow[i] = beta3 * slow[i] + (1 - beta3) * g[i];
            v[i] = o.Beta2 * v[i] + (1 - o.Beta2) * g[i] * g[i];
            double mean = fast[i] / (1 - Math.Pow(o.Beta1, at.Step)) + alpha * slow[i];
            p[i] -= at.LearningRate * (mean / (Math.Sqrt(v[i] / (1 - Math.Pow(o.Beta2, at.Step))) + o.Epsilon) + o.WeightDecay * p[i]);
        }
    }

    /// <summary>The slow mean, the second moment and the direction, of a fast mean.</summary>
    private readonly struct Mixed(AdEmaMixOptions o, double beta3, double fastScale, double alpha, double rootScale)
    {
        private readonly float beta2 = (float)o.Beta2, rest2 = (float)(1 - o.Beta2), beta3 = (float)beta3, rest3 = (float)(1 - beta3), epsilon = (float)o.Epsilon;
        private readonly float fastScale = (float)fastScale, alpha = (float)alpha, rootScale = (float)rootScale;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Of<L>(L g, L fast, ref L slow, ref L v) where L : struct, ILane<L>
        {
            slow = L.Fma(L.Splat(beta3), slow, L.Splat(rest3) * g);
            v = L.Fma(L.Splat(beta2), v, L.Splat(rest2) * g * g);
            return L.Fma(L.Splat(alpha), slow, fast * L.Splat(fastScale)) / L.Fma(L.Sqrt(v), L.Splat(rootScale), L.Splat(epsilon));
        }
    }

    private readonly struct FastAndSlow(Mixed mixed, AdEmaMixOptions o) : IDirection3
    {
        private readonly Mixed mixed = mixed;
        private readonly float beta1 = (float)o.Beta1, rest1 = (float)(1 - o.Beta1);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Of<L>(L g, ref L slow, ref L v, ref L fast) where L : struct, ILane<L>
        {
            fast = L.Fma(L.Splat(beta1), fast, L.Splat(rest1) * g);
            return mixed.Of(g, fast, ref slow, ref v);
        }
    }

    private readonly struct SlowOnly(Mixed mixed) : IDirection2
    {
        private readonly Mixed mixed = mixed;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Of<L>(L g, ref L slow, ref L v) where L : struct, ILane<L> => mixed.Of(g, g, ref slow, ref v);
    }
}
