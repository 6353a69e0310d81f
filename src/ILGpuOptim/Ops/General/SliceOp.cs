namespace ILGpuOptim.Ops;

/// <summary>
/// Slices of a tensor along an axis. Without a step, slices along the first axis share the memory of the tensor, as do all whose elements are contiguous there;
/// others are copies.
/// </summary>
public static class SliceOp
{
    /// <summary>A range of an axis.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Any shape.</param>
    /// <param name="axis">The axis; -1 is the last.</param>
    /// <param name="range">The range, such as <c>1..^1</c>.</param>
    /// <param name="step">The distance of the elements taken, from the first of the range on; if negative, from the last of the range backwards.</param>
    /// <exception cref="ArgumentOutOfRangeException">The range does not lie within the axis, or the step is 0.</exception>
    public static Tensor Slice(this Tape tape, Tensor x, int axis, Range range, int step = 1)
    {
        axis = Shapes.Axis("Slice", x, axis);
        int[] shape = [.. x.Sizes()];
        int size = shape[axis], first = range.Start.GetOffset(size), end = range.End.GetOffset(size);
        if (first < 0 || end > size || first > end)
            throw new ArgumentOutOfRangeException(nameof(range), range, $"Slice: {range} does not lie within axis {axis} of {x.Text()}");
        if (step is 0 or int.MinValue)
            throw new ArgumentOutOfRangeException(nameof(step), step, "Slice: the step must not be 0");
        x = tape.Wide(x);
        long[] strides = Shapes.Strides(shape);
        long start = (step > 0 ? first : end - 1L) * strides[axis];
        shape[axis] = (int)((end - first + Math.Abs((long)step) - 1) / Math.Abs((long)step));
        strides[axis] *= step;
        return tape.StridedRead(x, start, shape, strides);
    }

    /// <summary>One index of an axis; the result lacks the axis.</summary>
    /// <exception cref="ArgumentOutOfRangeException">There is no such axis or index.</exception>
    public static Tensor Select(this Tape tape, Tensor x, int axis, Index index)
    {
        axis = Shapes.Axis("Select", x, axis);
        int place = index.GetOffset(x.Shape[axis]);
        if (place < 0 || place >= x.Shape[axis])
            throw new ArgumentOutOfRangeException(nameof(index), index, $"Select: axis {axis} of {x.Text()} has no index {index}");
        return tape.Squeeze(tape.Slice(x, axis, place..(place + 1)), axis);
    }

    /// <summary>Reverses axes; all if none is given.</summary>
    public static Tensor Flip(this Tape tape, Tensor x, params ReadOnlySpan<int> axes)
    {
        bool[] meant = Shapes.Axes("Flip", x, axes);
        x = tape.Wide(x);
        int[] shape = x.Sizes();
        long[] strides = Shapes.Strides(shape);
        long start = 0;
        for (int k = 0; k < shape.Length; k++)
        {
            if (!meant[k])
                continue;
            start += (shape[k] - 1) * strides[k];
            strides[k] = -strides[k];
        }

        return tape.StridedRead(x, start, shape, strides);
    }

    /// <summary>Splits an axis into parts of given sizes.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Any shape.</param>
    /// <param name="axis">The axis; -1 is the last.</param>
    /// <param name="sizes">The sizes of the parts, which add up to the axis.</param>
    /// <exception cref="ArgumentException">They do not.</exception>
    public static Tensor[] Split(this Tape tape, Tensor x, int axis, params ReadOnlySpan<int> sizes)
    {
        axis = Shapes.Axis("Split", x, axis);
        long total = 0;
        foreach (int size in sizes)
            total += size < 0 ? throw new ArgumentOutOfRangeException(nameof(sizes), size, "Split: the size of a part is negative") : size;
        if (total != x.Shape[axis])
            throw new ArgumentException($"Split: parts of {string.Join(", ", sizes.ToArray())} add up to {total}; axis {axis} of {x.Text()} has {x.Shape[axis]}", nameof(sizes));
        var parts = new Tensor[sizes.Length];
        for (int k = 0, first = 0; k < parts.Length; first += sizes[k++])
            parts[k] = tape.Slice(x, axis, first..(first + sizes[k]));
        return parts;
    }

    /// <summary>Splits an axis into parts of equal size.</summary>
    /// <exception cref="ArgumentException">Their number does not divide the axis.</exception>
    public static Tensor[] Chunk(this Tape tape, Tensor x, int count, int axis = 0)
    {
        axis = Shapes.Axis("Chunk", x, axis);
        int size = x.Shape[axis];
        if (count < 1 || size % count != 0)
            throw new ArgumentException($"Chunk: axis {axis} of {x.Text()} cannot be split into {count} equal parts", nameof(count));
        var sizes = new int[count];
        Array.Fill(sizes, size / count);
        return tape.Split(x, axis, sizes);
    }
}
