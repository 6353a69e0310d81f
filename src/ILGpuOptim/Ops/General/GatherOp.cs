using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Single elements along an axis by index.</summary>
public static class GatherOp
{
    /// <summary>result[…, j, …] = x[…, indices[…, j, …], …] along an axis.</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Any shape but that of a scalar.</param>
    /// <param name="axis">The axis; -1 is the last.</param>
    /// <param name="indices">Indices into the axis, in the order of the result, whose other sizes are x's.</param>
    /// <returns>x's shape with another size of the axis.</returns>
    /// <exception cref="ArgumentException">The number of indices does not fit x's other sizes.</exception>
    /// <exception cref="ArgumentOutOfRangeException">An index lies outside the axis.</exception>
    public static Tensor Gather(this Tape tape, Tensor x, int axis, ReadOnlySpan<int> indices)
    {
        axis = Shapes.Axis("Gather", x, axis);
        int[] shape = WithIndices("Gather", x, axis, indices);
        bool[] meant = Shapes.Axes("Gather", x, [axis]);
        Tensor moved = tape.MoveToEnd(tape.Wide(x), meant);
        var places = new RowIndices(shape, axis, x.Shape[axis], indices);
        Tensor output = tape.Output([.. moved.Sizes()[..^1], shape[axis]], moved);
        if (output.Length > 0)
            places.Gather(tape, moved.Data, output.Data, accumulate: false);
        tape.Record(new GatherGradient(output, moved, places));
        return tape.MoveBack(output, meant);
    }

    /// <summary>x with the elements of a source added at given indices: result[…, indices[…, j, …], …] += source[…, j, …].</summary>
    /// <param name="tape">The tape that records the operation.</param>
    /// <param name="x">Any shape but that of a scalar.</param>
    /// <param name="axis">The axis; -1 is the last.</param>
    /// <param name="indices">Indices into x's axis, in the order of the source.</param>
    /// <param name="source">x's shape with another size of the axis.</param>
    /// <exception cref="ArgumentException">The shapes do not fit.</exception>
    /// <exception cref="ArgumentOutOfRangeException">An index lies outside the axis.</exception>
    public static Tensor ScatterAdd(this Tape tape, Tensor x, int axis, ReadOnlySpan<int> indices, Tensor source)
    {
        Shapes.NotNull("ScatterAdd", source);
        axis = Shapes.Axis("ScatterAdd", x, axis);
        int[] shape = WithIndices("ScatterAdd", x, axis, indices);
        if (!source.Shape.SequenceEqual(shape))
            throw new ArgumentException($"ScatterAdd: {indices.Length} indices into axis {axis} of {x.Text()} require a source of {Shapes.Text(shape)}, not {source.Text()}", nameof(source));
        bool[] meant = Shapes.Axes("ScatterAdd", x, [axis]);
        var places = new RowIndices(shape, axis, x.Shape[axis], indices);
        x = tape.MoveToEnd(tape.Wide(x), meant);
        source = tape.MoveToEnd(tape.Wide(source), meant);
        Tensor output = tape.Output(x.Sizes(), x, source);
        tape.Device.Copy(x.Data, output.Data);
        places.Scatter(tape, source.Data, output.Data);
        tape.Record(new ScatterGradient(output, x, source, places));
        return tape.MoveBack(output, meant);
    }

    private static int[] WithIndices(string operation, Tensor x, int axis, ReadOnlySpan<int> indices)
    {
        if (x.Length > int.MaxValue)
            throw new ArgumentException($"{operation}: {x.Text()} has more than 2³¹ - 1 elements, which 32-bit indices cannot address", nameof(x));
        IndexSelectOp.Check(operation, x, axis, indices);
        int[] shape = [.. x.Sizes()];
        shape[axis] = 1;
        long others = Shapes.Length(shape);
        if (others == 0 ? indices.Length > 0 : indices.Length % others != 0)
            throw new ArgumentException($"{operation}: {indices.Length} indices cannot be divided evenly among the {others} lines of {x.Text()} along axis {axis}", nameof(indices));
        shape[axis] = others == 0 ? 0 : (int)(indices.Length / others);
        return shape;
    }

    /// <summary>Indices of rows along the axis, in the order of a tensor whose axis was moved to the end.</summary>
    private sealed class RowIndices
    {
        private readonly int[] columns;
        private readonly int size, perRow;

        public RowIndices(int[] shape, int axis, int size, ReadOnlySpan<int> indices)
        {
            (this.size, perRow) = (size, shape[axis]);
            columns = new int[indices.Length];
            int inner = (int)Shapes.Length(shape.AsSpan(axis + 1));
            for (int i = 0; i < indices.Length; i++)
            {
                // Index i is that of (outer, j, rest); its row is (outer, rest).
                int outer = i / (perRow * inner), j = i / inner % perRow, row = outer * inner + i % inner;
                columns[row * perRow + j] = indices[i];
            }
        }

        /// <summary>target[row, j] (+)= table[row, index of (row, j)].</summary>
        public void Gather(Tape tape, in Block table, in Block target, bool accumulate)
        {
            var elements = new int[columns.Length];
            for (int i = 0; i < elements.Length; i++)
                elements[i] = i / perRow * size + columns[i];
            tape.Device.Gather(table, tape.Indices(elements), target, 1, accumulate);
        }

        /// <summary>target[row, index of (row, j)] += source[row, j], in the order of j.</summary>
        public void Scatter(Tape tape, in Block source, in Block target)
        {
            if (columns.Length > 0)
                tape.Device.AddAt(target, tape.Indices(columns), source, size, perRow);
        }
    }

    private sealed class GatherGradient(Tensor output, Tensor x, RowIndices places) : Operation(output, x)
    {
        public override void Backward(Tape tape)
        {
            Block target = tape.GradientOf(x, out float beta);
            if (beta == 0)
                tape.Device.Fill(target, 0);
            places.Scatter(tape, Output.Gradient!.Value, target);
        }
    }

    private sealed class ScatterGradient(Tensor output, Tensor x, Tensor source, RowIndices places) : Operation(output, x, source)
    {
        public override void Backward(Tape tape)
        {
            if (source.RequiresGradient && source.Length > 0)
            {
                Block target = tape.GradientOf(source, out float beta);
                places.Gather(tape, Output.Gradient!.Value, target, accumulate: beta != 0);
            }

            tape.PassGradient(Output, x);
        }
    }
}
