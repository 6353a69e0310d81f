using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// Maps with sums for OpenCL devices that are CPUs. A group has one thread, which takes some rows of a strip of columns and keeps
/// a total per column. The iterations of the innermost loop, along a row, are independent, so that the compiler vectorizes it.
/// </summary>
internal static class GpuMapColumns
{
    /// <summary>Columns of a strip.</summary>
    public const int Width = 256;

    /// <summary>Rows of a group: few enough to occupy all cores, many enough to keep partial sums few.</summary>
    public static int RowsFor(long rows) => (int)Math.Clamp(rows / 32, 8, 256);

    /// <summary>As <see cref="GpuMapKernels.MapSums"/>, with tiles of <paramref name="height"/> rows.</summary>
    public static void Run<R>(GpuArguments x, int height, R rule, SpecializedValue<ulong> formats) where R : unmanaged, IMap6
    {
        ArrayView<float> a = TotalsOf<R>(0), b = TotalsOf<R>(1), c = TotalsOf<R>(2), d = TotalsOf<R>(3), e = TotalsOf<R>(4), f = TotalsOf<R>(5);
        ArrayView<float> rowA = TermsOf<R>(0, formats.Value), rowB = TermsOf<R>(1, formats.Value), rowC = TermsOf<R>(2, formats.Value);
        ArrayView<float> rowD = TermsOf<R>(3, formats.Value), rowE = TermsOf<R>(4, formats.Value), rowF = TermsOf<R>(5, formats.Value);
        int tileRow = Grid.IdxX / x.Across, tileColumn = Grid.IdxX - tileRow * x.Across;
        bool flat = GpuFormats.IsFlat(formats.Value);
        for (int j = 0; j < Width; j++)
        {
            Set<R>(0, a, j, Start<R>(0));
            Set<R>(1, b, j, Start<R>(1));
            Set<R>(2, c, j, Start<R>(2));
            Set<R>(3, d, j, Start<R>(3));
            Set<R>(4, e, j, Start<R>(4));
            Set<R>(5, f, j, Start<R>(5));
        }

        for (int i = 0; i < height; i++)
        {
            long line = (long)tileRow * height + i, row = flat ? 0 : line, left = (flat ? line : tileColumn) * Width;
            int width = row < x.Rows && left < x.Columns ? (int)(x.Columns - left < Width ? x.Columns - left : Width) : 0;
            for (int j = 0; j < width; j++)
            {
                F1 va = new(Start<R>(0)), vb = new(Start<R>(1)), vc = new(Start<R>(2)), vd = new(Start<R>(3)), ve = new(Start<R>(4)), vf = new(Start<R>(5));
                GpuMapKernels.Element(x, rule, formats.Value, row, left + j, ref va, ref vb, ref vc, ref vd, ref ve, ref vf);
                Add<R>(0, a, rowA, formats.Value, j, va);
                Add<R>(1, b, rowB, formats.Value, j, vb);
                Add<R>(2, c, rowC, formats.Value, j, vc);
                Add<R>(3, d, rowD, formats.Value, j, vd);
                Add<R>(4, e, rowE, formats.Value, j, ve);
                Add<R>(5, f, rowF, formats.Value, j, vf);
            }

            if (width > 0)
            {
                FinishRow<R>(x, x.A, 0, rowA, formats.Value, row, tileColumn, width);
                FinishRow<R>(x, x.B, 1, rowB, formats.Value, row, tileColumn, width);
                FinishRow<R>(x, x.C, 2, rowC, formats.Value, row, tileColumn, width);
                FinishRow<R>(x, x.D, 3, rowD, formats.Value, row, tileColumn, width);
                FinishRow<R>(x, x.E, 4, rowE, formats.Value, row, tileColumn, width);
                FinishRow<R>(x, x.F, 5, rowF, formats.Value, row, tileColumn, width);
            }
        }

        Finish<R>(x, x.A, 0, a, formats.Value, tileRow, tileColumn);
        Finish<R>(x, x.B, 1, b, formats.Value, tileRow, tileColumn);
        Finish<R>(x, x.C, 2, c, formats.Value, tileRow, tileColumn);
        Finish<R>(x, x.D, 3, d, formats.Value, tileRow, tileColumn);
        Finish<R>(x, x.E, 4, e, formats.Value, tileRow, tileColumn);
        Finish<R>(x, x.F, 5, f, formats.Value, tileRow, tileColumn);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Start<R>(int k) where R : unmanaged, IRule => R.Access.At(k) == Slot.Max ? float.NegativeInfinity : 0f;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ArrayView<float> TotalsOf<R>(int k) where R : unmanaged, IRule => R.Access.Reduces(k) ? LocalMemory.Allocate<float>(Width) : default;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ArrayView<float> TermsOf<R>(int k, ulong formats) where R : unmanaged, IRule => AddsRows<R>(k, formats) ? LocalMemory.Allocate<float>(Width) : default;

    /// <summary>True if an operand receives the sum of each row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static bool AddsRows<R>(int k, ulong formats) where R : unmanaged, IRule
    {
        Layout layout = GpuFormats.LayoutOf(GpuFormats.At(formats, k));
        return R.Access.Reduces(k) && (layout == Layout.PerRow || layout == Layout.RowsAndColumns);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Set<R>(int k, ArrayView<float> totals, int j, float value) where R : unmanaged, IRule
    {
        if (R.Access.Reduces(k))
            totals[j] = value;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add<R>(int k, ArrayView<float> totals, ArrayView<float> terms, ulong formats, int j, F1 value) where R : unmanaged, IRule
    {
        if (R.Access.Reduces(k))
            totals[j] = GpuMapKernels.Join(R.Access.At(k) == Slot.Max, totals[j], value.Value);
        if (AddsRows<R>(k, formats))
            terms[j] = value.Value;
    }

    /// <summary>Stores the partial sum of a row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void FinishRow<R>(GpuArguments x, GpuOperand sums, int k, ArrayView<float> terms, ulong formats, long row, int tileColumn, int width)
        where R : unmanaged, IRule
    {
        if (!AddsRows<R>(k, formats))
            return;
        for (int j = width; j < Width; j++)
            terms[j] = Start<R>(k);
        sums.Data.Cast<float>()[tileColumn * x.Rows + row] = Total(terms, R.Access.At(k) == Slot.Max);
    }

    /// <summary>Stores a strip's sums over its rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Finish<R>(GpuArguments x, GpuOperand sums, int k, ArrayView<float> totals, ulong formats, int tileRow, int tileColumn)
        where R : unmanaged, IRule
    {
        Layout layout = GpuFormats.LayoutOf(GpuFormats.At(formats, k));
        if (!R.Access.Reduces(k) || layout == Layout.PerRow)
            return;
        if (layout == Layout.Scalar)
        {
            sums.Data.Cast<float>()[Grid.IdxX] = Total(totals, R.Access.At(k) == Slot.Max);
            return;
        }

        long left = (long)tileColumn * Width;
        for (int j = 0; j < Width && left + j < x.Columns; j++)
            sums.Factor[tileRow * x.Columns + left + j] = totals[j];
    }

    /// <summary>The sum or maximum of a strip by pairwise reduction, in place.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Total(ArrayView<float> terms, bool largest)
    {
        for (int width = Width / 2; width > 0; width /= 2)
        {
            for (int j = 0; j < width; j++)
                terms[j] = GpuMapKernels.Join(largest, terms[j], terms[j + width]);
        }

        return terms[0];
    }
}
