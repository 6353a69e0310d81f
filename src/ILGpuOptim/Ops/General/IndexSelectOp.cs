using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Whole slices of an axis by index.</summary>
public static class IndexSelectOp
{
    /// <summary>The slices of an axis at given indices, in their order.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Any shape but that of a scalar.</param>
    /// <param name="axis">The axis; -1 is the last.</param>
    /// <param name="indices">Indices into the axis; they may repeat.</param>
    /// <returns>x's shape with one element along the axis for each index.</returns>
    /// <exception cref="ArgumentOutOfRangeException">An index lies outside the axis.</exception>
    public static Tensor IndexSelect(this Tape tape, Tensor x, int axis, ReadOnlySpan<int> indices)
    {
        Check("IndexSelect", x, Shapes.Axis("IndexSelect", x, axis), indices);
        return tape.IndexSelect(x, axis, tape.Indices(indices));
    }

    /// <summary>The same with indices on the device. If only a GPU knows them, an index outside the axis gives NaN.</summary>
    /// <inheritdoc cref="IndexSelect(Tape, Tensor, int, ReadOnlySpan{int})"/>
    public static Tensor IndexSelect(this Tape tape, Tensor x, int axis, Block indices)
    {
        axis = Shapes.Axis("IndexSelect", x, axis);
        x = tape.MoveToFront(tape.Wide(x), axis);
        int[] shape = [.. x.Sizes()];
        shape[0] = Shapes.Size("IndexSelect", x, 0, indices.Length);
        Tensor output = tape.Output(Shapes.Result("IndexSelect", shape), x);
        long columns = Shapes.Length(shape.AsSpan(1));
        if (output.Length > 0)
            tape.Device.Gather(x.Data, indices, output.Data, columns, accumulate: false);
        tape.Record(new SelectGradient(output, x, indices, columns));
        return tape.MoveFromFront(output, axis);
    }

    /// <summary>x with the slices of a source added at given indices; equal indices add up in their order.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Any shape but that of a scalar.</param>
    /// <param name="axis">The axis; -1 is the last.</param>
    /// <param name="indices">Indices into x's axis, one for each slice of the source.</param>
    /// <param name="source">x's shape with one element along the axis for each index.</param>
    /// <exception cref="ArgumentException">The shapes do not fit.</exception>
    /// <exception cref="ArgumentOutOfRangeException">An index lies outside the axis.</exception>
    public static Tensor IndexAdd(this Tape tape, Tensor x, int axis, ReadOnlySpan<int> indices, Tensor source)
    {
        Shapes.NotNull("IndexAdd", source);
        axis = Shapes.Axis("IndexAdd", x, axis);
        Check("IndexAdd", x, axis, indices);
        int[] expected = [.. x.Sizes()];
        expected[axis] = indices.Length;
        if (!source.Shape.SequenceEqual(expected))
            throw new ArgumentException($"IndexAdd: {indices.Length} indices into axis {axis} of {x.Text()} require a source of {Shapes.Text(expected)}, not {source.Text()}", nameof(source));
        x = tape.MoveToFront(tape.Wide(x), axis);
        source = tape.MoveToFront(tape.Wide(source), axis);
        Tensor output = tape.Output(x.Sizes(), x, source);
        Block places = tape.Indices(indices);
        long columns = Shapes.Length(x.Sizes().AsSpan(1));
        tape.Device.Copy(x.Data, output.Data);
        if (source.Length > 0)
            tape.Device.ScatterAdd(source.Data, places, output.Data, columns);
        tape.Record(new AddGradient(output, x, source, places, columns));
        return tape.MoveFromFront(output, axis);
    }

    /// <summary>One-hot rows: zeros with a one at each index. A negative index gives a row of zeros.</summary>
    /// <param name="tape">The tape that allocates the result.</param>
    /// <param name="indices">Class indices below <paramref name="classes"/>.</param>
    /// <param name="classes">The length of a row.</param>
    /// <returns>indices × classes.</returns>
    /// <exception cref="ArgumentOutOfRangeException">An index is not below the number of classes.</exception>
    public static Tensor OneHot(this Tape tape, ReadOnlySpan<int> indices, int classes)
    {
        foreach (int index in indices)
        {
            if (index >= classes)
                throw new ArgumentOutOfRangeException(nameof(indices), index, $"OneHot: index {index} is not below the number of classes, {classes}");
        }

        Tensor output = tape.Zeros(indices.Length, classes);
        if (output.Length == 0)
            return output;
        Block ones = tape.Scratch(indices.Length);
        tape.Device.Fill(ones, 1);
        tape.Device.AddAt(output.Data, tape.Indices(indices), ones, classes);
        tape.Release(ones);
        return output;
    }

    /// <summary>Fails unless every index lies within the axis.</summary>
    internal static void Check(string operation, Tensor x, int axis, ReadOnlySpan<int> indices)
    {
        foreach (int index in indices)
        {
            if (index < 0 || index >= x.Shape[axis])
                throw new ArgumentOutOfRangeException(nameof(indices), index, $"{operation}: index {index} lies outside axis {axis} of {x.Text()}");
        }
    }

    private static Tensor MoveToFront(this Tape tape, Tensor x, int axis) =>
        tape.Permute(x, [axis, .. Enumerable.Range(0, x.Shape.Count).Where(k => k != axis)]);

    private static Tensor MoveFromFront(this Tape tape, Tensor x, int axis) =>
        tape.Permute(x, [.. Enumerable.Range(1, axis), 0, .. Enumerable.Range(axis + 1, x.Shape.Count - axis - 1)]);

    private sealed class SelectGradient(Tensor output, Tensor x, Block indices, long columns) : Operation(output, x)
    {
        public override void Backward(Tape tape)
        {
            Block target = tape.GradientOf(x, out float beta);
            if (beta == 0)
                tape.Device.Fill(target, 0);
            if (Output.Length > 0)
                tape.Device.ScatterAdd(Output.Gradient!.Value, indices, target, columns);
        }
    }

    private sealed class AddGradient(Tensor output, Tensor x, Tensor source, Block indices, long columns) : Operation(output, x, source)
    {
        public override void Backward(Tape tape)
        {
            if (source.RequiresGradient && source.Length > 0)
            {
                Block target = tape.GradientOf(source, out float beta);
                tape.Device.Gather(Output.Gradient!.Value, indices, target, columns, accumulate: beta != 0);
            }

            tape.PassGradient(Output, x);
        }
    }
}
