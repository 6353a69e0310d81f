using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Vector norms over any axes.</summary>
public static class NormOp
{
    /// <summary>(Σ |x|ᵖ)^(1/p) over some axes; the largest |x| for p = ∞.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Any shape.</param>
    /// <param name="axes">The axes; -1 is the last, none means all.</param>
    /// <param name="order">p, positive. The gradient of the Euclidean norm (p = 2) of zeros is 0.</param>
    /// <param name="keepDims">Keeps the axes with size 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">The order is not positive.</exception>
    public static Tensor Norm(this Tape tape, Tensor x, ReadOnlySpan<int> axes = default, float order = 2, bool keepDims = false)
    {
        if (!(order > 0))
            throw new ArgumentOutOfRangeException(nameof(order), order, "Norm: the order must be positive");
        return order switch
        {
            1 => tape.Sum(tape.Abs(x), axes, keepDims),
            2 => tape.Euclidean(x, axes, keepDims),
            float.PositiveInfinity => tape.Max(tape.Abs(x), axes, keepDims),
            _ => tape.Pow(tape.Sum(tape.Pow(tape.Abs(x), order), axes, keepDims), 1 / order),
        };
    }

    private static Tensor Euclidean(this Tape tape, Tensor x, ReadOnlySpan<int> axes, bool keepDims)
    {
        bool[] meant = Shapes.Axes("Norm", x, axes);
        int[] shape = Shapes.Reduced(x.Sizes(), meant, keepDims);
        long columns = SumOp.Count(x, meant), rows = Shapes.Length(shape);
        x = tape.MoveToEnd(tape.Wide(x), meant);
        Tensor output = tape.Output(shape, x);
        if (columns == 0)
            tape.Device.Fill(output.Data, 0);
        else
            tape.Device.Map(new SquaresRule(), rows, columns, x.Data, Operand.PerRow(output.Data));
        tape.Device.Map(new RootRule(), 1, rows, output.Data);
        tape.Record(new Gradient(output, x, rows, columns));
        return output;
    }

    private sealed class Gradient(Tensor output, Tensor x, long rows, long columns) : Operation(output, x)
    {
        public override void Backward(Tape tape) =>
            tape.Device.Map(new GradientRule(), rows, columns, x.Data, Operand.PerRow(Output.Data), Operand.PerRow(Output.Gradient!.Value), tape.GradientTarget(x));
    }

    /// <summary>a = √a.</summary>
    internal readonly struct RootRule : IMap1
    {
        public static Access Access => Access.Of(Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L a) where L : struct, ILane<L> => a = L.Sqrt(a);
    }

    /// <summary>gradient · x / norm; 0 where the norm is 0.</summary>
    private readonly struct GradientRule : IMap4
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Read, Slot.Read, Slot.Write);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L x, ref L norm, ref L gradient, ref L target) where L : struct, ILane<L> =>
            target = L.Select(L.Equal(norm, L.Splat(0)), L.Splat(0), gradient * x / norm);
    }
}
