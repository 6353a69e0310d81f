using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>The two algorithms named LAMB.</summary>
public enum LambForm
{
    /// <summary>NVIDIA's and timm's, closest to the paper.</summary>
    Paper,

    /// <summary>
    /// pytorch_optimizer's: decay multiplies p first and stays outside the ratio, ‖p‖ counts 10 at most, the second moment
    /// is not corrected, and the step is divided by 1 - β₁ᵗ, so that the first is ten times as long.
    /// </summary>
    Collection,
}

/// <summary>Settings of <see cref="Lamb"/>.</summary>
public sealed record LambOptions : AdamOptions
{
    /// <summary>Larger than Adam's by default.</summary>
    public LambOptions() => Epsilon = 1e-6;

    /// <summary>The variant.</summary>
    public LambForm Form { get; init; }

    /// <summary>Corrects the bias of both moments.</summary>
    public bool BiasCorrection { get; init; } = true;

    /// <summary>Multiplies gradients by 1 - β₁ in the first moment.</summary>
    public bool GradientAveraging { get; init; } = true;

    /// <summary>
    /// The maximum global gradient norm; 0 disables clipping. The largest value of all groups applies. The collection's form uses it
    /// only with <see cref="PreNormalizes"/>.
    /// </summary>
    [Range(0)]
    public double MaxGradientNorm { get; init; } = 1;

    /// <summary>Limits the trust ratio to 1.</summary>
    public bool TrustClip { get; init; }

    /// <summary>Applies the trust ratio without weight decay too.</summary>
    public bool AlwaysAdapt { get; init; }

    /// <summary>Enables the trust ratio; without it the method is Adam with weight decay.</summary>
    public bool TrustRatio { get; init; } = true;

    /// <summary>
    /// Zeroes elements of an update whose sign differs from the gradient's, and scales up the rest (Liang et al., "Cautious Optimizers", 2024). The
    /// paper's form.
    /// </summary>
    public bool Cautious { get; init; }

    /// <summary>Multiplies the parameter by 1 - lr · decay before the ratio, instead of adding decay · p to the update. The paper's form.</summary>
    public bool DecoupledDecay { get; init; }

    /// <summary>Multiplies by 1 - lr² / (lr at its peak) · decay where decay is decoupled (Defazio, 2025).</summary>
    public bool CorrectedDecay { get; init; }

    /// <summary>Multiplies by 1 - decay, whatever the learning rate. The collection's form.</summary>
    public bool FixedDecay { get; init; }

    /// <summary>
    /// Divides gradients by what clipping by <see cref="MaxGradientNorm"/> would multiply them by: this makes large ones larger, as the collection does.
    /// </summary>
    public bool PreNormalizes { get; init; }
}

/// <summary>
/// LAMB (You et al., ICLR 2020) in the form of NVIDIA and timm: Adam's update plus decay · p, times the trust ratio
/// ‖p‖ / ‖update‖ of the tensor (1 where either is 0); p -= lr · that. Gradients are first scaled to a global norm of 1
/// at most. Without weight decay there is no ratio and the method is Adam.
/// </summary>
/// <remarks>Two passes and the norm, 44 bytes a parameter in f32: g (4); p, g, m, v (24); p, m, v (16).</remarks>
public sealed partial class Lamb : Optimizer
{
    private Block? squares, factor;

    /// <inheritdoc/>
    public override string Name => "lamb";

    /// <inheritdoc/>
    public override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, OptimizerOptions options)
    {
        var o = (LambOptions)options;
        if (o.Form == LambForm.Collection && (o.Cautious || o.DecoupledDecay || o.CorrectedDecay || o.AlwaysAdapt || o.TrustClip || !o.BiasCorrection))
            throw new UserException("caution, other kinds of decay, clipped or constant ratios and missing corrections belong to the paper's form of LAMB; leave them out, or the collection's form");
        if (o.Form == LambForm.Paper && (o.FixedDecay || o.PreNormalizes))
            throw new UserException("fixed decay and pre-normalization belong to the collection's form of LAMB; leave them out, or choose that form");
        return [StateTensor.Signed("exp_avg", shape), StateTensor.NonNegative("exp_avg_sq", shape)];
    }

    /// <inheritdoc/>
    public override bool NeedsAllGradients => States.Any(state => LimitOf((LambOptions)state.Options) > 0);

    private static double LimitOf(LambOptions o) => o.Form == LambForm.Paper || o.PreNormalizes ? o.MaxGradientNorm : 0;

    /// <inheritdoc/>
    protected override Block? StepFactor => factor ?? GradientFactor;

    /// <inheritdoc/>
    protected override void BeforeStep()
    {
        double limit = States.Count == 0 ? 0 : States.Max(state => LimitOf((LambOptions)state.Options));
        if (limit <= 0)
            return;
        var o = (LambOptions)States[0].Options;
        squares ??= Device.Pool.Rent(States.Count);
        factor ??= Device.Pool.Rent(1);
        Device.Fill(squares.Value, 0);
        for (int i = 0; i < States.Count; i++)
        {
            Parameter p = States[i].Parameter;
            if (Gradients.Has(p))
                Device.Map(new SquaresRule(), 1, p.Length, new Operand(Gradients[p], Factor: GradientFactor), Operand.Scalar(squares.Value.Slice(i, 1)));
        }

        Block total = Device.Pool.Rent(1);
        Device.Map(new TotalRule(), 1, States.Count, squares.Value, Operand.Scalar(total));
        Device.Map(new NormFactor((float)(1 / limit), o.Form == LambForm.Paper ? 0 : (float)o.Epsilon, o.Form == LambForm.Collection), 1, 1, total, factor.Value);
        if (GradientFactor is { } outer)
            Device.Map(new ScaleByRule(), 1, 1, factor.Value, outer);
        Device.Pool.Return(total);
    }

    /// <inheritdoc/>
    protected override void Update(ParameterState state, double learningRate)
    {
        var o = (LambOptions)state.Options;
        Parameter p = state.Parameter;
        bool isPaper = o.Form == LambForm.Paper;
        double correction1 = o.BiasCorrection ? 1 - Math.Pow(o.Beta1, state.Step) : 1, correction2 = o.BiasCorrection ? 1 - Math.Pow(o.Beta2, state.Step) : 1;
        double decayRate = isPaper
            ? o.DecoupledDecay ? o.CorrectedDecay ? learningRate * learningRate / o.LearningRate : learningRate : 0
            : o.FixedDecay ? 1 : learningRate;
        float decay = (float)(1 - decayRate * o.WeightDecay), penalty = isPaper && !o.DecoupledDecay ? (float)o.WeightDecay : 0;
        bool adapts = o.TrustRatio && (!isPaper || o.WeightDecay != 0 || o.AlwaysAdapt);
        var ratio = new RatioRule(adapts, o.TrustClip, isPaper ? float.PositiveInfinity : 10, isPaper ? 0 : (float)o.Epsilon);
        if (o.Cautious)
        {
            UpdateCautiously(state, o, new Direction((float)(1 / correction1), (float)(1 / Math.Sqrt(correction2)), (float)o.Epsilon, 0), ratio, penalty, decay, (float)learningRate);
            return;
        }

        Block norms = p.Device.Pool.Rent(2), weights = norms.Slice(0, 1), updates = norms.Slice(1, 1);
        var direction = isPaper
            ? new Direction((float)(1 / correction1), (float)(1 / Math.Sqrt(correction2)), (float)o.Epsilon, penalty)
            : new Direction(1, 1, (float)o.Epsilon, 0);
        p.Device.Map(new MomentsRule(direction, (float)o.Beta1, (float)(o.GradientAveraging ? 1 - o.Beta1 : 1), (float)o.Beta2, (float)(1 - o.Beta2), decay), 1, p.Length,
            p.Data, Gradient(state), state.Blocks[0], state.Blocks[1], Operand.Scalar(weights), Operand.Scalar(updates));
        p.Device.Map(ratio, 1, 1, weights, updates);
        p.Device.Map(new StepRule(direction, (float)(isPaper ? learningRate : learningRate / correction1), decay), 1, p.Length, p.Data, state.Blocks[0], state.Blocks[1], Operand.Scalar(weights));
        p.Device.Pool.Return(norms);
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

    /// <summary>1 / max(1, norm / limit), or what that is the inverse of.</summary>
    private readonly struct NormFactor(float perLimit, float epsilon, bool inverts) : IMap2
    {
        private readonly float perLimit = perLimit, epsilon = epsilon;
        private readonly int inverts = inverts ? 1 : 0;

        public static Access Access => Access.Of(Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L squares, ref L factor) where L : struct, ILane<L>
        {
            L excess = L.Max(L.Splat(1), (L.Sqrt(squares) + L.Splat(epsilon)) * L.Splat(perLimit));
            factor = inverts != 0 ? excess : L.Splat(1) / excess;
        }
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
    private readonly struct RatioRule(bool adapts, bool clips, float most, float epsilon) : IMap2
    {
        private readonly int adapts = adapts ? 1 : 0, clips = clips ? 1 : 0;
        private readonly float most = most, epsilon = epsilon;

        public static Access Access => Access.Of(Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L weights, ref L updates) where L : struct, ILane<L>
        {
            L zero = L.Splat(0), one = L.Splat(1), ratio = L.Min(L.Splat(most), L.Sqrt(weights)) / (L.Sqrt(updates) + L.Splat(epsilon));
            ratio = L.Select(L.Equal(weights, zero), one, L.Select(L.Equal(updates, zero), one, ratio));
            if (clips != 0)
                ratio = L.Min(ratio, one);
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
