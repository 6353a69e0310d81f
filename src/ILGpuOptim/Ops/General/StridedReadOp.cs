using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Results whose elements are elements of the input, each at most once: permutations and slices.</summary>
internal static class StridedReadOp
{
    /// <summary>result[i] = x[start + Σ iₖ · strideₖ]. The result shares x's memory where its elements are contiguous there.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Any shape.</param>
    /// <param name="start">The element of x at index 0.</param>
    /// <param name="shape">The result's sizes.</param>
    /// <param name="strides">The strides in x of the result's axes; not 0 where the size is not 1.</param>
    public static Tensor StridedRead(this Tape tape, Tensor x, long start, int[] shape, long[] strides)
    {
        StridedAxis[] axes = Shapes.CopyAxes(shape, strides);
        bool isView = axes.All(axis => axis.Size > 0 && (axis.Size == 1 || axis.SourceStride == axis.TargetStride));
        Tensor output = isView ? tape.View(x, shape, start) : tape.Output(shape, x);
        if (!isView && output.Length > 0)
            tape.Device.CopyStrided(x.Data, start, output.Data, 0, axes);
        tape.Record(new Gradient(output, x, start, axes));
        return output;
    }

    /// <summary>Adds a gradient, or a part of one, to a strided part of a tensor's gradient. If there was no gradient, the other elements become 0.</summary>
    /// <param name="tape">The tape of the backward pass.</param>
    /// <param name="x">The tensor whose gradient is written.</param>
    /// <param name="gradient">The gradient to add.</param>
    /// <param name="gradientStart">Its first element.</param>
    /// <param name="start">The first element of the tensor's gradient.</param>
    /// <param name="axes">Axes whose target strides are those of the tensor's gradient, at least 1.</param>
    public static void AddStrided(this Tape tape, Tensor x, in Block gradient, long gradientStart, long start, ReadOnlySpan<StridedAxis> axes)
    {
        Block target = tape.GradientOf(x, out float beta);
        long count = 1;
        foreach (StridedAxis axis in axes)
            count *= axis.Size;
        if (beta == 0 && count < x.Length)
            tape.Device.Fill(target, 0);
        if (count > 0)
            tape.Device.CopyStrided(gradient, gradientStart, target, start, axes, accumulate: beta != 0);
    }

    private sealed class Gradient(Tensor output, Tensor x, long start, StridedAxis[] axes) : Operation(output, x)
    {
        public override void Backward(Tape tape)
        {
            // An axis that was read backwards is written forwards from its other end.
            long first = start, gradientStart = 0;
            var reversed = new StridedAxis[axes.Length];
            for (int k = 0; k < axes.Length; k++)
            {
                StridedAxis axis = axes[k];
                reversed[k] = axis.Size == 1 ? new StridedAxis(1, 1, 1) : new StridedAxis(axis.Size, axis.TargetStride, axis.SourceStride);
                if (axis.SourceStride >= 0 || axis.Size < 2)
                    continue;
                first += (axis.Size - 1) * axis.SourceStride;
                gradientStart += (axis.Size - 1) * axis.TargetStride;
                reversed[k] = new StridedAxis(axis.Size, -axis.TargetStride, -axis.SourceStride);
            }

            tape.AddStrided(x, Output.Gradient!.Value, gradientStart, first, reversed);
        }
    }
}
