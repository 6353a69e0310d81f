using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

// A direction that is written to memory for parts that need all of it. The first operand is the parameter, or the gradient again if there is no penalty.

internal readonly struct HoldRule0<D>(D direction, Hold hold) : IMap4 where D : unmanaged, IDirection0
{
    private readonly D direction = direction;
    private readonly Hold hold = hold;

    public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Write, Slot.Sum);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L p, ref L g, ref L u, ref L sum) where L : struct, ILane<L>
    {
        L penalized = hold.Penalized(p, g);
        u = hold.Of(penalized, direction.Of(penalized), out sum);
    }
}

internal readonly struct HoldRule1<D>(D direction, Hold hold) : IMap5 where D : unmanaged, IDirection1
{
    private readonly D direction = direction;
    private readonly Hold hold = hold;

    public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Update, Slot.Write, Slot.Sum);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L p, ref L g, ref L a, ref L u, ref L sum) where L : struct, ILane<L>
    {
        L penalized = hold.Penalized(p, g);
        u = hold.Of(penalized, direction.Of(penalized, ref a), out sum);
    }
}

internal readonly struct HoldRule2<D>(D direction, Hold hold) : IMap6 where D : unmanaged, IDirection2
{
    private readonly D direction = direction;
    private readonly Hold hold = hold;

    public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Update, Slot.Update, Slot.Write, Slot.Sum);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L p, ref L g, ref L a, ref L b, ref L u, ref L sum) where L : struct, ILane<L>
    {
        L penalized = hold.Penalized(p, g);
        u = hold.Of(penalized, direction.Of(penalized, ref a, ref b), out sum);
    }
}

/// <summary>Six operands leave no room for the sum.</summary>
internal readonly struct HoldRule3<D>(D direction, Hold hold) : IMap6 where D : unmanaged, IDirection3
{
    private readonly D direction = direction;
    private readonly Hold hold = hold;

    public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Update, Slot.Update, Slot.Update, Slot.Write);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L p, ref L g, ref L a, ref L b, ref L c, ref L u) where L : struct, ILane<L> => u = direction.Of(hold.Penalized(p, g), ref a, ref b, ref c);
}

/// <summary>Sums of x² and of (before · p)², for the direction x = inner · u + with · p.</summary>
internal readonly struct DirectionNormsRule(float with, float before) : IMap5
{
    private readonly float with = with, before = before;

    public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Sum, Slot.Sum);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L p, ref L u, ref L inner, ref L squares, ref L weights) where L : struct, ILane<L>
    {
        L x = L.Fma(L.Splat(with), p, u * inner);
        squares = x * x;
        weights = p * L.Splat(before) * p * L.Splat(before);
    }
}

/// <summary>Sum of (before · p)².</summary>
internal readonly struct WeightNormRule(float before) : IMap2
{
    private readonly float before = before;

    public static Access Access => Access.Of(Slot.Read, Slot.Sum);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L p, ref L weights) where L : struct, ILane<L> => weights = p * L.Splat(before) * p * L.Splat(before);
}

/// <summary>squares ← factor² · squares.</summary>
internal readonly struct RescaleSquares : IMap2
{
    public static Access Access => Access.Of(Slot.Update, Slot.Read);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L squares, ref L factor) where L : struct, ILane<L> => squares *= factor * factor;
}

/// <summary>p ← (before · p - lr · outer · (inner · u + with · p)) · after.</summary>
internal readonly struct HeldMoveRule(Move move) : IMap4
{
    private readonly Move move = move;

    public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Read, Slot.Read);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L p, ref L u, ref L inner, ref L outer) where L : struct, ILane<L> => p = move.Of(p, u * inner, outer);
}

/// <summary>squares ← (1 - rate · decay)² · squares.</summary>
internal readonly struct DecaySquares(float decay) : IMap2
{
    private readonly float decay = decay;

    public static Access Access => Access.Of(Slot.Update, Slot.Read);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L squares, ref L rate) where L : struct, ILane<L>
    {
        L kept = L.Splat(1) - rate * L.Splat(decay);
        squares *= kept * kept;
    }
}

/// <summary>As <see cref="HeldMoveRule"/>, with a learning rate that only the device knows.</summary>
internal readonly struct RatedMoveRule(in Decay decay) : IMap5
{
    private readonly float before = (float)decay.Of(DecayForm.Before), with = (float)decay.Of(DecayForm.WithUpdate), after = (float)decay.Of(DecayForm.After);

    public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Read, Slot.Read, Slot.Read);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L p, ref L u, ref L inner, ref L outer, ref L rate) where L : struct, ILane<L>
    {
        L one = L.Splat(1);
        p = (p * (one - rate * L.Splat(before)) - rate * (outer * L.Fma(L.Splat(with), p, u * inner))) * (one - rate * L.Splat(after));
    }
}

/// <summary>A move along a direction in memory.</summary>
internal readonly struct BlockMoveRule(Move move) : IMap2
{
    private readonly Move move = move;

    public static Access Access => Access.Of(Slot.Update, Slot.Read);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L p, ref L u) where L : struct, ILane<L> => p = move.Of(p, u);
}
