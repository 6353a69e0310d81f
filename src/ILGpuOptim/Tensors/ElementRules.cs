using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim;

/// <summary>a += b + c: a product's bias and the residual stream.</summary>
internal readonly struct AddTwoRule : IMap3
{
    public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Read);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L a, ref L b, ref L c) where L : struct, ILane<L> => a = a + b + c;
}

/// <summary>c = a + b.</summary>
internal readonly struct SumRule : IMap3
{
    public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Write);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L a, ref L b, ref L c) where L : struct, ILane<L> => c = a + b;
}

/// <summary>c = a · b.</summary>
internal readonly struct ProductRule : IMap3
{
    public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Write);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L a, ref L b, ref L c) where L : struct, ILane<L> => c = a * b;
}

/// <summary>a = factor · a.</summary>
internal readonly struct ScaleRule(float factor) : IMap1
{
    private readonly float factor = factor;

    public static Access Access => Access.Of(Slot.Update);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L a) where L : struct, ILane<L> => a *= L.Splat(factor);
}

/// <summary>b = Σ a over the axes that b lacks.</summary>
internal readonly struct TotalRule : IMap2
{
    public static Access Access => Access.Of(Slot.Read, Slot.Sum);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L a, ref L b) where L : struct, ILane<L> => b = a;
}

/// <summary>b = Σ a² over the axes that b lacks.</summary>
internal readonly struct SquaresRule : IMap2
{
    public static Access Access => Access.Of(Slot.Read, Slot.Sum);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L a, ref L b) where L : struct, ILane<L> => b = a * a;
}

/// <summary>a *= b.</summary>
internal readonly struct ScaleByRule : IMap2
{
    public static Access Access => Access.Of(Slot.Update, Slot.Read);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L a, ref L b) where L : struct, ILane<L> => a *= b;
}
