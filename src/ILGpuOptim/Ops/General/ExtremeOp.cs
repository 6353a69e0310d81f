using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Largest and smallest elements over any axes, and their indices.</summary>
public static class ExtremeOp
{
    /// <summary>Integers up to this one are exact in f32.</summary>
    private const int MaxIndices = 1 << 24;

    /// <summary>The largest element over some axes; NaN where one is NaN. Equal largest elements share the gradient evenly.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Any shape.</param>
    /// <param name="axes">The axes; -1 is the last, none means all.</param>
    /// <param name="keepDims">Keeps the axes with size 1.</param>
    /// <exception cref="ArgumentException">There are no elements to choose from.</exception>
    public static Tensor Max(this Tape tape, Tensor x, ReadOnlySpan<int> axes = default, bool keepDims = false) => tape.Extreme("Max", x, axes, keepDims, 1);

    /// <summary>The smallest element over some axes; NaN where one is NaN. Equal smallest elements share the gradient evenly.</summary>
    /// <inheritdoc cref="Max"/>
    public static Tensor Min(this Tape tape, Tensor x, ReadOnlySpan<int> axes = default, bool keepDims = false) => tape.Extreme("Min", x, axes, keepDims, -1);

    /// <summary>The index of the first largest element along an axis, or of the first NaN if there is one. It has no gradient.</summary>
    /// <param name="tape">The tape that allocates the result.</param>
    /// <param name="x">Any shape.</param>
    /// <param name="axis">The axis; -1 is the last.</param>
    /// <param name="keepDims">Keeps the axis with size 1.</param>
    /// <exception cref="ArgumentException">The axis is empty, or longer than 2²⁴.</exception>
    public static Tensor ArgMax(this Tape tape, Tensor x, int axis = -1, bool keepDims = false) => tape.Place("ArgMax", x, axis, keepDims, 1);

    /// <summary>The index of the first smallest element along an axis; otherwise as <see cref="ArgMax"/>.</summary>
    /// <inheritdoc cref="ArgMax"/>
    public static Tensor ArgMin(this Tape tape, Tensor x, int axis = -1, bool keepDims = false) => tape.Place("ArgMin", x, axis, keepDims, -1);

    /// <summary>largest = sign · max(sign · x) over the axis that the layout lacks, NaN where an element is.</summary>
    internal static void Largest(Tape tape, in Block x, long rows, long columns, in Operand largest, float sign)
    {
        Block nan = tape.Scratch(largest.Block.Length);
        tape.Device.Map(new LargestRule(sign), rows, columns, x, largest, largest with { Block = nan });
        tape.Device.Map(new FinishRule(sign), 1, nan.Length, largest.Block, nan);
        tape.Release(nan);
    }

    /// <summary>The first index along the axis that the layout lacks where x equals the value, or both are NaN.</summary>
    internal static void FirstIndex(Tape tape, in Block x, long rows, long columns, in Operand value, in Block place)
    {
        bool alongRow = value.Layout == Layout.PerRow;
        var numbers = new float[alongRow ? columns : rows];
        for (int i = 0; i < numbers.Length; i++)
            numbers[i] = -i;
        Block places = tape.Values(numbers);
        tape.Device.Map(new IndexRule(), rows, columns, x, value, alongRow ? Operand.PerColumn(places) : Operand.PerRow(places), value with { Block = place });
        tape.Device.Map(new ScaleRule(-1), 1, place.Length, place);
        tape.Release(places);
    }

    private static Tensor Extreme(this Tape tape, string operation, Tensor x, ReadOnlySpan<int> axes, bool keepDims, float sign)
    {
        bool[] meant = Shapes.Axes(operation, x, axes);
        int[] shape = Shapes.Reduced(x.Sizes(), meant, keepDims);
        long columns = SumOp.Count(x, meant), rows = Shapes.Length(shape);
        if (columns == 0 && rows > 0)
            throw new ArgumentException($"{operation}: {x.Text()} has no elements to choose from", nameof(x));
        x = tape.MoveToEnd(tape.Wide(x), meant);
        Tensor output = tape.Output(shape, x);
        if (rows > 0)
            Largest(tape, x.Data, rows, columns, Operand.PerRow(output.Data), sign);
        tape.Record(new Gradient(output, x, rows, columns));
        return output;
    }

    private static Tensor Place(this Tape tape, string operation, Tensor x, int axis, bool keepDims, float sign)
    {
        bool[] meant = Shapes.Axes(operation, x, [axis]);
        int[] shape = Shapes.Reduced(x.Sizes(), meant, keepDims);
        long columns = SumOp.Count(x, meant), rows = Shapes.Length(shape);
        if (columns is 0 or > MaxIndices)
            throw new ArgumentException($"{operation}: axis {axis} of {x.Text()} has {(columns == 0 ? "no elements to choose from" : $"more than {MaxIndices} elements")}", nameof(x));
        x = tape.MoveToEnd(tape.Wide(x), meant);
        Tensor output = tape.Output(shape);
        if (rows == 0)
            return output;
        Block largest = tape.Scratch(rows);
        Largest(tape, x.Data, rows, columns, Operand.PerRow(largest), sign);
        FirstIndex(tape, x.Data, rows, columns, Operand.PerRow(largest), output.Data);
        tape.Release(largest);
        return output;
    }

    private sealed class Gradient(Tensor output, Tensor x, long rows, long columns) : Operation(output, x)
    {
        public override void Backward(Tape tape)
        {
            if (rows == 0)
                return;
            Block count = tape.Scratch(rows);
            tape.Device.Map(new CountRule(), rows, columns, x.Data, Operand.PerRow(Output.Data), Operand.PerRow(count));
            tape.Device.Map(new ShareRule(), rows, columns, x.Data, Operand.PerRow(Output.Data), Operand.PerRow(Output.Gradient!.Value), Operand.PerRow(count), tape.GradientTarget(x));
            tape.Release(count);
        }
    }

    /// <summary>The largest of sign · x, and a sum that is NaN if an element is.</summary>
    private readonly struct LargestRule(float sign) : IMap3
    {
        private readonly float sign = sign;

        public static Access Access => Access.Of(Slot.Read, Slot.Max, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L x, ref L largest, ref L nan) where L : struct, ILane<L>
        {
            L signed = L.Splat(sign) * x;
            nan = L.Select(L.Equal(x, x), L.Splat(0), x);
            largest = signed;
        }
    }

    private readonly struct FinishRule(float sign) : IMap2
    {
        private readonly float sign = sign;

        public static Access Access => Access.Of(Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L largest, ref L nan) where L : struct, ILane<L> => largest = L.Splat(sign) * largest + nan;
    }

    /// <summary>The largest of the negated indices at which x has the value.</summary>
    private readonly struct IndexRule : IMap4
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Max);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L x, ref L value, ref L negative, ref L index) where L : struct, ILane<L> =>
            index = L.Select(L.Equal(x, value), negative, L.Select(L.Equal(x, x), L.Splat(float.NegativeInfinity), negative));
    }

    private readonly struct CountRule : IMap3
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L x, ref L value, ref L count) where L : struct, ILane<L> => count = L.Select(L.Equal(x, value), L.Splat(1), L.Splat(0));
    }

    private readonly struct ShareRule : IMap5
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L x, ref L value, ref L gradient, ref L count, ref L target) where L : struct, ILane<L> =>
            target = L.Select(L.Equal(x, value), gradient / count, L.Splat(0));
    }
}
