using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute;

// Rules of fewer operands seen as rules of six, so that every device has one map runner.

internal readonly struct Lift1<R>(R rule) : IMap6 where R : unmanaged, IMap1
{
    private readonly R rule = rule;

    public static Access Access => R.Access;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L a, ref L b, ref L c, ref L d, ref L e, ref L f) where L : struct, ILane<L> =>
        rule.Apply(ref a);
}

internal readonly struct Lift2<R>(R rule) : IMap6 where R : unmanaged, IMap2
{
    private readonly R rule = rule;

    public static Access Access => R.Access;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L a, ref L b, ref L c, ref L d, ref L e, ref L f) where L : struct, ILane<L> =>
        rule.Apply(ref a, ref b);
}

internal readonly struct Lift3<R>(R rule) : IMap6 where R : unmanaged, IMap3
{
    private readonly R rule = rule;

    public static Access Access => R.Access;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L a, ref L b, ref L c, ref L d, ref L e, ref L f) where L : struct, ILane<L> =>
        rule.Apply(ref a, ref b, ref c);
}

internal readonly struct Lift4<R>(R rule) : IMap6 where R : unmanaged, IMap4
{
    private readonly R rule = rule;

    public static Access Access => R.Access;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L a, ref L b, ref L c, ref L d, ref L e, ref L f) where L : struct, ILane<L> =>
        rule.Apply(ref a, ref b, ref c, ref d);
}

internal readonly struct Lift5<R>(R rule) : IMap6 where R : unmanaged, IMap5
{
    private readonly R rule = rule;

    public static Access Access => R.Access;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L a, ref L b, ref L c, ref L d, ref L e, ref L f) where L : struct, ILane<L> =>
        rule.Apply(ref a, ref b, ref c, ref d, ref e);
}
