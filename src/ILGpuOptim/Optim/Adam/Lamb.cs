using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="Lamb"/>.</summary>
public sealed record LambOptions : AdamOptions
{
    /// <summary>Larger than Adam's by default.</summary>
    public LambOptions() => Epsilon = 1e-6;

    /// <summary>Corrects the bias of both moments.</summary>
    [Description("enables bias correction of the moments")]
    public bool BiasCorrection { get; init; } = true;

    /// <summary>Multiplies gradients by 1 - β₁ in the first moment.</summary>
    [Description("weights the gradient by 1 - beta1 in the first moment")]
    public bool GradientAveraging { get; init; } = true;

    /// <summary>The maximum global gradient norm; 0 disables clipping. The largest value of all groups applies.</summary>
    [Description("global norm to which gradients are clipped; 0: off")]
    [Range(0)]
    public double MaxGradientNorm { get; init; } = 1;

    /// <summary>Limits the trust ratio to 1.</summary>
    [Description("limits the trust ratio to 1")]
    public bool TrustClip { get; init; }

    /// <summary>Applies the trust ratio without weight decay too.</summary>
    [Description("applies the trust ratio also without weight decay")]
    public bool AlwaysAdapt { get; init; }

    /// <summary>Enables the trust ratio; without it the method is Adam with weight decay.</summary>
    [Description("enables the trust ratio; without it the method is Adam")]
    public bool TrustRatio { get; init; } = true;

    /// <summary>
    /// Zeroes elements of an update whose sign differs from the gradient's, and scales up the rest (Liang et al., "Cautious Optimizers", 2024).
    /// </summary>
    [Description("masks elements of the update whose sign differs from the gradient's")]
    public bool Cautious { get; init; }

    /// <summary>Multiplies the parameter by 1 - lr · decay before the ratio, instead of adding decay · p to the update.</summary>
    [Description("applies weight decay directly to the parameter")]
    public bool DecoupledDecay { get; init; }

    /// <summary>Multiplies by 1 - lr² / (lr at its peak) · decay where decay is decoupled (Defazio, 2025).</summary>
    [Description("scales decoupled weight decay with the square of the learning rate")]
    public bool CorrectedDecay { get; init; }
}

/// <summary>
/// LAMB (You et al., ICLR 2020) in the form of NVIDIA and timm: Adam's update plus decay · p, times the trust ratio
/// ‖p‖ / ‖update‖ of the tensor (1 where either is 0); p -= lr · that. Gradients are first scaled to a global norm of 1
/// at most. Without weight decay there is no ratio and the method is Adam.
/// </summary>
/// <remarks>Two passes and the norm, 44 bytes a parameter in f32: g (4); p, g, m, v (24); p, m, v (16).</remarks>
public sealed class Lamb : Optimizer<LambOptions>
{
    private Block? squares, factor;

    /// <inheritdoc/>
    public override string Name => "lamb";

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, LambOptions options) =>
        [StateTensor.Signed("exp_avg", shape), StateTensor.NonNegative("exp_avg_sq", shape)];

    /// <summary>With other parts, caution included, the trust ratio is a part too.</summary>
    private protected override OptimizerOptions WithParts(OptimizerOptions options)
    {
        var o = (LambOptions)options;
        if (!o.Cautious && o.Parts.All(part => part is SpikeClip))
            return o;
        Part[] own = [.. o.Cautious ? [new Cautious()] : (Part[])[], .. o.TrustRatio ? [new TrustRatio { TrustRatioLimit = o.TrustClip ? 1 : 0, TrustRatioAlways = o.AlwaysAdapt }] : (Part[])[]];
        return o with { Parts = [.. o.Parts, .. own] };
    }

    /// <inheritdoc/>
    public override bool NeedsAllGradients => Limit > 0;

    /// <inheritdoc/>
    public override bool SupportsRanks => true;

    private double Limit => States.Count == 0 ? 0 : States.Max(state => ((LambOptions)state.Options).MaxGradientNorm);

    /// <inheritdoc/>
    protected override Block? StepFactor => factor ?? GradientFactor;

    /// <inheritdoc/>
    protected override void BeforeStep()
    {
        double limit = Limit;
        if (limit <= 0)
            return;
        squares ??= Device.Pool.Rent(States.Count);
        factor ??= Device.Pool.Rent(1);
        Device.Fill(squares.Value, 0);
        for (int i = 0; i < States.Count; i++)
        {
            Parameter p = States[i].Parameter;
            if (HasGradient(States[i]))
                Device.Map(new SquaresRule(), 1, p.Length, new Operand(Gradients[p], Factor: GradientFactor), Operand.Scalar(squares.Value.Slice(i, 1)));
        }

        ShareAcrossRanks(squares.Value);
        Block total = Device.Pool.Rent(1);
        Device.Map(new TotalRule(), 1, States.Count, squares.Value, Operand.Scalar(total));
        Device.Map(new NormFactor((float)(1 / limit)), 1, 1, total, factor.Value);
        if (GradientFactor is { } outer)
            Device.Map(new ScaleByRule(), 1, 1, factor.Value, outer);
        Device.Pool.Return(total);
    }

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, LambOptions o)
    {
        Device device = update.Device;
        double rate = update.LearningRate;
        double correction1 = o.BiasCorrection ? 1 - Math.Pow(o.Beta1, update.Step) : 1, correction2 = o.BiasCorrection ? 1 - Math.Pow(o.Beta2, update.Step) : 1;
        double decayRate = o.DecoupledDecay ? o.CorrectedDecay ? rate * rate / o.LearningRate : rate : 0;
        float decay = (float)(1 - decayRate * o.WeightDecay), penalty = o.DecoupledDecay ? 0 : (float)o.WeightDecay;
        if (update.State.Parts.ChangesMove)
        {
            var adam = AdamDirection.Of(o, o.GradientAveraging ? 1 - o.Beta1 : 1, correction1, correction2);
            update.Move(adam, o.DecoupledDecay ? Decay.Before(o.WeightDecay * (o.CorrectedDecay ? rate / o.LearningRate : 1)) : Decay.WithUpdate(o.WeightDecay), update["exp_avg"], update["exp_avg_sq"]);
            return;
        }

        var ratio = new RatioRule(o.TrustRatio && (o.WeightDecay != 0 || o.AlwaysAdapt), o.TrustClip);
        var direction = new Direction((float)(1 / correction1), (float)(1 / Math.Sqrt(correction2)), (float)o.Epsilon, penalty);
        Block norms = device.Pool.Rent(2), weights = norms.Slice(0, 1), updates = norms.Slice(1, 1);
        Block p = update.WeightValues, m = update.StateValues("exp_avg"), v = update.StateValues("exp_avg_sq");
        var moments = new MomentsRule(direction, (float)o.Beta1, (float)(o.GradientAveraging ? 1 - o.Beta1 : 1), (float)o.Beta2, (float)(1 - o.Beta2), decay);
        update.Map(moments, p, update.Gradient, m, v, Operand.Scalar(weights), Operand.Scalar(updates));
        device.Map(ratio, 1, 1, weights, updates);
        update.Map(new StepRule(direction, (float)rate, decay), p, m, v, Operand.Scalar(weights));
        device.Pool.Return(norms);
    }

    /// <inheritdoc/>
    public override void Dispose()
    {
        if (squares is { } block)
            Device.Pool.Return(block);
        if (factor is { } scalar)
            Device.Pool.Return(scalar);
        (squares, factor) = (null, null);
        base.Dispose();
    }

    /// <summary>1 / max(1, norm / limit).</summary>
    private readonly struct NormFactor(float perLimit) : IMap2
    {
        private readonly float perLimit = perLimit;

        public static Access Access => Access.Of(Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L squares, ref L factor) where L : struct, ILane<L> =>
            factor = L.Splat(1) / L.Max(L.Splat(1), L.Sqrt(squares) * L.Splat(perLimit));
    }

    /// <summary>(m / bc₁) / (√v / √bc₂ + ε) + decay · p.</summary>
    private readonly struct Direction(float meanScale, float rootScale, float epsilon, float penalty)
    {
        private readonly float meanScale = meanScale, rootScale = rootScale, epsilon = epsilon, penalty = penalty;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Of<L>(L p, L m, L v) where L : struct, ILane<L> =>
            L.Fma(L.Splat(penalty), p, m * L.Splat(meanScale) / L.Fma(L.Sqrt(v), L.Splat(rootScale), L.Splat(epsilon)));
    }

    private readonly struct MomentsRule(Direction direction, float beta1, float rest1, float beta2, float rest2, float decay) : IMap6
    {
        private readonly Direction direction = direction;
        private readonly float beta1 = beta1, rest1 = rest1, beta2 = beta2, rest2 = rest2, decay = decay;

        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Update, Slot.Update, Slot.Sum, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L p, ref L g, ref L m, ref L v, ref L weights, ref L updates) where L : struct, ILane<L>
        {
            m = L.Fma(L.Splat(beta1), m, L.Splat(rest1) * g);
            v = L.Fma(L.Splat(beta2), v, L.Splat(rest2) * g * g);
            L u = direction.Of(p, m, v);
            weights = p * L.Splat(decay) * p * L.Splat(decay);
            updates = u * u;
        }
    }

    /// <summary>The trust ratio in place of ‖p‖².</summary>
    private readonly struct RatioRule(bool adapts, bool clips) : IMap2
    {
        private readonly int adapts = adapts ? 1 : 0, clips = clips ? 1 : 0;

        public static Access Access => Access.Of(Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L weights, ref L updates) where L : struct, ILane<L>
        {
            L zero = L.Splat(0), one = L.Splat(1), ratio = L.Sqrt(weights) / L.Sqrt(updates);
            ratio = L.Select(L.Equal(weights, zero), one, L.Select(L.Equal(updates, zero), one, ratio));
            if (clips != 0)
                ratio = L.Min(one, ratio);
            weights = adapts != 0 ? ratio : one;
        }
    }

    private readonly struct StepRule(Direction direction, float rate, float decay) : IMap4
    {
        private readonly Direction direction = direction;
        private readonly float rate = rate, decay = decay;

        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L p, ref L m, ref L v, ref L ratio) where L : struct, ILane<L> =>
            p = p * L.Splat(decay) - L.Splat(rate) * (ratio * direction.Of(p, m, v));
    }
}
