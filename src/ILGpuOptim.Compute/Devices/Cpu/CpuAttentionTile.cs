using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>Which products of a causal block are needed; the rest is known to be zero or never read.</summary>
internal enum CausalPart
{
    /// <summary>Everything.</summary>
    All,

    /// <summary>Rows are queries, columns keys: columns beyond the diagonal are skipped.</summary>
    Scores,

    /// <summary>Rows are queries, the sum runs over keys: it ends at the diagonal.</summary>
    SumOverKeys,

    /// <summary>Rows are keys, the sum runs over queries: it begins at the diagonal.</summary>
    SumOverQueries,
}

/// <summary>The small products of attention, over scratch that is padded to whole register tiles.</summary>
internal static unsafe class CpuAttentionTile<L> where L : struct, IVectorLane<L>
{
    /// <summary>Queries, and keys, of a block.</summary>
    public const int Block = 64;

    /// <summary>Rows that a block's scratch has, so that whole register tiles may be read and written.</summary>
    public const int PaddedRows = 72;

    /// <summary>A row's numbers rounded up to whole vectors.</summary>
    public static int Padded(int size) => (size + L.Count - 1) / L.Count * L.Count;

    /// <summary>
    /// c[rows, columns] = a · b + beta · c. Element (row, k) of a lies at a[row · rowStride + k · step]; columns is a
    /// multiple of the vector; key j is visible to query i when j ≤ i + diagonal.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Multiply(
        float* a, nint rowStride, nint step, float* b, int strideB, float* c, int strideC,
        int rows, int columns, int depth, float beta, CausalPart part = CausalPart.All, int diagonal = 0)
    {
        int tileRows = GemmTiles.Rows<L>();
        Panel panel;
        panel.RowStrideA = rowStride;
        panel.StepA = step;
        panel.StepB = strideB;
        panel.RowStrideC = strideC;
        panel.Alpha = 1;
        panel.Beta = beta;
        for (int column = 0; column < columns; column += 2 * L.Count)
        {
            int vectors = columns - column > L.Count ? 2 : 1;
            for (int row = 0; row < rows; row += tileRows)
            {
                int last = row + tileRows - 1;
                if (part == CausalPart.Scores && column > last + diagonal)
                    continue;
                int start = part == CausalPart.SumOverQueries ? Math.Clamp(row - diagonal, 0, depth) : 0;
                int end = part == CausalPart.SumOverKeys ? Math.Clamp(last + diagonal + 1, 0, depth) : depth;
                panel.A = a + row * rowStride + start * step;
                panel.B = b + (nint)start * strideB + column;
                panel.C = c + (nint)row * strideC + column;
                panel.K = end - start;
                GemmTiles.Run<L>(vectors, panel);
            }
        }
    }

    /// <summary>Copies rows into scratch, times a factor, each padded with zeros to <paramref name="width"/>; missing rows are zero.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Load(float* source, nint stride, int rows, int size, float factor, float* target, int width, int paddedRows)
    {
        L factors = L.Splat(factor);
        for (int row = 0; row < rows; row++, source += stride, target += width)
        {
            int i = 0;
            for (; i <= size - L.Count; i += L.Count)
                L.Store(L.Load(source + i) * factors, target + i);
            for (; i < size; i++)
                target[i] = source[i] * factor;
            for (; i < width; i++)
                target[i] = 0;
        }

        new Span<float>(target, (paddedRows - rows) * width).Clear();
    }

    /// <summary>Copies rows into scratch as columns: target[i · Block + row]; missing columns are zero.</summary>
    public static void LoadTransposed(float* source, int stride, int rows, int size, float* target)
    {
        var matrix = new GemmOperand { Data = (byte*)source, Stride = stride, Transposed = true };
        matrix.Pack(target, Block, 0, rows, 0, size, along: true);
    }

    /// <summary>Adds, or stores, rows of scratch to memory, times a factor.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Store(float* source, int width, int rows, int size, float factor, float* target, nint stride, bool add)
    {
        L factors = L.Splat(factor);
        for (int row = 0; row < rows; row++, source += width, target += stride)
        {
            int i = 0;
            for (; i <= size - L.Count; i += L.Count)
            {
                L value = L.Load(source + i) * factors;
                L.Store(add ? L.Load(target + i) + value : value, target + i);
            }

            for (; i < size; i++)
                target[i] = add ? target[i] + source[i] * factor : source[i] * factor;
        }
    }
}
