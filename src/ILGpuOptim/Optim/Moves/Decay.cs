using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

/// <summary>Where weight decay λ enters an update.</summary>
public enum DecayForm
{
    /// <summary>p ← (1 - lr · λ) p before the update (Loshchilov and Hutter, ICLR 2019).</summary>
    Before,

    /// <summary>λp is added to the direction, computed from p before the update: p ← p - lr (u + λp). Norms of the direction include it.</summary>
    WithUpdate,

    /// <summary>p ← (1 - lr · λ) p after the update.</summary>
    After,

    /// <summary>λp is added to the gradient, and so enters the moments: L2 regularization.</summary>
    Gradient,
}

/// <summary>Weight decay of a move.</summary>
/// <param name="Form">Where it enters.</param>
/// <param name="Value">λ.</param>
public readonly record struct Decay(DecayForm Form, double Value)
{
    /// <summary><see cref="DecayForm.Before"/>.</summary>
    public static Decay Before(double value) => new(DecayForm.Before, value);

    /// <summary><see cref="DecayForm.WithUpdate"/>.</summary>
    public static Decay WithUpdate(double value) => new(DecayForm.WithUpdate, value);

    /// <summary><see cref="DecayForm.After"/>.</summary>
    public static Decay After(double value) => new(DecayForm.After, value);

    /// <summary><see cref="DecayForm.Gradient"/>.</summary>
    public static Decay Gradient(double value) => new(DecayForm.Gradient, value);

    /// <summary><see cref="Before"/> where decay is decoupled from the gradient, otherwise <see cref="Gradient"/>.</summary>
    internal static Decay Of(double value, bool decoupled) => decoupled ? Before(value) : Gradient(value);

    /// <summary>
    /// True if lr · λ · p is subtracted before the update, as some references do; false if p is multiplied by 1 - lr · λ, as the others do. In f32 the factor has an error that is the
    /// same in each step, and large beside a small decay.
    /// </summary>
    internal bool IsDifference { get; init; }

    internal double Of(DecayForm form) => Form == form ? Value : 0;
}

/// <summary>p ← kept · p - lr (u + with · p), or p - lr (u + with · p) + lostBefore · p; then p ← p + lostAfter · p. u is a direction of the gradient g + penalty · p.</summary>
internal readonly struct Move(in Decay decay, double rate, double scale)
{
    private readonly float rate = (float)(rate * scale);
    private readonly float penalty = (float)decay.Of(DecayForm.Gradient), with = (float)(decay.Of(DecayForm.WithUpdate) / scale);
    private readonly float kept = decay.IsDifference ? 1 : (float)(1 - rate * decay.Of(DecayForm.Before)), lostBefore = decay.IsDifference ? (float)(-rate * decay.Of(DecayForm.Before)) : 0;
    private readonly float lostAfter = (float)(-rate * decay.Of(DecayForm.After));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Penalized<L>(L p, L g) where L : struct, ILane<L> => L.Fma(L.Splat(penalty), p, g);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Of<L>(L p, L u) where L : struct, ILane<L> => Moved(p, L.Splat(rate) * L.Fma(L.Splat(with), p, u));

    /// <summary>With a factor of u + with · p.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Of<L>(L p, L u, L outer) where L : struct, ILane<L> => Moved(p, L.Splat(rate) * (outer * L.Fma(L.Splat(with), p, u)));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private L Moved<L>(L p, L step) where L : struct, ILane<L>
    {
        // Without decay nothing is added: 0 · p is not a number if p is infinite.
        L moved = (lostBefore == 0 ? p * L.Splat(kept) : L.Fma(L.Splat(lostBefore), p, p)) - step;
        return lostAfter == 0 ? moved : L.Fma(L.Splat(lostAfter), moved, moved);
    }
}

/// <summary>p ← p + lost · p, for lost = -lr · λ.</summary>
internal readonly struct LossRule(float lost) : IMap1
{
    private readonly float lost = lost;

    public static Access Access => Access.Of(Slot.Update);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L p) where L : struct, ILane<L> => p = lost == 0 ? p : L.Fma(L.Splat(lost), p, p);
}
