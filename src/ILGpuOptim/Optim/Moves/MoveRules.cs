using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

// A direction and its move in one pass.

internal readonly struct MoveRule0<D>(D direction, Move move) : IMap2 where D : unmanaged, IDirection0
{
    private readonly D direction = direction;
    private readonly Move move = move;

    public static Access Access => Access.Of(Slot.Update, Slot.Read);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L p, ref L g) where L : struct, ILane<L> => p = move.Of(p, direction.Of(move.Penalized(p, g)));
}

internal readonly struct MoveRule1<D>(D direction, Move move) : IMap3 where D : unmanaged, IDirection1
{
    private readonly D direction = direction;
    private readonly Move move = move;

    public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Update);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L p, ref L g, ref L a) where L : struct, ILane<L> => p = move.Of(p, direction.Of(move.Penalized(p, g), ref a));
}

internal readonly struct MoveRule2<D>(D direction, Move move) : IMap4 where D : unmanaged, IDirection2
{
    private readonly D direction = direction;
    private readonly Move move = move;

    public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Update, Slot.Update);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L p, ref L g, ref L a, ref L b) where L : struct, ILane<L> => p = move.Of(p, direction.Of(move.Penalized(p, g), ref a, ref b));
}

internal readonly struct MoveRule3<D>(D direction, Move move) : IMap5 where D : unmanaged, IDirection3
{
    private readonly D direction = direction;
    private readonly Move move = move;

    public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Update, Slot.Update, Slot.Update);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L p, ref L g, ref L a, ref L b, ref L c) where L : struct, ILane<L> => p = move.Of(p, direction.Of(move.Penalized(p, g), ref a, ref b, ref c));
}

/// <summary>result = g + penalty · p.</summary>
internal readonly struct PenaltyRule(float penalty) : IMap3
{
    private readonly float penalty = penalty;

    public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Write);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L g, ref L p, ref L result) where L : struct, ILane<L> => result = L.Fma(L.Splat(penalty), p, g);
}
