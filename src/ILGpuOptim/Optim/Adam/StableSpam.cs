using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Ops;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="StableSpam"/>.</summary>
public sealed record StableSpamOptions : AdamOptions
{
    /// <summary>Decay of the mean of gradient norms; -1 takes β₁.</summary>
    [Description("decay rate of the mean of gradient norms; -1: beta1")]
    [Range(-1, 1, MaximumIsExclusive = true)]
    public double Gamma1 { get; init; } = 0.7;

    /// <summary>Decay of the mean of squared gradient norms.</summary>
    [Description("decay rate of the mean of squared gradient norms")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Gamma2 { get; init; } = 0.9;

    /// <summary>Decay of the mean of the gradient's largest magnitude.</summary>
    [Description("decay rate of the mean of the largest gradients")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double Gamma3 { get; init; } = 0.999;

    /// <summary>Steps between resets of the moments; 0: none.</summary>
    [Description("steps between resets of the moments; 0: none")]
    [Range(0)]
    public int ResetInterval { get; init; } = 1000;

    /// <summary>
    /// Steps in which β₁ and γ₁ fall along a cosine to <see cref="CosineFloor"/> times their values; 0: they are constant. Later steps follow the cosine upwards, as in the
    /// reference, unless <see cref="HoldsFloor"/>.
    /// </summary>
    [Description("steps in which beta1 and gamma1 fall along a cosine; 0: constant")]
    [Range(0)]
    public int CosineSteps { get; init; }

    /// <summary>The factor of β₁ and γ₁ at the end of <see cref="CosineSteps"/>.</summary>
    [Description("factor of beta1 and gamma1 at the end of cosine_steps")]
    [Range(0, 1)]
    public double CosineFloor { get; init; } = 0.5;

    /// <summary>Keeps β₁ and γ₁ at the floor after <see cref="CosineSteps"/>.</summary>
    [Description("keeps beta1 and gamma1 at the floor after cosine_steps")]
    public bool HoldsFloor { get; init; }

    /// <summary>Divides by the largest second moment so far, which a reset keeps.</summary>
    [Description("divides by the largest second moment so far; 4 more bytes per parameter")]
    public bool AmsGrad { get; init; }

    /// <summary>
    /// Resets the moments before a step and corrects their bias by the number of gradients in them. The reference uses the old moments once more with the correction of
    /// a first step, and corrects the next step as a second one.
    /// </summary>
    [Description("resets before the step, with the right bias correction")]
    public bool ResetsFirst { get; init; }
}

/// <summary>
/// Stable-SPAM (Huang et al., "Stable-SPAM: How to Train in 4-Bit More Stably than 16-Bit Adam", 2025): Adam of gradients whose largest elements are scaled down to a running
/// mean x of max|g|, and which are then normalized to â / (√q̂ + ε) by running means a, q of their norm and its square. The moments are reset every T steps.
/// p = p (1 - lr · decay) - lr / (1-β₁ᵏ) · m / (√v / √(1-β₂ᵏ) + ε).
/// </summary>
/// <remarks>
/// Three passes, 36 bytes a parameter in f32: g (4); g (4); p, g, m, v (28). Resets and the cosine follow from the step, so a resumed run continues exactly; the
/// reference does not save them.
/// </remarks>
public sealed class StableSpam : Optimizer<StableSpamOptions>
{
    /// <inheritdoc/>
    public override string Name => "stable-spam";

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, StableSpamOptions o)
    {
        if (o.Gamma1 is < 0 and not -1)
            throw new UserException($"gamma1 = {o.Gamma1}: it must be -1 or a number of at least 0 and below 1");
        List<StateTensor> state = [StateTensor.Signed("exp_avg", shape), StateTensor.NonNegative("exp_avg_sq", shape), new("m_norm_t", [1]), new("v_norm_t", [1]), new("m_max_t", [1])];
        if (o.AmsGrad)
            state.Add(StateTensor.NonNegative("max_exp_avg_sq", shape));
        return state;
    }

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, StableSpamOptions o)
    {
        long t = update.Step;
        bool isReset = o.ResetInterval > 0 && t % o.ResetInterval == 0;
        var (normCount, count) = Counts(o, t);
        double shrink = Shrink(o, t), beta1 = o.Beta1 * shrink, gamma1 = (o.Gamma1 < 0 ? o.Beta1 : o.Gamma1) * shrink;
        Device device = update.Device;
        Block scalars = device.Pool.Rent(3), largest = scalars.Slice(0, 1), ratio = scalars.Slice(1, 1), factor = scalars.Slice(2, 1);
        update.Map(new SpikeClip.LargestRule(), update.Gradient, Operand.Scalar(largest));
        device.Map(new LimitRule(o.Gamma3, normCount), 1, 1, largest, update["m_max_t"], ratio);
        update.Map(new SquaresRule(), update.Gradient, Operand.Scalar(largest), Operand.Scalar(ratio), Operand.Scalar(factor));
        device.Map(new NormRule(gamma1, o.Gamma2, normCount, o.Epsilon), 1, 1, factor, update["m_norm_t"], update["v_norm_t"]);

        // The gradient is multiplied by the factor as it is read, and so is the limit.
        device.Map(new ScaleByRule(), 1, 1, largest, factor);
        if (update.Gradient.Factor is { } outer)
            device.Map(new ScaleByRule(), 1, 1, factor, outer);
        Operand gradient = update.Gradient with { Factor = factor }, limit = Operand.Scalar(largest), scale = Operand.Scalar(ratio);
        var moments = new Moments(o, beta1, carried: isReset && o.ResetsFirst ? 0 : 1);
        var quotient = new Quotient(1 / Math.Sqrt(1 - Math.Pow(o.Beta2, count)), o.Epsilon);
        var motion = new Motion(update, Decay.Before(o.WeightDecay), 1 / (1 - Math.Pow(beta1, count)), isWhole: true);
        float kept = isReset && !o.ResetsFirst ? 0 : 1;
        if (o.AmsGrad)
        {
            Block m = update.StateValues("exp_avg"), v = update.StateValues("exp_avg_sq"), most = update.StateValues("max_exp_avg_sq");
            update.Map(new AmsGradRule(moments), gradient, m, v, most, limit, scale);
            motion.Map(new StepRule(quotient, kept), m, v, most);
        }
        else
        {
            motion.Map(new Rule(moments, quotient, kept), gradient, update["exp_avg"], update["exp_avg_sq"], limit, scale);
        }

        motion.End();
        device.Pool.Return(scalars);
    }

    /// <summary>The steps by which the means of norms and the moments are corrected; in the reference they share a counter, which is 1 at a reset.</summary>
    private static (long Norms, long Moments) Counts(StableSpamOptions o, long t)
    {
        int interval = o.ResetInterval;
        if (interval == 0 || t < interval)
            return (t, t);
        if (o.ResetsFirst)
            return (t, t % interval + 1);
        long count = t == interval ? t : (t - 1) % interval + 2;
        return (count, t % interval == 0 ? 1 : count);
    }

    private static double Shrink(StableSpamOptions o, long t) => o.CosineSteps == 0 ? 1
        : o.HoldsFloor && t > o.CosineSteps ? o.CosineFloor
        : o.CosineFloor + (1 - o.CosineFloor) * (1 + Math.Cos(Math.PI * t / (o.CosineSteps + 1))) / 2;

    /// <summary>x = γx + (1-γ) max|g|; the limit x / (1-γᵏ) in place of max|g|, and what scales the elements above it.</summary>
    private readonly struct LimitRule(double gamma, long count) : IMap3
    {
        private readonly float gamma = (float)gamma, rest = (float)(1 - gamma), correction = (float)(1 / (1 - Math.Pow(gamma, count)));

        public static Access Access => Access.Of(Slot.Update, Slot.Update, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L largest, ref L mean, ref L ratio) where L : struct, ILane<L>
        {
            mean = L.Fma(L.Splat(gamma), mean, L.Splat(rest) * largest);
            L limit = mean * L.Splat(correction);
            ratio = L.Select(L.Less(limit, largest), limit / largest, L.Splat(1));
            largest = limit;
        }
    }

    /// <summary>Elements above the limit are multiplied by the ratio.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static L Clipped<L>(L g, L limit, L ratio) where L : struct, ILane<L> => L.Select(L.Less(limit, L.Abs(g)), g * ratio, g);

    private readonly struct SquaresRule : IMap4
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L limit, ref L ratio, ref L sum) where L : struct, ILane<L>
        {
            L clipped = Clipped(g, limit, ratio);
            sum = clipped * clipped;
        }
    }

    /// <summary>Updates the means of the norm and its square, and replaces the sum of squares by â / (√q̂ + ε) / norm, or 1 without a norm.</summary>
    private readonly struct NormRule(double gamma1, double gamma2, long count, double epsilon) : IMap3
    {
        private readonly float gamma1 = (float)gamma1, rest1 = (float)(1 - gamma1), correction1 = (float)(1 / (1 - Math.Pow(gamma1, count)));
        private readonly float gamma2 = (float)gamma2, rest2 = (float)(1 - gamma2), correction2 = (float)(1 / (1 - Math.Pow(gamma2, count))), epsilon = (float)epsilon;

        public static Access Access => Access.Of(Slot.Update, Slot.Update, Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L sum, ref L mean, ref L square) where L : struct, ILane<L>
        {
            L norm = L.Sqrt(sum);
            mean = L.Fma(L.Splat(gamma1), mean, L.Splat(rest1) * norm);
            square = L.Fma(L.Splat(gamma2), square, L.Splat(rest2) * sum);
            L target = mean * L.Splat(correction1) / (L.Sqrt(square * L.Splat(correction2)) + L.Splat(epsilon));
            sum = L.Select(L.Equal(norm, L.Splat(0)), L.Splat(1), target / norm);
        }
    }

    private readonly struct Moments(StableSpamOptions o, double beta1, float carried)
    {
        private readonly float beta1 = (float)(beta1 * carried), rest1 = (float)(1 - beta1), beta2 = (float)(o.Beta2 * carried), rest2 = (float)(1 - o.Beta2);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Update<L>(L g, ref L m, ref L v) where L : struct, ILane<L>
        {
            m = L.Fma(L.Splat(beta1), m, L.Splat(rest1) * g);
            v = L.Fma(L.Splat(beta2), v, L.Splat(rest2) * g * g);
        }
    }

    private readonly struct Quotient(double rootScale, double epsilon)
    {
        private readonly float rootScale = (float)rootScale, epsilon = (float)epsilon;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Of<L>(L m, L v) where L : struct, ILane<L> => m / L.Fma(L.Sqrt(v), L.Splat(rootScale), L.Splat(epsilon));
    }

    /// <summary>The moments, and the direction.</summary>
    private readonly struct Rule(Moments moments, Quotient quotient, float kept) : IMap6
    {
        private readonly Moments moments = moments;
        private readonly Quotient quotient = quotient;
        private readonly float kept = kept;

        public static Access Access => Access.Of(Slot.Write, Slot.Read, Slot.Update, Slot.Update, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L g, ref L m, ref L v, ref L limit, ref L ratio) where L : struct, ILane<L>
        {
            moments.Update(Clipped(g, limit, ratio), ref m, ref v);
            u = quotient.Of(m, v);
            m *= L.Splat(kept);
            v *= L.Splat(kept);
        }
    }

    private readonly struct AmsGradRule(Moments moments) : IMap6
    {
        private readonly Moments moments = moments;

        public static Access Access => Access.Of(Slot.Read, Slot.Update, Slot.Update, Slot.Update, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L m, ref L v, ref L most, ref L limit, ref L ratio) where L : struct, ILane<L>
        {
            moments.Update(Clipped(g, limit, ratio), ref m, ref v);
            most = L.Max(most, v);
        }
    }

    private readonly struct StepRule(Quotient quotient, float kept) : IMap4
    {
        private readonly Quotient quotient = quotient;
        private readonly float kept = kept;

        public static Access Access => Access.Of(Slot.Write, Slot.Update, Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L u, ref L m, ref L v, ref L most) where L : struct, ILane<L>
        {
            u = quotient.Of(m, most);
            m *= L.Splat(kept);
            v *= L.Splat(kept);
        }
    }
}
