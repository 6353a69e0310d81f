using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Concatenation.</summary>
public static class ConcatOp
{
    /// <summary>Joins tensors along an axis.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="parts">At least one; all sizes except that of the axis agree.</param>
    /// <param name="axis">The axis; -1 is the last.</param>
    /// <exception cref="ArgumentException">The shapes do not fit.</exception>
    public static Tensor Concat(this Tape tape, ReadOnlySpan<Tensor> parts, int axis = 0)
    {
        if (parts.IsEmpty)
            throw new ArgumentException("Concat: no tensors are given", nameof(parts));
        axis = Shapes.Axis("Concat", parts[0], axis);
        int[] shape = [.. parts[0].Sizes()];
        long total = 0;
        foreach (Tensor part in parts)
        {
            Shapes.NotNull("Concat", part);
            bool fits = part.Shape.Count == shape.Length;
            for (int k = 0; fits && k < shape.Length; k++)
                fits = k == axis || part.Shape[k] == shape[k];
            if (!fits)
                throw new ArgumentException($"Concat: {parts[0].Text()} and {part.Text()} cannot be joined along axis {axis}: all other sizes must agree", nameof(parts));
            total += part.Shape[axis];
        }

        shape[axis] = Shapes.Size("Concat", parts[0], axis, total);
        var inputs = new Tensor[parts.Length];
        for (int i = 0; i < inputs.Length; i++)
            inputs[i] = tape.Wide(parts[i]);
        Tensor output = tape.Output(Shapes.Result("Concat", shape), inputs);
        long start = 0, stride = Shapes.Strides(shape)[axis];
        foreach (Tensor part in inputs)
        {
            if (part.Length > 0)
                tape.Device.CopyStrided(part.Data, 0, output.Data, start, Axes(part, output, toOutput: true));
            start += part.Shape[axis] * stride;
        }

        tape.Record(new Gradient(output, inputs, axis));
        return output;
    }

    /// <summary>Joins tensors of one shape along a new axis.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="parts">At least one.</param>
    /// <param name="axis">The position of the new axis in the result; -1 makes it the last.</param>
    /// <exception cref="ArgumentException">The shapes differ.</exception>
    public static Tensor Stack(this Tape tape, ReadOnlySpan<Tensor> parts, int axis = 0)
    {
        var rows = new Tensor[parts.Length];
        for (int i = 0; i < rows.Length; i++)
        {
            Shapes.NotNull("Stack", parts[i], "a part");
            if (!parts[i].Shape.SequenceEqual(parts[0].Shape))
                throw new ArgumentException($"Stack: {parts[0].Text()} and {parts[i].Text()} have different shapes", nameof(parts));
            rows[i] = tape.Unsqueeze(parts[i], axis);
        }

        return tape.Concat(rows, axis);
    }

    /// <summary>The axes of a copy between a part and the whole, in either direction.</summary>
    private static StridedAxis[] Axes(Tensor part, Tensor whole, bool toOutput)
    {
        int[] sizes = part.Sizes();
        long[] own = Shapes.Strides(sizes), others = Shapes.Strides(whole.Sizes());
        var axes = new StridedAxis[sizes.Length];
        for (int k = 0; k < axes.Length; k++)
            axes[k] = toOutput ? new StridedAxis(sizes[k], own[k], others[k]) : new StridedAxis(sizes[k], others[k], own[k]);
        return axes;
    }

    private sealed class Gradient(Tensor output, Tensor[] parts, int axis) : Operation(output, parts)
    {
        public override void Backward(Tape tape)
        {
            long start = 0, stride = Shapes.Strides(Output.Sizes())[axis];
            foreach (Tensor? input in Inputs)
            {
                Tensor part = input!;
                if (part.RequiresGradient)
                    tape.AddStrided(part, Output.Gradient!.Value, start, 0, Axes(part, Output, toOutput: false));
                start += part.Shape[axis] * stride;
            }
        }
    }
}
