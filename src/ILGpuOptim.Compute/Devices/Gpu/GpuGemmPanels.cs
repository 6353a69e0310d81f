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

    /// <summary>One group for each panel and each <paramref name="rows"/> rows; panels vary fastest, so that rows of A stay in the cache.</summary>
    public static void Run<R>(GpuGemmArguments x, ArrayView<float> packed, int rows, R epilogue, SpecializedValue<ulong> formats) where R : unmanaged, IMap6
    {
        ArrayView<float> tile = LocalMemory.Allocate<float>(Rows * Line.Length);
        int panel = Grid.IdxX % x.TilesN, chunk = Grid.IdxX / x.TilesN % x.TilesM, batch = Grid.IdxX / x.TilesN / x.TilesM;
        ArrayView<float> b = packed.SubView(((long)batch * x.TilesN + panel) * x.K * Line.Length, (long)x.K * Line.Length);
        int left = panel * Line.Length, columns = x.N - left < Line.Length ? x.N - left : Line.Length;
        int end = chunk * rows + rows < x.M ? chunk * rows + rows : x.M;
        for (int top = chunk * rows; top < end; top += Rows)
        {
            Line c0 = default, c1 = default, c2 = default, c3 = default, c4 = default, c5 = default, c6 = default, c7 = default;
            for (int k = 0; k < x.K; k++)
            {
                Line line = Line.Load(b, (long)k * Line.Length);
                c0.Add(A(x, formats.Value, batch, top, k), line);
                c1.Add(A(x, formats.Value, batch, top + 1, k), line);
                c2.Add(A(x, formats.Value, batch, top + 2, k), line);
                c3.Add(A(x, formats.Value, batch, top + 3, k), line);
                c4.Add(A(x, formats.Value, batch, top + 4, k), line);
                c5.Add(A(x, formats.Value, batch, top + 5, k), line);
                c6.Add(A(x, formats.Value, batch, top + 6, k), line);
                c7.Add(A(x, formats.Value, batch, top + 7, k), line);
            }

            c0.Store(tile, 0);
            c1.Store(tile, 16);
            c2.Store(tile, 32);
            c3.Store(tile, 48);
            c4.Store(tile, 64);
            c5.Store(tile, 80);
            c6.Store(tile, 96);
            c7.Store(tile, 112);
            for (int i = 0; i < Rows && top + i < x.M; i++)
            {
                for (int j = 0; j < columns; j++)
                    GpuGemmKernels.Store(x, epilogue, formats.Value, batch, top + i, left + j, tile[i * Line.Length + j]);
            }
        }
    }

    /// <summary>An element of A; rows beyond the last repeat it, and their results are not stored.</summary>
    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.AggressiveInlining)]
    private static float A(GpuGemmArguments x, ulong formats, int batch, int row, int k)
    {
        row = row < x.M ? row : x.M - 1;
        bool transpose = (formats & 1) != 0;
        DType type = (DType)(formats >> 2 & 7);
        if (type != DType.F32)
            return GpuGemmKernels.Read(x.A, type, batch * x.BatchStrideA, transpose, row, k, x.M, x.K, x.StrideA);
        long index = batch * x.BatchStrideA + (transpose ? (long)k * x.StrideA + row : (long)row * x.StrideA + k);
        return x.A.Cast<float>()[index];
    }
}
