using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute;

// Rules that add their results to the target: how Device runs operands that accumulate.

/// <summary>A map whose written operands keep their old values where a flag says so, and get the new ones added.</summary>
/// <param name="rule">The map.</param>
/// <param name="flags">Bit k is set when operand k accumulates. Only operands of <see cref="Slot.Write"/> may.</param>
internal readonly struct Accumulating<R>(R rule, int flags) : IMap6 where R : unmanaged, IMap6
{
    private readonly int flags = flags;
    private readonly R rule = rule;

    public static Access Access => R.Access.Updating;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L a, ref L b, ref L c, ref L d, ref L e, ref L f) where L : struct, ILane<L>
    {
        Access access = R.Access; // once: each call takes locals, and the JIT stops inlining when a method has many
        L a0 = a, b0 = b, c0 = c, d0 = d, e0 = e, f0 = f;
        rule.Apply(ref a, ref b, ref c, ref d, ref e, ref f);
        if (access.At(0) == Slot.Write && (flags & 1) != 0)
            a = a0 + a;
        if (access.At(1) == Slot.Write && (flags & 2) != 0)
            b = b0 + b;
        if (access.At(2) == Slot.Write && (flags & 4) != 0)
            c = c0 + c;
        if (access.At(3) == Slot.Write && (flags & 8) != 0)
            d = d0 + d;
        if (access.At(4) == Slot.Write && (flags & 16) != 0)
            e = e0 + e;
        if (access.At(5) == Slot.Write && (flags & 32) != 0)
            f = f0 + f;
    }
}

/// <summary>As <see cref="Accumulating{R}"/>, for a row program.</summary>
/// <param name="rule">The row program.</param>
/// <param name="flags">Bit k is set when operand k accumulates.</param>
internal readonly struct AccumulatingRows<R>(R rule, int flags) : IRowRule where R : unmanaged, IRowRule
{
    private readonly int flags = flags;
    private readonly R rule = rule;

    public static Access Access => R.Access.Updating;

    public static bool FirstIsMax => R.FirstIsMax;

    public static bool HasSecond => R.HasSecond;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L FirstTerm<L>(L a, L b, L c, L d, L e, L f) where L : struct, ILane<L> => rule.FirstTerm(a, b, c, d, e, f);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L First<L>(L total) where L : struct, ILane<L> => rule.First(total);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L SecondTerm<L>(L first, L a, L b, L c, L d, L e, L f) where L : struct, ILane<L> => rule.SecondTerm(first, a, b, c, d, e, f);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Second<L>(L first, L total) where L : struct, ILane<L> => rule.Second(first, total);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Map<L>(L first, L second, ref L a, ref L b, ref L c, ref L d, ref L e, ref L f) where L : struct, ILane<L>
    {
        Access access = R.Access; // once: each call takes locals, and the JIT stops inlining when a method has many
        L a0 = a, b0 = b, c0 = c, d0 = d, e0 = e, f0 = f;
        rule.Map(first, second, ref a, ref b, ref c, ref d, ref e, ref f);
        if (access.At(0) == Slot.Write && (flags & 1) != 0)
            a = a0 + a;
        if (access.At(1) == Slot.Write && (flags & 2) != 0)
            b = b0 + b;
        if (access.At(2) == Slot.Write && (flags & 4) != 0)
            c = c0 + c;
        if (access.At(3) == Slot.Write && (flags & 8) != 0)
            d = d0 + d;
        if (access.At(4) == Slot.Write && (flags & 16) != 0)
            e = e0 + e;
        if (access.At(5) == Slot.Write && (flags & 32) != 0)
            f = f0 + f;
    }
}
