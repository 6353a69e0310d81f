using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="Adagrad"/>.</summary>
public sealed record AdagradOptions : OptimizerOptions
{
    /// <summary>Larger than Adam's: the sum of squares only grows.</summary>
    public AdagradOptions() => LearningRate = 1e-2;

    /// <summary>Decay of the learning rate with each step.</summary>
    [Description("the learning rate is divided by 1 + (t - 1) times this")]
    [Range(0)]
    public double RateDecay { get; init; }

    /// <summary>The sum of squares before the first step.</summary>
    [Description("initial value of the sum of squared gradients")]
    [Range(0)]
    public double InitialSum { get; init; }

    /// <summary>Added to the root of the sum of squares.</summary>
    [Description("term added to denominators")]
    [Range(0, MinimumIsExclusive = true)]
    public double Epsilon { get; init; } = 1e-10;
}

/// <summary>
/// Adagrad (Duchi, Hazan and Singer, JMLR 2011) in PyTorch's form: g += decay · p; S += g²; p -= lr / (1 + (t - 1) · rate decay) · g / (√S + ε).
/// One pass: 20 bytes a parameter in f32. State 4mn bytes. S never falls: an element with one huge gradient hardly moves again.
/// </summary>
public sealed class Adagrad : Optimizer<AdagradOptions>
{
    /// <inheritdoc/>
    public override string Name => "adagrad";

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, AdagradOptions options) => [StateTensor.NonNegative("sum", shape)];

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, AdagradOptions o)
    {
        bool first = update.Step == 1;
        var direction = new Direction((float)(1 / (1 + (update.Step - 1) * o.RateDecay)), (float)o.Epsilon, first ? 0 : 1, first ? (float)o.InitialSum : 0);
        update.Move(direction, Decay.Gradient(o.WeightDecay), update["sum"]);
    }

    internal static void Equations(double[] p, double[] g, IReadOnlyDictionary<string, double[]> state, UpdateContext at)
    {
        var o = (AdagradOptions)at.Options;
        double[] sum = state["sum"];
        for (int i = 0; i < p.Length; i++)
        {
            double gradient = g[i] + o.WeightDecay * p[i];
            sum[i] = (at.Step == 1 ? o.InitialSum : sum[i]) + gradient * gradient;
            p[i] -= at.LearningRate / (1 + (at.Step - 1) * o.RateDecay) * gradient / (Math.Sqrt(sum[i]) + o.Epsilon);
        }
    }

    private readonly struct Direction(float scale, float epsilon, float carried, float start) : IDirection1
    {
        private readonly float scale = scale, epsilon = epsilon, carried = carried, start = start;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Of<L>(L g, ref L sum) where L : struct, ILane<L>
        {
            sum = L.Fma(g, g, L.Fma(L.Splat(carried), sum, L.Splat(start)));
            return L.Splat(scale) * g / (L.Sqrt(sum) + L.Splat(epsilon));
        }
    }
}
