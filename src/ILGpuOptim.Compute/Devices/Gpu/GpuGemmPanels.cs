using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// Matrix products for OpenCL devices that are processors. There a barrier is a loop over all threads of a group and
/// shared memory is memory, so a group is one thread: it keeps 8 rows × 16 columns of C in registers, as
/// our own processor kernels do, and B lies packed in panels of 16 columns, k after k.
/// </summary>
internal static class GpuGemmPanels
{
    /// <summary>Rows of the register tile.</summary>
    public const int Rows = 8;

    /// <summary>The most rows of a group: their part of C lies in half of a first-level cache.</summary>
    public const int MostRows = 256;

    /// <summary>Steps of k between two visits to the same tile of C.</summary>
    private const int Depth = 256;

    /// <summary>Of the formats: A is packed too.</summary>
    private const ulong PackedRows = 1UL << 62;

    /// <summary>Steps of k that one group of the packing kernel moves.</summary>
    public const int PackDepth = 64;

    /// <summary>Copies B to panels [batch][panel][k][16], zeros beyond the last column. One group for each panel and each 64 steps of k.</summary>
    public static void Pack(GpuGemmArguments x, ArrayView<float> packed, SpecializedValue<ulong> formats)
    {
        int blocks = (x.K + PackDepth - 1) / PackDepth;
        int block = Grid.IdxX % blocks, panel = Grid.IdxX / blocks % x.TilesN, batch = Grid.IdxX / blocks / x.TilesN;
        bool transpose = (formats.Value & 2) != 0;
        DType type = (DType)(formats.Value >> 5 & 7);
        int first = block * PackDepth, end = first + PackDepth < x.K ? first + PackDepth : x.K, left = panel * Line.Length;
        long target = ((long)batch * x.TilesN + panel) * x.K * Line.Length, start = batch * x.BatchStrideB;
        for (int j = 0; j < Line.Length && transpose; j++)
        {
            for (int k = first; k < end; k++)
                packed[target + k * Line.Length + j] = GpuGemmKernels.Read(x.B, type, start, false, left + j, k, x.N, x.K, x.StrideB);
        }

        for (int k = first; k < end && !transpose; k++)
        {
            for (int j = 0; j < Line.Length; j++)
                packed[target + k * Line.Length + j] = GpuGemmKernels.Read(x.B, type, start, true, left + j, k, x.N, x.K, x.StrideB);
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

    /// <summary>The formats of a product whose A is packed too.</summary>
    public static ulong WithPackedRows(ulong formats) => formats | PackedRows;

    /// <summary>
    /// One group for each panel and each <paramref name="rows"/> rows; panels vary fastest, so that rows of A stay in the cache. The
    /// group's part of C is collected over strips of k, whose part of the panel stays in the first-level cache.
    /// </summary>
    public static void Run<R>(GpuGemmArguments x, ArrayView<float> packedA, ArrayView<float> packedB, int rows, R epilogue, SpecializedValue<ulong> formats)
        where R : unmanaged, IMap6
    {
        ArrayView<float> sums = LocalMemory.Allocate<float>(MostRows * Line.Length);
        int panel = Grid.IdxX % x.TilesN, chunk = Grid.IdxX / x.TilesN % x.TilesM, batch = Grid.IdxX / x.TilesN / x.TilesM;
        ArrayView<float> b = packedB.SubView(((long)batch * x.TilesN + panel) * x.K * Line.Length, (long)x.K * Line.Length);
        int left = panel * Line.Length, columns = x.N - left < Line.Length ? x.N - left : Line.Length;
        int first = chunk * rows, end = first + rows < x.M ? first + rows : x.M;
        for (int i = 0; i < rows * Line.Length; i++)
            sums[i] = 0;
        for (int depth = 0; depth < x.K; depth += Depth)
        {
            int last = depth + Depth < x.K ? depth + Depth : x.K;
            for (int top = first; top < end; top += Rows)
            {
                ArrayView<float> tile = sums.SubView((top - first) * Line.Length, Rows * Line.Length);
                Line c0 = Line.Load(tile, 0), c1 = Line.Load(tile, 16), c2 = Line.Load(tile, 32), c3 = Line.Load(tile, 48);
                Line c4 = Line.Load(tile, 64), c5 = Line.Load(tile, 80), c6 = Line.Load(tile, 96), c7 = Line.Load(tile, 112);
                ArrayView<float> a = (formats.Value & PackedRows) == 0 ? packedA
                    : packedA.SubView(((long)batch * ((x.M + Rows - 1) / Rows) + top / Rows) * x.K * Rows, (long)x.K * Rows);
                for (int k = depth; k < last; k++)
                {
                    Line line = Line.Load(b, (long)k * Line.Length);
                    c0.Add(A(x, a, formats.Value, batch, top, 0, k), line);
                    c1.Add(A(x, a, formats.Value, batch, top, 1, k), line);
                    c2.Add(A(x, a, formats.Value, batch, top, 2, k), line);
                    c3.Add(A(x, a, formats.Value, batch, top, 3, k), line);
                    c4.Add(A(x, a, formats.Value, batch, top, 4, k), line);
                    c5.Add(A(x, a, formats.Value, batch, top, 5, k), line);
                    c6.Add(A(x, a, formats.Value, batch, top, 6, k), line);
                    c7.Add(A(x, a, formats.Value, batch, top, 7, k), line);
                }

                c0.Store(tile, 0);
                c1.Store(tile, 16);
                c2.Store(tile, 32);
                c3.Store(tile, 48);
                c4.Store(tile, 64);
                c5.Store(tile, 80);
                c6.Store(tile, 96);
                c7.Store(tile, 112);
            }
        }

        for (int row = first; row < end; row++)
        {
            for (int j = 0; j < columns; j++)
                GpuGemmKernels.Store(x, epilogue, formats.Value, batch, row, left + j, sums[(row - first) * Line.Length + j]);
        }
    }

    /// <summary>An element of A; rows beyond the last repeat it, and their results are not stored.</summary>
    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveInlining)]
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
