using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// Matrix products for OpenCL devices that are CPUs. There a barrier is a loop over all threads of a group and
/// shared memory is ordinary memory, so a group has one thread. It keeps 8 rows × 16 columns of C in registers, or × 32 with AVX-512's registers, as
/// <see cref="CpuDevice"/> does. B is packed into panels of as many columns.
/// </summary>
internal static class GpuGemmPanels
{
    /// <summary>Rows of the register tile.</summary>
    public const int Rows = 8;

    /// <summary>The largest number of elements of C of a group: half of a first-level cache.</summary>
    public const int MaxSums = 4096;

    /// <summary>Steps of k per pass over a tile of C.</summary>
    private const int Depth = 256;

    /// <summary>Flags of the formats: A is packed too; panels have 32 columns.</summary>
    public const ulong PackedRows = 1UL << 62, TwoLines = 1UL << 61;

    /// <summary>Columns of a panel.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Width(ulong formats) => (formats & TwoLines) != 0 ? 2 * Line.Length : Line.Length;

    /// <summary>Steps of k that one group of a packing kernel copies.</summary>
    public const int PackDepth = 64;

    /// <summary>Copies B to panels [batch][panel][k][columns], zeros beyond the last column. One group for each panel and each 64 steps of k.</summary>
    public static void Pack(GpuGemmArguments x, ArrayView<float> packed, SpecializedValue<ulong> formats)
    {
        int blocks = (x.K + PackDepth - 1) / PackDepth;
        int block = Grid.IdxX % blocks, panel = Grid.IdxX / blocks % x.TilesN, batch = Grid.IdxX / blocks / x.TilesN;
        bool transpose = (formats.Value & 2) != 0;
        DType type = GpuGemmKernels.TypeOfB(formats.Value);
        int width = Width(formats.Value), first = block * PackDepth, end = first + PackDepth < x.K ? first + PackDepth : x.K, left = panel * width;
        long target = ((long)batch * x.TilesN + panel) * x.K * width, start = batch * x.BatchStrideB;
        for (int j = 0; j < width && transpose; j++)
        {
            for (int k = first; k < end; k++)
                packed[target + k * width + j] = GpuGemmKernels.Read(x.B, type, start, false, left + j, k, x.N, x.K, x.StrideB);
        }

        for (int k = first; k < end && !transpose; k++)
        {
            for (int j = 0; j < width; j++)
                packed[target + k * width + j] = GpuGemmKernels.Read(x.B, type, start, true, left + j, k, x.N, x.K, x.StrideB);
        }
    }

    /// <summary>Copies A to panels [batch][panel][k][8], zeros beyond the last row. One group for each panel and each 64 steps of k.</summary>
    public static void PackRows(GpuGemmArguments x, ArrayView<float> packed, int panels, SpecializedValue<ulong> formats)
    {
        int blocks = (x.K + PackDepth - 1) / PackDepth;
        int block = Grid.IdxX % blocks, panel = Grid.IdxX / blocks % panels, batch = Grid.IdxX / blocks / panels;
        bool transpose = (formats.Value & 1) != 0;
        DType type = (DType)(formats.Value >> 2 & 7);
        int first = block * PackDepth, end = first + PackDepth < x.K ? first + PackDepth : x.K, top = panel * Rows;
        long target = ((long)batch * panels + panel) * x.K * Rows, start = batch * x.BatchStrideA;
        for (int i = 0; i < Rows && !transpose; i++)
        {
            for (int k = first; k < end; k++)
                packed[target + k * Rows + i] = GpuGemmKernels.Read(x.A, type, start, false, top + i, k, x.M, x.K, x.StrideA);
        }

        for (int k = first; k < end && transpose; k++)
        {
            for (int i = 0; i < Rows; i++)
                packed[target + k * Rows + i] = GpuGemmKernels.Read(x.A, type, start, true, top + i, k, x.M, x.K, x.StrideA);
        }
    }

    /// <summary>
    /// One group for each panel and each <paramref name="rows"/> rows; panels vary fastest, so that rows of A stay in the cache. The
    /// group accumulates its part of C over strips of k, whose part of the panel stays in the first-level cache.
    /// </summary>
    public static void Run<R>(GpuGemmArguments x, ArrayView<float> packedA, ArrayView<float> packedB, int rows, R epilogue, SpecializedValue<ulong> formats)
        where R : unmanaged, IMap6
    {
        ArrayView<float> sums = LocalMemory.Allocate<float>(MaxSums), tile = LocalMemory.Allocate<float>(2 * Rows * Line.Length);
        bool two = (formats.Value & TwoLines) != 0;
        int width = Width(formats.Value), panel = Grid.IdxX % x.TilesN, chunk = Grid.IdxX / x.TilesN % x.TilesM, batch = Grid.IdxX / x.TilesN / x.TilesM;
        ArrayView<float> b = packedB.SubView(((long)batch * x.TilesN + panel) * x.K * width, (long)x.K * width);
        int left = panel * width, columns = x.N - left < width ? x.N - left : width;
        int first = chunk * rows, end = first + rows < x.M ? first + rows : x.M;
        for (int i = 0; i < rows * width; i++)
            sums[i] = 0;
        for (int depth = 0; depth < x.K; depth += Depth)
        {
            int last = depth + Depth < x.K ? depth + Depth : x.K;
            for (int top = first; top < end; top += Rows)
            {
                // The tile is indexed by constants only, so that it is kept in registers.
                ArrayView<float> collected = sums.SubView((top - first) * width, Rows * width);
                ArrayView<float> a = (formats.Value & PackedRows) == 0 ? packedA
                    : packedA.SubView(((long)batch * ((x.M + Rows - 1) / Rows) + top / Rows) * x.K * Rows, (long)x.K * Rows);
                Load(tile, collected, 0, width, two);
                Load(tile, collected, 1, width, two);
                Load(tile, collected, 2, width, two);
                Load(tile, collected, 3, width, two);
                Load(tile, collected, 4, width, two);
                Load(tile, collected, 5, width, two);
                Load(tile, collected, 6, width, two);
                Load(tile, collected, 7, width, two);
                for (int k = depth; k < last; k++)
                {
                    Row(tile, b, k, 0, width, two, A(x, a, formats.Value, batch, top, 0, k));
                    Row(tile, b, k, 1, width, two, A(x, a, formats.Value, batch, top, 1, k));
                    Row(tile, b, k, 2, width, two, A(x, a, formats.Value, batch, top, 2, k));
                    Row(tile, b, k, 3, width, two, A(x, a, formats.Value, batch, top, 3, k));
                    Row(tile, b, k, 4, width, two, A(x, a, formats.Value, batch, top, 4, k));
                    Row(tile, b, k, 5, width, two, A(x, a, formats.Value, batch, top, 5, k));
                    Row(tile, b, k, 6, width, two, A(x, a, formats.Value, batch, top, 6, k));
                    Row(tile, b, k, 7, width, two, A(x, a, formats.Value, batch, top, 7, k));
                }

                Store(tile, collected, 0, width, two);
                Store(tile, collected, 1, width, two);
                Store(tile, collected, 2, width, two);
                Store(tile, collected, 3, width, two);
                Store(tile, collected, 4, width, two);
                Store(tile, collected, 5, width, two);
                Store(tile, collected, 6, width, two);
                Store(tile, collected, 7, width, two);
            }
        }

        for (int row = first; row < end; row++)
        {
            for (int j = 0; j < columns; j++)
                GpuGemmKernels.Store(x, epilogue, formats.Value, batch, row, left + j, sums[(row - first) * width + j]);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Load(ArrayView<float> tile, ArrayView<float> collected, int row, int width, bool two)
    {
        Line.Copy(ref tile[2 * row * Line.Length], ref collected[row * width]);
        if (two)
            Line.Copy(ref tile[(2 * row + 1) * Line.Length], ref collected[row * width + Line.Length]);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Row(ArrayView<float> tile, ArrayView<float> b, int k, int row, int width, bool two, float a)
    {
        Line.Add(ref tile[2 * row * Line.Length], a, ref b[(long)k * width]);
        if (two)
            Line.Add(ref tile[(2 * row + 1) * Line.Length], a, ref b[(long)k * width + Line.Length]);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(ArrayView<float> tile, ArrayView<float> collected, int row, int width, bool two)
    {
        Line.Copy(ref collected[row * width], ref tile[2 * row * Line.Length]);
        if (two)
            Line.Copy(ref collected[row * width + Line.Length], ref tile[(2 * row + 1) * Line.Length]);
    }

    /// <summary>An element of A; rows beyond the last repeat it, and their results are not stored.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float A(GpuGemmArguments x, ArrayView<float> packed, ulong formats, int batch, int top, int i, int k)
    {
        if ((formats & PackedRows) != 0)
            return packed[(long)k * Rows + i];
        int row = top + i < x.M ? top + i : x.M - 1;
        bool transpose = (formats & 1) != 0;
        DType type = (DType)(formats >> 2 & 7);
        if (type != DType.F32)
            return GpuGemmKernels.Read(x.A, type, batch * x.BatchStrideA, transpose, row, k, x.M, x.K, x.StrideA);
        long index = batch * x.BatchStrideA + (transpose ? (long)k * x.StrideA + row : (long)row * x.StrideA + k);
        return x.A.Cast<float>()[index];
    }
}
