using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute;

/// <summary>b = a: a copy that converts between storage types or layouts.</summary>
public readonly struct CopyRule : IMap2
{
    /// <inheritdoc/>
    public static Access Access => Access.Of(Slot.Read, Slot.Write);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L a, ref L b) where L : struct, ILane<L> => b = a;
}

/// <summary>a += b.</summary>
public readonly struct AddRule : IMap2
{
    /// <inheritdoc/>
    public static Access Access => Access.Of(Slot.Update, Slot.Read);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L a, ref L b) where L : struct, ILane<L> => a += b;
}

/// <summary>The epilogue that leaves a product as it is.</summary>
internal readonly struct KeepRule : IMap1
{
    /// <inheritdoc/>
    public static Access Access => Access.Of(Slot.Update);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L a) where L : struct, ILane<L>
    {
    }
}

/// <summary>a = value.</summary>
internal readonly struct FillRule(float value) : IMap1
{
    private readonly float value = value;

    /// <inheritdoc/>
    public static Access Access => Access.Of(Slot.Write);

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L a) where L : struct, ILane<L> => a = L.Splat(value);
}
