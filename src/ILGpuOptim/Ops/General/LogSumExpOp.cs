using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>The logarithm of a sum of exponentials, computed relative to the largest of them.</summary>
public static class LogSumExpOp
{
    /// <summary>ln Σ eˣ over some axes.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Any shape.</param>
    /// <param name="axes">The axes; -1 is the last, none means all.</param>
    /// <param name="keepDims">Keeps the axes with size 1.</param>
    public static Tensor LogSumExp(this Tape tape, Tensor x, ReadOnlySpan<int> axes = default, bool keepDims = false)
    {
        bool[] meant = Shapes.Axes("LogSumExp", x, axes);
        int[] shape = Shapes.Reduced(x.Sizes(), meant, keepDims);
        long columns = SumOp.Count(x, meant), rows = Shapes.Length(shape);
        x = tape.MoveToEnd(tape.Wide(x), meant);
        Tensor output = tape.Output(shape, x);
        // Maps, not the row program of SoftmaxRows: they divide a long row among threads, and a reduction over all axes is one row.
        Block largest = tape.Scratch(rows);
        tape.Device.Map(new LargestRule(), rows, columns, x.Data, Operand.PerRow(largest));
        tape.Device.Map(new SumRule(), rows, columns, x.Data, Operand.PerRow(largest), Operand.PerRow(output.Data));
        tape.Device.Map(new FinishRule(), 1, rows, output.Data, largest);
        tape.Release(largest);
        tape.Record(new Gradient(output, x, rows, columns));
        return output;
    }

    private sealed class Gradient(Tensor output, Tensor x, long rows, long columns) : Operation(output, x)
    {
        public override void Backward(Tape tape) =>
            tape.Device.Map(new GradientRule(), rows, columns, x.Data, Operand.PerRow(Output.Data), Operand.PerRow(Output.Gradient!.Value), tape.GradientTarget(x));
    }

    private readonly struct LargestRule : IMap2
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Max);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L x, ref L largest) where L : struct, ILane<L> => largest = x;
    }

    /// <summary>Σ exp(x - largest).</summary>
    private readonly struct SumRule : IMap3
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L x, ref L largest, ref L sum) where L : struct, ILane<L> => sum = L.Exp(x - SoftmaxRows.Origin(largest));
    }

    private readonly struct FinishRule : IMap2
    {
        public static Access Access => Access.Of(Slot.Update, Slot.Read);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L sum, ref L largest) where L : struct, ILane<L> => sum = SoftmaxRows.LogSumExp(SoftmaxRows.Origin(largest), sum);
    }

    /// <summary>gradient · exp(x - result); 0 where every element is -∞.</summary>
    private readonly struct GradientRule : IMap4
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L x, ref L result, ref L gradient, ref L target) where L : struct, ILane<L> =>
            target = L.Select(L.Equal(result, L.Splat(float.NegativeInfinity)), L.Splat(0), gradient * L.Exp(x - result));
    }
}
