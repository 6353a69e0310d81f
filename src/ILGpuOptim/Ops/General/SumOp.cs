using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Sums and means over any axes.</summary>
public static class SumOp
{
    /// <summary>The sum over some axes.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Any shape.</param>
    /// <param name="axes">The axes; -1 is the last, none means all.</param>
    /// <param name="keepDims">Keeps the axes with size 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">There is no such axis.</exception>
    public static Tensor Sum(this Tape tape, Tensor x, ReadOnlySpan<int> axes = default, bool keepDims = false) =>
        tape.ScaledSum(x, Shapes.Axes("Sum", x, axes), keepDims, 1);

    /// <summary>The mean over some axes; NaN over no elements.</summary>
    /// <inheritdoc cref="Sum"/>
    public static Tensor Mean(this Tape tape, Tensor x, ReadOnlySpan<int> axes = default, bool keepDims = false)
    {
        bool[] meant = Shapes.Axes("Mean", x, axes);
        return tape.ScaledSum(x, meant, keepDims, 1f / Count(x, meant));
    }

    /// <summary>The number of elements that a reduction over the marked axes combines.</summary>
    internal static long Count(Tensor x, ReadOnlySpan<bool> axes)
    {
        long count = 1;
        for (int k = 0; k < axes.Length; k++)
            count *= axes[k] ? x.Shape[k] : 1;
        return count;
    }

    private static Tensor ScaledSum(this Tape tape, Tensor x, bool[] axes, bool keepDims, float factor)
    {
        x = tape.Wide(x);
        Tensor output = tape.Output(Shapes.Reduced(x.Sizes(), axes, keepDims), x);
        Reduction.Sum(tape, x.Data, x.Sizes(), axes, output.Data, factor);
        tape.Record(new Gradient(output, x, axes, factor));
        return output;
    }

    private sealed class Gradient(Tensor output, Tensor x, bool[] axes, float factor) : Operation(output, x)
    {
        public override void Backward(Tape tape)
        {
            Block gradient = Output.Gradient!.Value;
            if (factor != 1)
                tape.Device.Map(new ScaleRule(factor), 1, gradient.Length, gradient);
            ExpandOp.AddExpanded(tape, gradient, Shapes.Reduced(x.Sizes(), axes, keepDims: true), x);
        }
    }
}
