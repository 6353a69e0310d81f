using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

/// <summary>
/// A move along a direction that rules write in pieces, such as the matrices of a batch, or with operands per row or column. Such a rule has the direction as its first
/// operand, <see cref="Slot.Write"/>. Without parts it is fused with the move; otherwise the direction is written to memory, and <see cref="End"/> moves.
/// </summary>
internal readonly struct Motion
{
    private readonly ParameterUpdate update;
    private readonly HeldDirection? held;
    private readonly Operand target;
    private readonly Move move;

    /// <param name="update">The parameter.</param>
    /// <param name="decay">Its weight decay.</param>
    /// <param name="scale">Multiplies the direction.</param>
    /// <param name="isCautious">False if the optimizer has applied caution itself.</param>
    /// <param name="isWhole">True if one rule writes the whole direction, so that the parameter need not be converted to f32.</param>
    public Motion(in ParameterUpdate update, in Decay decay, double scale = 1, bool isCautious = true, bool isWhole = false)
    {
        this.update = update;
        Composition parts = update.State.Parts;
        Decay own = parts.OfDirection(update.Name, decay);
        move = new(own, update.LearningRate, scale);
        held = parts.HoldsDirection ? new HeldDirection(update, own, scale, isCautious ? parts.Caution : null) : null;
        target = held is { } direction ? direction.Direction : isWhole ? update.Weights : update.WeightValues;
    }

    /// <summary>Writes the elements of the direction from <paramref name="start"/> on, a rectangle.</summary>
    public void Map<R>(in R rule, long start, long rows, long columns, in Operand a) where R : unmanaged, IMap2
    {
        if (held is null)
            update.Device.Map(new MovedBy2<R>(rule, move), rows, columns, Piece(start, rows * columns), a);
        else
            update.Device.Map(rule, rows, columns, Piece(start, rows * columns), a);
    }

    /// <inheritdoc cref="Map{R}(in R, long, long, long, in Operand)"/>
    public void Map<R>(in R rule, long start, long rows, long columns, in Operand a, in Operand b) where R : unmanaged, IMap3
    {
        if (held is null)
            update.Device.Map(new MovedBy3<R>(rule, move), rows, columns, Piece(start, rows * columns), a, b);
        else
            update.Device.Map(rule, rows, columns, Piece(start, rows * columns), a, b);
    }

    /// <inheritdoc cref="Map{R}(in R, long, long, long, in Operand)"/>
    public void Map<R>(in R rule, long start, long rows, long columns, in Operand a, in Operand b, in Operand c) where R : unmanaged, IMap4
    {
        if (held is null)
            update.Device.Map(new MovedBy4<R>(rule, move), rows, columns, Piece(start, rows * columns), a, b, c);
        else
            update.Device.Map(rule, rows, columns, Piece(start, rows * columns), a, b, c);
    }

    /// <inheritdoc cref="Map{R}(in R, long, long, long, in Operand)"/>
    public void Map<R>(in R rule, long start, long rows, long columns, in Operand a, in Operand b, in Operand c, in Operand d) where R : unmanaged, IMap5
    {
        if (held is null)
            update.Device.Map(new MovedBy5<R>(rule, move), rows, columns, Piece(start, rows * columns), a, b, c, d);
        else
            update.Device.Map(rule, rows, columns, Piece(start, rows * columns), a, b, c, d);
    }

    /// <summary>Writes the whole direction.</summary>
    public void Map<R>(in R rule, in Operand a, in Operand b) where R : unmanaged, IMap3
    {
        var (rows, columns) = update.State.Rectangle;
        Map(rule, 0, rows, columns, a, b);
    }

    /// <inheritdoc cref="Map{R}(in R, in Operand, in Operand)"/>
    public void Map<R>(in R rule, in Operand a, in Operand b, in Operand c) where R : unmanaged, IMap4
    {
        var (rows, columns) = update.State.Rectangle;
        Map(rule, 0, rows, columns, a, b, c);
    }

    /// <inheritdoc cref="Map{R}(in R, in Operand, in Operand)"/>
    public void Map<R>(in R rule, in Operand a, in Operand b, in Operand c, in Operand d) where R : unmanaged, IMap5
    {
        var (rows, columns) = update.State.Rectangle;
        Map(rule, 0, rows, columns, a, b, c, d);
    }

    /// <inheritdoc cref="Map{R}(in R, in Operand, in Operand)"/>
    public void Map<R>(in R rule, in Operand a, in Operand b, in Operand c, in Operand d, in Operand e) where R : unmanaged, IMap6
    {
        if (held is null)
            update.Map(new MovedBy6<R>(rule, move), target, a, b, c, d, e);
        else
            update.Map(rule, target, a, b, c, d, e);
    }

    /// <summary>Moves the parameter, if the rules have not.</summary>
    public void End() => held?.Move(isSummed: false);

    private Operand Piece(long start, long length) => length == target.Block.Length ? target : target.Slice(start, length);
}

// A rule that writes a direction, fused with the move: its first operand is updated instead of written.

internal readonly struct MovedBy2<R>(R rule, Move move) : IMap2 where R : unmanaged, IMap2
{
    private readonly R rule = rule;
    private readonly Move move = move;

    public static Access Access => R.Access | Access.Of(Slot.Read);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L p, ref L a) where L : struct, ILane<L>
    {
        L u = p;
        rule.Apply(ref u, ref a);
        p = move.Of(p, u);
    }
}

internal readonly struct MovedBy3<R>(R rule, Move move) : IMap3 where R : unmanaged, IMap3
{
    private readonly R rule = rule;
    private readonly Move move = move;

    public static Access Access => R.Access | Access.Of(Slot.Read);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L p, ref L a, ref L b) where L : struct, ILane<L>
    {
        L u = p;
        rule.Apply(ref u, ref a, ref b);
        p = move.Of(p, u);
    }
}

internal readonly struct MovedBy4<R>(R rule, Move move) : IMap4 where R : unmanaged, IMap4
{
    private readonly R rule = rule;
    private readonly Move move = move;

    public static Access Access => R.Access | Access.Of(Slot.Read);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L p, ref L a, ref L b, ref L c) where L : struct, ILane<L>
    {
        L u = p;
        rule.Apply(ref u, ref a, ref b, ref c);
        p = move.Of(p, u);
    }
}

internal readonly struct MovedBy5<R>(R rule, Move move) : IMap5 where R : unmanaged, IMap5
{
    private readonly R rule = rule;
    private readonly Move move = move;

    public static Access Access => R.Access | Access.Of(Slot.Read);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L p, ref L a, ref L b, ref L c, ref L d) where L : struct, ILane<L>
    {
        L u = p;
        rule.Apply(ref u, ref a, ref b, ref c, ref d);
        p = move.Of(p, u);
    }
}

internal readonly struct MovedBy6<R>(R rule, Move move) : IMap6 where R : unmanaged, IMap6
{
    private readonly R rule = rule;
    private readonly Move move = move;

    public static Access Access => R.Access | Access.Of(Slot.Read);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Apply<L>(ref L p, ref L a, ref L b, ref L c, ref L d, ref L e) where L : struct, ILane<L>
    {
        L u = p;
        rule.Apply(ref u, ref a, ref b, ref c, ref d, ref e);
        p = move.Of(p, u);
    }
}
