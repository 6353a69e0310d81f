using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Softmax and its logarithm along an axis.</summary>
public static class SoftmaxOp
{
    /// <summary>eˣ / Σ eˣ along an axis.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Any shape but that of a scalar.</param>
    /// <param name="axis">The axis; -1 is the last.</param>
    /// <returns>x's shape.</returns>
    public static Tensor Softmax(this Tape tape, Tensor x, int axis = -1) => tape.Along("Softmax", x, axis, isLogarithm: false);

    /// <summary>x - ln Σ eˣ along an axis.</summary>
    /// <inheritdoc cref="Softmax"/>
    public static Tensor LogSoftmax(this Tape tape, Tensor x, int axis = -1) => tape.Along("LogSoftmax", x, axis, isLogarithm: true);

    private static Tensor Along(this Tape tape, string operation, Tensor x, int axis, bool isLogarithm)
    {
        bool[] meant = Shapes.Axes(operation, x, [axis]);
        x = tape.MoveToEnd(tape.Wide(x), meant);
        Tensor output = tape.Output(x.Sizes(), x);
        if (isLogarithm)
            tape.Device.RowProgram(new SoftmaxRows<LogSoftmaxRule>(), x.Rows, x.Columns, [x.Data, output.Data]);
        else
            tape.Device.RowProgram(new SoftmaxRows<SoftmaxRule>(), x.Rows, x.Columns, [x.Data, output.Data]);
        tape.Record(new Gradient(output, x, isLogarithm));
        return tape.MoveBack(output, meant);
    }

    private sealed class Gradient(Tensor output, Tensor x, bool isLogarithm) : Operation(output, x)
    {
        public override void Backward(Tape tape)
        {
            ReadOnlySpan<Operand> operands = [Output.Data, Output.Gradient!.Value, tape.GradientTarget(x)];
            if (isLogarithm)
                tape.Device.RowProgram(new LogSoftmaxBackward(), x.Rows, x.Columns, operands);
            else
                tape.Device.RowProgram(new SoftmaxBackward(), x.Rows, x.Columns, operands);
        }
    }

    private readonly struct SoftmaxRule : ISoftmaxRule
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L OfSum<L>(L largest, L sum) where L : struct, ILane<L> => L.Splat(1) / sum;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Map<L>(L largest, L scale, ref L x, ref L y, ref L c) where L : struct, ILane<L> => y = L.Exp(x - largest) * scale;
    }

    private readonly struct LogSoftmaxRule : ISoftmaxRule
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L OfSum<L>(L largest, L sum) where L : struct, ILane<L> => L.Log(sum);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Map<L>(L largest, L logarithm, ref L x, ref L y, ref L c) where L : struct, ILane<L> => y = x - largest - logarithm;
    }

    /// <summary>y · (gradient - Σ gradient · y).</summary>
    private readonly struct SoftmaxBackward : IRowRule
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Write);

        public static bool FirstIsMax => false;

        public static bool HasSecond => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L FirstTerm<L>(L y, L gradient, L target, L d, L e, L f) where L : struct, ILane<L> => gradient * y;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L First<L>(L total) where L : struct, ILane<L> => total;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L SecondTerm<L>(L sum, L y, L gradient, L target, L d, L e, L f) where L : struct, ILane<L> => L.Splat(0);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Second<L>(L sum, L total) where L : struct, ILane<L> => total;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Map<L>(L sum, L second, ref L y, ref L gradient, ref L target, ref L d, ref L e, ref L f) where L : struct, ILane<L> =>
            target = y * (gradient - sum);
    }

    /// <summary>gradient - eʸ Σ gradient.</summary>
    private readonly struct LogSoftmaxBackward : IRowRule
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Write);

        public static bool FirstIsMax => false;

        public static bool HasSecond => false;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L FirstTerm<L>(L y, L gradient, L target, L d, L e, L f) where L : struct, ILane<L> => gradient;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L First<L>(L total) where L : struct, ILane<L> => total;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L SecondTerm<L>(L sum, L y, L gradient, L target, L d, L e, L f) where L : struct, ILane<L> => L.Splat(0);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public L Second<L>(L sum, L total) where L : struct, ILane<L> => total;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Map<L>(L sum, L second, ref L y, ref L gradient, ref L target, ref L d, ref L e, ref L f) where L : struct, ILane<L> =>
            target = gradient - L.Exp(y) * sum;
    }
}
