using System.ComponentModel;
using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>Settings of <see cref="Spam"/>.</summary>
public sealed record SpamOptions : AdamOptions
{
    /// <summary>ε of the reference.</summary>
    public SpamOptions() => Epsilon = 1e-6;

    /// <summary>Squared gradients above this many times their second moment are clipped to it; 0: no clipping.</summary>
    [Description("ratio of a squared gradient to its second moment above which it is clipped; 0: off")]
    [Range(0)]
    public double SpikeRatio { get; init; } = 5000;

    /// <summary>Steps between resets of the moments; 0: none.</summary>
    [Description("steps between resets of the moments; 0: none")]
    [Range(0)]
    public int ResetInterval { get; init; } = 500;

    /// <summary>Steps after the start and after a reset without clipping.</summary>
    [Description("steps without clipping after the start and after a reset")]
    [Range(0)]
    public int ClipDelay { get; init; } = 20;

    /// <summary>Steps after a reset in which the learning rate grows from a hundredth to its value.</summary>
    [Description("steps of the learning rate's warm-up after a reset")]
    [Range(0)]
    public int ResetWarmup { get; init; } = 150;

    /// <summary>Enables bias correction of the moments, which a reset does not restart.</summary>
    [Description("enables bias correction of the moments")]
    public bool CorrectBias { get; init; } = true;

    /// <summary>Fraction of a matrix's elements that have moments and move, drawn anew at each reset. Null: all elements.</summary>
    [Description("fraction of a matrix that trains, drawn anew at each reset; off by default")]
    [Range(0, 1, MinimumIsExclusive = true)]
    public double? Density { get; init; }

    /// <summary>Seed of the masks of <see cref="Density"/>.</summary>
    [Description("seed of the masks of density")]
    [Range(0)]
    public ulong MaskSeed { get; init; }

    /// <summary>
    /// Applies weight decay to matrices with <see cref="Density"/> too. The reference decays a copy, which it drops.
    /// </summary>
    [Description("applies weight decay with density too, to the whole matrix")]
    public bool DecaysMasked { get; init; }

    /// <summary>
    /// Does not clip where the second moment is zero. In the reference, an element without a gradient before clipping begins is clipped to zero until the next reset.
    /// </summary>
    [Description("keeps elements whose second moment is zero from being clipped to zero")]
    public bool ClipIgnoresZero { get; init; }
}

/// <summary>
/// SPAM (Huang et al., "SPAM: Spike-Aware Adam with Momentum Reset for Stable LLM Training", ICLR 2025): Adam that clips spikes and resets its moments.
/// Where g² &gt; θv, g = sign(g)√(θv); m and v as Adam, zero before every T-th step;
/// p = (p - lr · f · √(1-β₂ᵗ) / (1-β₁ᵗ) · m / (√v + ε)) (1 - lr · decay), with a warm-up f after a reset. One pass: 28 bytes a parameter in f32.
/// </summary>
/// <remarks>
/// Resets and warm-ups follow from the step, and masks from it and the seed, so a resumed run continues exactly. With <see cref="SpamOptions.Density"/> the
/// moments keep their full size, zero outside the mask, and a step draws the mask again: 8 more bytes a parameter.
/// </remarks>
public sealed class Spam : Optimizer<SpamOptions>
{
    /// <summary>Recorded masks by the number of resets before; null draws them.</summary>
    internal Func<ParameterState, long, float[]>? MaskSource { get; set; }

    /// <inheritdoc/>
    public override string Name => "spam";

    /// <inheritdoc/>
    protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, SpamOptions options) =>
        [StateTensor.Signed("exp_avg", shape), StateTensor.NonNegative("exp_avg_sq", shape)];

    /// <inheritdoc/>
    protected override void Update(in ParameterUpdate update, SpamOptions o)
    {
        long t = update.Step, interval = o.ResetInterval == 0 ? long.MaxValue : o.ResetInterval, sinceReset = t % interval;
        bool masks = o.Density is not null && update.Shape.Count >= 2, clips = o.SpikeRatio > 0 && sinceReset >= o.ClipDelay && t >= o.ClipDelay;
        double correction = o.CorrectBias ? Math.Sqrt(1 - Math.Pow(o.Beta2, t)) / (1 - Math.Pow(o.Beta1, t)) : 1;
        var direction = new Direction(
            new SpikeClip((float)o.SpikeRatio, clips, o.ClipIgnoresZero), AdamDirection.Uncorrected(o, correction * Warmup(o, t, interval)), carried: sinceReset == 0 ? 0 : 1);
        if (!masks)
        {
            update.Move(direction, Decay.After(o.WeightDecay), update["exp_avg"], update["exp_avg_sq"]);
            return;
        }

        Device device = update.Device;
        Block chances = device.Pool.Rent(update.Length);
        if (MaskSource is { } source)
            device.Upload(Array.ConvertAll(source(update.State, t / interval), value => 1 - value), chances);
        else
            device.Random(chances, RandomKind.Uniform, 1, o.MaskSeed + (ulong)update.Index, (ulong)(t / interval));
        update.Move(new Masked(direction, (float)o.Density!.Value), Decay.After(o.DecaysMasked ? o.WeightDecay : 0), update["exp_avg"], update["exp_avg_sq"], chances);
        device.Pool.Return(chances);
    }

    private static double Warmup(SpamOptions o, long t, long interval)
    {
        long sinceReset = t % interval;
        return t < interval || sinceReset >= o.ResetWarmup ? 1 : 1 - 0.99 * (1 + Math.Cos(Math.PI * sinceReset / (o.ResetWarmup + 1))) / 2;
    }

    /// <summary>sign(g) √(threshold · v) where g² is larger than its square.</summary>
    private readonly struct SpikeClip(float threshold, bool isOn, bool ignoresZero)
    {
        private readonly float threshold = threshold;
        private readonly int isOn = isOn ? 1 : 0, ignoresZero = ignoresZero ? 1 : 0;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Of<L>(L g, L v) where L : struct, ILane<L>
        {
            if (isOn == 0)
                return g;
            L limit = L.Splat(threshold) * v, root = L.Sqrt(limit), zero = L.Splat(0);
            L clipped = L.Select(L.Less(limit, g * g), L.Select(L.Less(g, zero), -root, root), g);
            return ignoresZero == 0 ? clipped : L.Select(L.Equal(v, zero), g, clipped);
        }
    }

    private readonly struct Direction(SpikeClip clip, AdamDirection adam, float carried) : IDirection2
    {
        private readonly SpikeClip clip = clip;
        private readonly AdamDirection adam = adam;
        private readonly float carried = carried;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Of<L>(L g, ref L m, ref L v) where L : struct, ILane<L>
        {
            m *= L.Splat(carried);
            v *= L.Splat(carried);
            return adam.Of(clip.Of(g, v), ref m, ref v);
        }
    }

    /// <summary>The direction where a random number is below the density; elsewhere moments and direction are zero.</summary>
    private readonly struct Masked(Direction direction, float density) : IDirection3
    {
        private readonly Direction direction = direction;
        private readonly float density = density;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Of<L>(L g, ref L m, ref L v, ref L chance) where L : struct, ILane<L>
        {
            L zero = L.Splat(0), mask = L.Less(chance, L.Splat(density)), u = direction.Of(g, ref m, ref v);
            m = L.Select(mask, m, zero);
            v = L.Select(mask, v, zero);
            return L.Select(mask, u, zero);
        }
    }
}
