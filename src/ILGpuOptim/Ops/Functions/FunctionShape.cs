using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>
/// The shape of an element-wise function's result by NumPy's rule, as a rectangle in which each input is whole, one value per row, one per column, or a
/// scalar.
/// </summary>
internal sealed class FunctionShape
{
    private FunctionShape(int[] sizes, int split, Layout[] layouts)
    {
        (Sizes, Layouts) = (sizes, layouts);
        (Rows, Columns) = (Shapes.Length(sizes.AsSpan(0, split)), Shapes.Length(sizes.AsSpan(split)));
    }

    /// <summary>The result's sizes.</summary>
    public int[] Sizes { get; }

    /// <summary>The rows of the rectangle.</summary>
    public long Rows { get; }

    /// <summary>The columns of the rectangle.</summary>
    public long Columns { get; }

    /// <summary>The layout of each input in the rectangle.</summary>
    public Layout[] Layouts { get; }

    /// <summary>The shape of a function of inputs that <see cref="Broadcasting.Fit"/> has prepared: some split into rows and columns suits all of them.</summary>
    public static FunctionShape Of(Tensor[] inputs)
    {
        int[] sizes = [];
        foreach (Tensor input in inputs)
            sizes = Shapes.Broadcast("Apply", sizes, input.Sizes());

        // Rows of the last axis alone are the usual rectangle, and the only one of a scalar.
        int split = Math.Max(0, sizes.Length - 1);
        while (split > 0 && inputs.Any(input => LayoutOf(input, sizes, split) is null))
            split--;
        return new FunctionShape(sizes, split, [.. inputs.Select(input => LayoutOf(input, sizes, split)!.Value)]);
    }

    private static Layout? LayoutOf(Tensor input, int[] sizes, int split)
    {
        bool rows = true, columns = true, noRows = true, noColumns = true;
        for (int i = 0; i < sizes.Length; i++)
        {
            int own = i - (sizes.Length - input.Shape.Count), size = own < 0 ? 1 : input.Shape[own];
            bool same = size == sizes[i], one = size == 1;
            if (i < split)
                (rows, noRows) = (rows && same, noRows && one);
            else
                (columns, noColumns) = (columns && same, noColumns && one);
        }

        return rows && columns ? Layout.Full : noRows && noColumns ? Layout.Scalar : noRows && columns ? Layout.PerColumn : rows && noColumns ? Layout.PerRow : null;
    }
}
