using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>
/// Spike clipping of Stable-SPAM (Huang et al., 2025): x = γx + (1-γ) max|g|, x̂ = x / (1-γᵗ); elements with |g| > x̂ become g x̂ / max|g|. It changes the
/// gradient before the optimizer reads it, so it works with every optimizer. State: 4 bytes.
/// </summary>
public sealed record SpikeClip : Part
{
    /// <inheritdoc/>
    public override string Name => "spike-clip";

    /// <inheritdoc/>
    public override string Summary => "scales down the gradient's elements above the running mean of their maximum (Stable-SPAM, 2025)";

    /// <summary>Decay of the maximum, γ.</summary>
    [Description("decay rate of the gradient's largest element")]
    [Range(0, 1, MaximumIsExclusive = true)]
    public double SpikeClipDecay { get; init; } = 0.999;

    internal override IReadOnlyList<StateTensor> State { get; } = [new("spike_clip_max", [1])];

    /// <summary>The clipped gradient, in memory to be returned to the pool.</summary>
    internal Block Clip(in ParameterUpdate update)
    {
        Device device = update.Device;
        Block clipped = device.Pool.Rent(update.Length), scalars = device.Pool.Rent(2), limit = scalars.Slice(0, 1), factor = scalars.Slice(1, 1);
        update.Map(new LargestRule(), update.Gradient, Operand.Scalar(limit));
        device.Map(new LimitRule(SpikeClipDecay, update.Step), 1, 1, limit, update.StateValues("spike_clip_max"), factor);
        update.Map(new ClipRule(), update.Gradient, clipped, Operand.Scalar(limit), Operand.Scalar(factor));
        device.Pool.Return(scalars);
        return clipped;
    }

    /// <summary>max|g|.</summary>
    internal readonly struct LargestRule : IMap2
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Max);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L largest) where L : struct, ILane<L> => largest = L.Abs(g);
    }

    /// <summary>Updates x; the limit x̂ in place of max|g|, and x̂ / max|g|. A maximum that is no number does not enter x.</summary>
    private readonly struct LimitRule(double decay, long step) : IMap3
    {
        private readonly float decay = (float)decay, rest = (float)(1 - decay), correction = (float)(1 / (1 - Math.Pow(decay, step)));

        public static Access Access => Access.Of(Slot.Update, Slot.Update, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L limit, ref L mean, ref L factor) where L : struct, ILane<L>
        {
            L largest = limit;
            mean = L.Select(L.Less(largest, L.Splat(float.PositiveInfinity)), L.Fma(L.Splat(decay), mean, L.Splat(rest) * largest), mean);
            limit = mean * L.Splat(correction);
            factor = limit / largest;
        }
    }

    private readonly struct ClipRule : IMap4
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Write, Slot.Read, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L g, ref L clipped, ref L limit, ref L factor) where L : struct, ILane<L> =>
            clipped = L.Select(L.Less(limit, L.Abs(g)), g * factor, g);
    }
}
