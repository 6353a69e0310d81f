namespace ILGpuOptim.Ops;

/// <summary>The same elements under another shape. The result shares the input's memory.</summary>
public static class ReshapeOp
{
    /// <summary>The elements in their order under another shape.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Any shape.</param>
    /// <param name="shape">Sizes with the same number of elements; one may be -1 and is derived from the others.</param>
    /// <exception cref="ArgumentException">The numbers of elements differ.</exception>
    public static Tensor Reshape(this Tape tape, Tensor x, params ReadOnlySpan<int> shape)
    {
        x = tape.Floats(x);
        int[] sizes = shape.ToArray();
        int free = Array.IndexOf(sizes, -1);
        if (free >= 0)
            sizes[free] = 1;
        Shapes.Result("Reshape", sizes);
        if (free >= 0)
        {
            long others = Shapes.Length(sizes);
            if (others <= 0 || x.Length % others != 0)
                throw new ArgumentException($"Reshape: {x.Text()} has {x.Length} elements, which cannot be divided into {Shapes.Text(shape)}", nameof(shape));
            sizes[free] = Shapes.Size("Reshape", x, free, x.Length / others);
        }

        if (sizes.Any(size => size < 0) || Shapes.Length(sizes) != x.Length)
            throw new ArgumentException($"Reshape: {x.Text()} has {x.Length} elements, which do not fill {Shapes.Text(shape)}", nameof(shape));
        Tensor output = tape.View(x, sizes);
        tape.Record(new Gradient(output, x));
        return output;
    }

    /// <summary>Joins the axes from <paramref name="first"/> to <paramref name="last"/> (inclusive) into one.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such axis.</exception>
    public static Tensor Flatten(this Tape tape, Tensor x, int first = 0, int last = -1)
    {
        if (x.Shape.Count == 0)
            return tape.Reshape(x, 1);
        int start = Shapes.Axis("Flatten", x, first), end = Shapes.Axis("Flatten", x, last);
        if (end < start)
            throw new ArgumentException($"Flatten: axis {last} of {x.Text()} comes before axis {first}", nameof(last));
        int[] sizes = x.Sizes();
        int joined = Shapes.Size("Flatten", x, start, Shapes.Length(sizes.AsSpan(start, end - start + 1), "Flatten"));
        return tape.Reshape(x, [.. sizes[..start], joined, .. sizes[(end + 1)..]]);
    }

    /// <summary>Removes axes of size 1: the given ones, or all if none is given.</summary>
    /// <exception cref="ArgumentException">A given axis has another size.</exception>
    public static Tensor Squeeze(this Tape tape, Tensor x, params ReadOnlySpan<int> axes)
    {
        bool[] meant = Shapes.Axes("Squeeze", x, axes);
        int[] sizes = x.Sizes();
        for (int k = 0; k < sizes.Length; k++)
        {
            if (meant[k] && sizes[k] != 1 && !axes.IsEmpty)
                throw new ArgumentException($"Squeeze: axis {k} of {x.Text()} has {sizes[k]} elements", nameof(axes));
            meant[k] &= sizes[k] == 1;
        }

        return tape.Reshape(x, Shapes.Reduced(sizes, meant, keepDims: false));
    }

    /// <summary>Inserts an axis of size 1.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Any shape.</param>
    /// <param name="axis">Its position in the result; -1 makes it the last.</param>
    public static Tensor Unsqueeze(this Tape tape, Tensor x, int axis)
    {
        int place = Shapes.Axis("Unsqueeze", x.Text(), x.Shape.Count + 1, axis);
        int[] sizes = x.Sizes();
        return tape.Reshape(x, [.. sizes[..place], 1, .. sizes[place..]]);
    }

    private sealed class Gradient(Tensor output, Tensor x) : Operation(output, x)
    {
        public override void Backward(Tape tape) => tape.PassGradient(Output, x);
    }
}
