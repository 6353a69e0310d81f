using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>
/// The shape of an element-wise function's result by NumPy's rule (sizes are aligned at the last; a size of 1 repeats), seen as a rectangle in which each
/// input is whole, one number per row, one per column, or a scalar.
/// </summary>
internal sealed class FunctionShape
{
    private FunctionShape(int[] sizes, int split, Layout?[] layouts)
    {
        (Sizes, Layouts) = (sizes, layouts);
        (Rows, Columns) = (Product(sizes.AsSpan(0, split)), Product(sizes.AsSpan(split)));
    }

    /// <summary>The result's sizes.</summary>
    public int[] Sizes { get; }

    /// <summary>The rectangle.</summary>
    public long Rows { get; }

    /// <inheritdoc cref="Rows"/>
    public long Columns { get; }

    /// <summary>How each input lies in the rectangle; null where it must be repeated in memory first.</summary>
    public Layout?[] Layouts { get; }

    /// <summary>The shape of a function of these inputs.</summary>
    /// <exception cref="ArgumentException">The shapes cannot be broadcast to each other.</exception>
    public static FunctionShape Of(params ReadOnlySpan<Tensor> inputs)
    {
        int rank = 0;
        foreach (Tensor input in inputs)
            rank = Math.Max(rank, input.Shape.Count);
        var sizes = new int[rank];
        Array.Fill(sizes, 1);
        foreach (Tensor input in inputs)
        {
            for (int i = 0; i < rank; i++)
            {
                int size = SizeAt(input, i, rank);
                if (size != 1 && sizes[i] != 1 && size != sizes[i])
                    throw new ArgumentException($"shapes {Names(inputs)} cannot be broadcast to each other: sizes {sizes[i]} and {size} differ and neither is 1", nameof(inputs));
                sizes[i] = size == 1 ? sizes[i] : size;
            }
        }

        // The split between rows and columns that suits most inputs; the last axis alone is the usual one.
        FunctionShape? best = null;
        int fewest = int.MaxValue;
        for (int split = rank - 1; split >= 0 || best is null; split--)
        {
            var layouts = new Layout?[inputs.Length];
            int missing = 0;
            for (int k = 0; k < inputs.Length; k++)
            {
                layouts[k] = LayoutOf(inputs[k], sizes, Math.Max(split, 0));
                missing += layouts[k] is null ? 1 : 0;
            }

            if (missing < fewest)
                (best, fewest) = (new FunctionShape(sizes, Math.Max(split, 0), layouts), missing);
        }

        return best!;
    }

    private static Layout? LayoutOf(Tensor input, int[] sizes, int split)
    {
        bool rows = true, columns = true, noRows = true, noColumns = true;
        for (int i = 0; i < sizes.Length; i++)
        {
            int size = SizeAt(input, i, sizes.Length);
            bool same = size == sizes[i], one = size == 1;
            if (i < split)
                (rows, noRows) = (rows && same, noRows && one);
            else
                (columns, noColumns) = (columns && same, noColumns && one);
        }

        return rows && columns ? Layout.Full : noRows && noColumns ? Layout.Scalar : noRows && columns ? Layout.PerColumn : rows && noColumns ? Layout.PerRow : null;
    }

    private static int SizeAt(Tensor input, int axis, int rank)
    {
        int own = axis - (rank - input.Shape.Count);
        return own < 0 ? 1 : input.Shape[own];
    }

    private static long Product(ReadOnlySpan<int> sizes)
    {
        long result = 1;
        foreach (int size in sizes)
            result *= size;
        return result;
    }

    private static string Names(ReadOnlySpan<Tensor> inputs)
    {
        var names = new List<string>();
        foreach (Tensor input in inputs)
            names.Add(input.Shape.Count == 0 ? "scalar" : input.ToString());
        return string.Join(", ", names);
    }
}
