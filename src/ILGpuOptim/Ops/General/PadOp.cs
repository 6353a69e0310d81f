using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Padding.</summary>
public static class PadOp
{
    /// <summary>Pads the last axes with a value.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Any shape.</param>
    /// <param name="padding">For each of the last axes, outermost first: the number of elements before and after.</param>
    /// <param name="value">The value of the padding.</param>
    /// <exception cref="ArgumentException">There are more paddings than axes, or the result would be too large.</exception>
    /// <exception cref="ArgumentOutOfRangeException">A padding is negative.</exception>
    public static Tensor Pad(this Tape tape, Tensor x, ReadOnlySpan<(int Before, int After)> padding, float value = 0)
    {
        Shapes.NotNull("Pad", x);
        int[] shape = [.. x.Sizes()];
        if (padding.Length > shape.Length)
            throw new ArgumentException($"Pad: {padding.Length} paddings for {x.Text()}", nameof(padding));
        x = tape.Wide(x);
        int first = shape.Length - padding.Length;
        for (int k = 0; k < padding.Length; k++)
        {
            if (padding[k].Before < 0 || padding[k].After < 0)
                throw new ArgumentOutOfRangeException(nameof(padding), $"Pad: axis {first + k} of {x.Text()} has a negative padding");
            shape[first + k] = Shapes.Size("Pad", x, first + k, (long)shape[first + k] + padding[k].Before + padding[k].After);
        }

        Tensor output = tape.Output(Shapes.Result("Pad", shape), x);
        long[] own = Shapes.Strides(x.Sizes()), strides = Shapes.Strides(shape);
        long start = 0;
        for (int k = 0; k < padding.Length; k++)
            start += padding[k].Before * strides[first + k];
        var axes = new StridedAxis[shape.Length];
        for (int k = 0; k < axes.Length; k++)
            axes[k] = new StridedAxis(x.Shape[k], own[k], strides[k]);
        if (x.Length < output.Length)
            tape.Device.Fill(output.Data, value);
        if (x.Length > 0)
            tape.Device.CopyStrided(x.Data, 0, output.Data, start, axes);
        tape.Record(new Gradient(output, x, start, axes));
        return output;
    }

    private sealed class Gradient(Tensor output, Tensor x, long start, StridedAxis[] axes) : Operation(output, x)
    {
        public override void Backward(Tape tape)
        {
            StridedAxis[] back = [.. axes.Select(axis => new StridedAxis(axis.Size, axis.TargetStride, axis.SourceStride))];
            tape.AddStrided(x, Output.Gradient!.Value, start, 0, back);
        }
    }
}
