using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

// The kernels of functions: one forward, and one backward that writes or sums each partial derivative times the gradient, as its slot states.

/// <summary>The slot of an optional operand, as a type: a constant on which kernels specialise.</summary>
internal interface ISlot
{
    static abstract Slot Slot { get; }
}

/// <summary>The operand is absent.</summary>
internal readonly struct Absent : ISlot
{
    public static Slot Slot => Slot.None;
}

/// <summary>The operand is read.</summary>
internal readonly struct Present : ISlot
{
    public static Slot Slot => Slot.Read;
}

/// <summary>The operand is written: the gradient of an input that has the result's shape.</summary>
internal readonly struct Written : ISlot
{
    public static Slot Slot => Slot.Write;
}

/// <summary>The operand is summed: the gradient of an input that was broadcast.</summary>
internal readonly struct Summed : ISlot
{
    public static Slot Slot => Slot.Sum;
}

/// <summary>result = f(x).</summary>
internal readonly struct Forward1<F>(F function) : IMap2 where F : unmanaged, IFunction1
{
    private readonly F function = function;

    public static Access Access => Access.Of(Slot.Read, Slot.Write);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L x, ref L result) where L : struct, ILane<L> => result = function.Apply(x);
}

/// <summary>result = f(x, y).</summary>
internal readonly struct Forward2<F>(F function) : IMap3 where F : unmanaged, IFunction2
{
    private readonly F function = function;

    public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Write);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L x, ref L y, ref L result) where L : struct, ILane<L> => result = function.Apply(x, y);
}

/// <summary>result = f(x, y, z).</summary>
internal readonly struct Forward3<F>(F function) : IMap4 where F : unmanaged, IFunction3
{
    private readonly F function = function;

    public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Write);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L x, ref L y, ref L z, ref L result) where L : struct, ILane<L> => result = function.Apply(x, y, z);
}

/// <summary>dx = g · f'(x). dx may share the memory of g.</summary>
internal readonly struct Backward1<F>(F function) : IMap3 where F : unmanaged, IFunction1
{
    private readonly F function = function;

    public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Write);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L g, ref L x, ref L dx) where L : struct, ILane<L> => dx = g * function.Apply(new Dual<L>(x, L.Splat(1))).Derivative;
}

/// <summary>dx = g · ∂f/∂x, dy = g · ∂f/∂y. One of them may share the memory of g.</summary>
internal readonly struct Backward2<F, X, Y>(F function) : IMap5
    where F : unmanaged, IFunction2
    where X : unmanaged, ISlot
    where Y : unmanaged, ISlot
{
    private readonly F function = function;

    public static Access Access
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Access.Of(Slot.Read, Slot.Read, Slot.Read, X.Slot, Y.Slot);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L g, ref L x, ref L y, ref L dx, ref L dy) where L : struct, ILane<L>
    {
        L zero = L.Splat(0), one = L.Splat(1);
        Dual2<L> result = function.Apply(new Dual2<L>(x, one, zero), new Dual2<L>(y, zero, one));
        dx = g * result.First;
        dy = g * result.Second;
    }
}

/// <summary>g becomes g · ∂f/∂x; dy = g · ∂f/∂y, dz = g · ∂f/∂z. In place, because a rule has six operands at most.</summary>
internal readonly struct Backward3<F, X, Y, Z>(F function) : IMap6
    where F : unmanaged, IFunction3
    where X : unmanaged, ISlot
    where Y : unmanaged, ISlot
    where Z : unmanaged, ISlot
{
    private readonly F function = function;

    public static Access Access
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Access.Of(X.Slot == Slot.None ? Slot.Read : Slot.Update, Slot.Read, Slot.Read, Slot.Read, Y.Slot, Z.Slot);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L g, ref L x, ref L y, ref L z, ref L dy, ref L dz) where L : struct, ILane<L>
    {
        L zero = L.Splat(0), one = L.Splat(1);
        Dual3<L> result = function.Apply(new Dual3<L>(x, one, zero, zero), new Dual3<L>(y, zero, one, zero), new Dual3<L>(z, zero, zero, one));
        dy = g * result.Second;
        dz = g * result.Third;
        g *= result.First;
    }
}

/// <summary>f(z, x, y) as a function of (x, y, z): makes another argument the first.</summary>
internal readonly struct Rotated<F>(F function) : IFunction3 where F : unmanaged, IFunction3
{
    private readonly F function = function;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Apply<L>(L x, L y, L z) where L : struct, ILane<L> => function.Apply(z, x, y);
}
