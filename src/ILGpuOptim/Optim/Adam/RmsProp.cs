using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="RmsProp"/>.</summary>
public sealed record RmsPropOptions : OptimizerOptions
{
    /// <summary>PyTorch's default. The first step is 1 / √(1 - β₂) times as large.</summary>
    public RmsPropOptions() => LearningRate = 1e-2;

    /// <summary>Decay of the mean of squared gradients, and of the mean of gradients where it is centered.</summary>
    [Description("decay rate of the second moment")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Beta2 { get; init; } = 0.99;

    /// <summary>Added to the root of the mean of squares.</summary>
    [Description("term added to denominators")]
    [Range(0, MinimumIsExclusive = true)]
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>Decay of the sum of updates; 0 keeps no state.</summary>
    [Description("decay rate of the momentum; 0 keeps no state")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Momentum { get; init; }

    /// <summary>Divides by the standard deviation of gradients (Graves, 2013).</summary>
    [Description("divides by the standard deviation of gradients; 4 more bytes per parameter")]
    public bool Centered { get; init; }
}

/// <summary>
/// RMSprop (Tieleman and Hinton, 2012) in PyTorch's form: g += decay · p; v = β₂v + (1-β₂)g²; u = g / (√v + ε), or, centered (Graves, 2013),
/// g / (√(v - a²) + ε) with a = β₂a + (1-β₂)g; p -= lr · u, or buf = momentum · buf + u and p -= lr · buf. One pass: 20 to 36 bytes a parameter in f32.
/// State 4mn to 12mn bytes.
/// </summary>
/// <remarks>Where rounding makes v - a² negative, PyTorch's root is NaN; here it is 0.</remarks>
public sealed class RmsProp : Optimizer<RmsPropOptions>
{
    /// <inheritdoc/>
    public override string Name => "rmsprop";

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, RmsPropOptions options)
    {
        List<StateTensor> state = [StateTensor.NonNegative("square_avg", shape)];
        if (options.Centered)
            state.Add(StateTensor.Signed("grad_avg", shape));
        if (options.Momentum > 0)
            state.Add(StateTensor.Signed("momentum_buffer", shape));
        return state;
    }

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, RmsPropOptions o)
    {
        var quotient = new Quotient((float)o.Beta2, (float)(1 - o.Beta2), (float)o.Epsilon);
        float momentum = (float)o.Momentum;
        Operand v = update["square_avg"];
        var decay = Decay.Gradient(o.WeightDecay);
        if (o.Centered && momentum > 0)
            update.Move(new CenteredMomentum(quotient, momentum), decay, v, update["grad_avg"], update["momentum_buffer"]);
        else if (o.Centered)
            update.Move(new Centered(quotient), decay, v, update["grad_avg"]);
        else if (momentum > 0)
            update.Move(new Momentum(quotient, momentum), decay, v, update["momentum_buffer"]);
        else
            update.Move(new Plain(quotient), decay, v);
    }

    internal static void Equations(double[] p, double[] g, IReadOnlyDictionary<string, double[]> state, UpdateContext at)
    {
        var o = (RmsPropOptions)at.Options;
        double[] v = state["square_avg"];
        double[]? mean = state.GetValueOrDefault("grad_avg"), buffer = state.GetValueOrDefault("momentum_buffer");
        for (int i = 0; i < p.Length; i++)
        {
            double gradient = g[i] + o.WeightDecay * p[i], second = v[i] = o.Beta2 * v[i] + (1 - o.Beta2) * gradient * gradient;
            if (mean is not null)
            {
                mean[i] = o.Beta2 * mean[i] + (1 - o.Beta2) * gradient;
                second -= mean[i] * mean[i];
            }

            double u = gradient / (Math.Sqrt(Math.Max(0, second)) + o.Epsilon);
            p[i] -= at.LearningRate * (buffer is null ? u : buffer[i] = o.Momentum * buffer[i] + u);
        }
    }

    /// <summary>u, and the means that it divides by.</summary>
    private readonly struct Quotient(float alpha, float rest, float epsilon)
    {
        private readonly float alpha = alpha, rest = rest, epsilon = epsilon;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Plain<L>(L g, ref L v) where L : struct, ILane<L>
        {
            v = L.Fma(L.Splat(alpha), v, L.Splat(rest) * g * g);
            return g / (L.Sqrt(v) + L.Splat(epsilon));
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Centered<L>(L g, ref L v, ref L mean) where L : struct, ILane<L>
        {
            v = L.Fma(L.Splat(alpha), v, L.Splat(rest) * g * g);
            mean = L.Fma(L.Splat(alpha), mean, L.Splat(rest) * g);
            return g / (L.Sqrt(L.Max(L.Splat(0), v - mean * mean)) + L.Splat(epsilon));
        }
    }

    private readonly struct Plain(Quotient quotient) : IDirection1
    {
        private readonly Quotient quotient = quotient;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Of<L>(L g, ref L v) where L : struct, ILane<L> => quotient.Plain(g, ref v);
    }

    private readonly struct Centered(Quotient quotient) : IDirection2
    {
        private readonly Quotient quotient = quotient;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Of<L>(L g, ref L v, ref L mean) where L : struct, ILane<L> => quotient.Centered(g, ref v, ref mean);
    }

    private readonly struct Momentum(Quotient quotient, float decay) : IDirection2
    {
        private readonly Quotient quotient = quotient;
        private readonly float decay = decay;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Of<L>(L g, ref L v, ref L buffer) where L : struct, ILane<L> => buffer = L.Fma(L.Splat(decay), buffer, quotient.Plain(g, ref v));
    }

    private readonly struct CenteredMomentum(Quotient quotient, float decay) : IDirection3
    {
        private readonly Quotient quotient = quotient;
        private readonly float decay = decay;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Of<L>(L g, ref L v, ref L mean, ref L buffer) where L : struct, ILane<L> => buffer = L.Fma(L.Splat(decay), buffer, quotient.Centered(g, ref v, ref mean));
    }
}
