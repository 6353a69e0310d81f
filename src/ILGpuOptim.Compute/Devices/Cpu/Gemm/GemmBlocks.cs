using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>
/// A product divided into blocks of C, and for a long k into parts of it; each block is one item of a parallel loop. Within
/// an item: a range of k, then a strip of B's panels that fits the second-level cache, then rows of A that fit the first.
/// </summary>
internal unsafe struct GemmBlocks<L, E> : IWork
    where L : struct, IVectorLane<L>
    where E : struct, IGemmEpilogue
{
    /// <summary>The number of steps of k that one item packs.</summary>
    public const int PackedPiece = 64;

    public GemmOperand A, B;
    public E Epilogue;
    public GemmResult C;
    public int M, N, K;
    public float Alpha, Beta;

    /// <summary>k is summed in stretches of this length, always the same for a shape.</summary>
    public int Depth;

    /// <summary>Stretches in a part of k, and the number of parts. Parts lie one after the other in C.</summary>
    public int StretchesPerPart, Parts;

    public int RowsPerItem, RowItems, PanelsPerItem, ColumnItems;

    /// <summary>The last columns, too few for a vector, that are products of rows of A with rows that store columns of B: as many as follow the panels.</summary>
    public int DotColumns;

    /// <summary>Panels of B that are packed and used together.</summary>
    public int StripPanels;

    /// <summary>B is read where it lies.</summary>
    public bool Direct;

    /// <summary>An item packs its rows of A, a stretch of k at a time: one tile after the other, or all if they are stored as columns or B has several strips.</summary>
    public bool PacksA;

    /// <summary>All of B, packed beforehand; null when each item packs its own.</summary>
    public float* Shared;

    public float* Scratch;
    public long ScratchPerWorker;

    public static int Width => GemmTiles.Vectors<L>() * L.Count;

    public readonly int Items(int batch) => batch * Parts * RowItems * ColumnItems;

    /// <summary>The scratch memory of an item: a tile of C, the rows of A if they are packed, a strip of B, and its part of C if that is bf16.</summary>
    public readonly long ScratchFloats()
    {
        long strip = Shared == null ? Math.Min(StripPanels, PanelsPerItem) * Width * Math.Max(Depth, 1L) : 0;
        return TileFloats + RowFloats + Rounded(strip) + (C.Narrow == null ? 0 : (long)RowsPerItem * ItemStride);
    }

    /// <summary>Elements of a row of an item.</summary>
    private readonly int ItemStride => PanelsPerItem * Width;

    private static long TileFloats => Rounded((long)GemmTiles.Rows<L>() * Width);

    private readonly bool HasStrips => PanelsPerItem > StripPanels;

    /// <summary>Packs the rows of an item at once.</summary>
    private readonly bool PacksItem => PacksA && (HasStrips || A.Transposed);

    private readonly long RowFloats => PacksA ? Rounded((PacksItem ? RowsPerItem : GemmTiles.Rows<L>()) * Math.Max(Depth, 1L)) : 0;

    private static long Rounded(long floats) => (floats + 15) & ~15L;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Invoke(int index, int worker)
    {
        int columnItem = index % ColumnItems, rowItem = index / ColumnItems % RowItems;
        int matrix = index / (ColumnItems * RowItems), part = matrix % Parts;
        matrix /= Parts;
        int firstRow = rowItem * RowsPerItem, endRow = Math.Min(firstRow + RowsPerItem, M);
        int firstPanel = columnItem * PanelsPerItem, endPanel = Math.Min(firstPanel + PanelsPerItem, Panels);
        GemmOperand a = A.OfBatch(matrix), b = B.OfBatch(matrix);
        int strideC = C.Stride, column = firstPanel * Width, columns = (endPanel == Panels ? N : endPanel * Width) - column;
        float* c = C.Data + matrix * C.BatchStride + (long)part * M * strideC;
        if (C.Narrow != null)
        {
            strideC = ItemStride;
            c = Scratch + (worker + 1) * ScratchPerWorker - (long)RowsPerItem * strideC;
            if (Beta != 0)
                C.Widen(matrix * M + firstRow, endRow - firstRow, column, columns, c, strideC);
            c -= (nint)firstRow * strideC + column;
        }

        int startK = part * StretchesPerPart * Depth, endK = Math.Min(startK + StretchesPerPart * Depth, K), k0 = startK;
        do
        {
            int depth = Math.Min(Depth, endK - k0);
            float beta = k0 == startK ? Beta : 1;
            float* rows = Scratch + worker * ScratchPerWorker + TileFloats;
            if (PacksItem)
                Pack(a, rows, firstRow, endRow, k0, depth);
            for (int panel = firstPanel; panel < endPanel; panel += StripPanels)
            {
                int end = Math.Min(panel + StripPanels, endPanel);
                float* strip = Strip(b, worker, panel, end, k0, depth);
                Multiply(a, b, rows, strip, c, strideC, worker, firstRow, endRow, panel, end, k0, depth, beta);
            }

            for (int j = endPanel == Panels ? N - DotColumns : N; j < N; j++)
                MultiplyRows(a, b.Row(j, k0, depth, null), c + j, strideC, firstRow, endRow, k0, depth, beta);

            k0 += Depth;
        }
        while (k0 < endK);

        if (Parts == 1)
            Epilogue.Invoke(c + (nint)firstRow * strideC + column, strideC, matrix * M + firstRow, endRow - firstRow, column, columns, worker);
    }

    /// <summary>
    /// Packs rows of A: a transposed matrix as it is stored, element (row, k) at k · rows + row; bf16 as rows of <paramref name="depth"/> elements; other
    /// types as tiles, one after the other, element (row, k) of a tile at k · rows of a tile + row.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void Pack(in GemmOperand a, float* target, int firstRow, int endRow, int k0, int depth)
    {
        int tileRows = A.Transposed ? endRow - firstRow : GemmTiles.Rows<L>();
        if (A.Widens && !A.Transposed)
        {
            for (int row = firstRow; row < endRow; row++, target += depth)
                a.Row(row, k0, depth, target);
            return;
        }

        for (int row = firstRow; row < endRow; row += tileRows, target += (long)tileRows * depth)
            a.Pack(target, tileRows, row, Math.Min(tileRows, endRow - row), k0, depth, along: false);
    }

    /// <summary>The packed panels of B. Packs them first if necessary.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly float* Strip(in GemmOperand b, int worker, int panel, int endPanel, int k0, int depth)
    {
        if (Shared != null)
            return SharedPanel(panel, k0, depth);
        float* strip = Scratch + worker * ScratchPerWorker + TileFloats + RowFloats;
        float* target = strip;
        for (; panel < endPanel; panel++, target += (long)Width * depth)
        {
            int column = panel * Width, columns = Math.Min(Width, N - DotColumns - column), packedWidth = PackedWidth(columns);
            if (!Direct || columns != packedWidth)
                b.Pack(target, packedWidth, column, columns, k0, depth, along: true);
        }

        return strip;
    }

    /// <summary>The number of panels, of which the last may be narrower.</summary>
    private readonly int Panels => (N - DotColumns + Width - 1) / Width;

    private static int PackedWidth(int columns) => (columns + L.Count - 1) / L.Count * L.Count;

    /// <summary>A panel's place among all packed panels: stretches of k after each other, each panel by panel.</summary>
    public readonly float* SharedPanel(int panel, int k0, int depth)
    {
        return Shared + (long)Panels * Width * k0 + (long)panel * Width * depth;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void Multiply(
        in GemmOperand a, in GemmOperand b, float* rowsOfA, float* strip, float* c, int strideC, int worker,
        int firstRow, int endRow, int firstPanel, int endPanel, int k0, int depth, float beta)
    {
        int tileRows = GemmTiles.Rows<L>();
        float* tile = Scratch + worker * ScratchPerWorker;
        Panel work;
        work.K = depth;
        work.Alpha = Alpha;
        for (int row = firstRow; row < endRow; row += tileRows)
        {
            int rows = Math.Min(tileRows, endRow - row);
            if (PacksA && !PacksItem)
                Pack(a, rowsOfA, row, row + rows, k0, depth);
            if (PacksA)
            {
                work.A = !PacksItem ? rowsOfA : rowsOfA + (nint)(row - firstRow) * (A.Transposed ? 1 : depth);
                work.RowStrideA = A.Widens && !A.Transposed ? depth : 1;
                work.StepA = A.Transposed ? endRow - firstRow : A.Widens ? 1 : tileRows;
            }
            else
            {
                work.A = a.At(row, k0);
                work.RowStrideA = a.RowStep;
                work.StepA = a.ColumnStep;
            }

            float* packed = strip;
            for (int panel = firstPanel; panel < endPanel; panel++, packed += Width * depth)
            {
                int column = panel * Width, columns = Math.Min(Width, N - DotColumns - column), packedWidth = PackedWidth(columns);
                bool whole = columns == packedWidth;
                float* target = c + (nint)row * strideC + column;
                work.B = Direct && whole ? b.At(k0, column) : packed;
                work.StepB = Direct && whole ? b.Stride : packedWidth;
                work.C = whole ? target : tile;
                work.RowStrideC = whole ? strideC : packedWidth;
                work.Beta = whole ? beta : 0;
                GemmTiles.Run<L>(rows, packedWidth / L.Count, work);
                if (!whole)
                    CopyTile(tile, packedWidth, target, strideC, rows, columns, beta);
            }
        }
    }

    /// <summary>One column of C: rows of A times a column of B that lies in one piece.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void MultiplyRows(in GemmOperand a, float* b, float* c, int strideC, int firstRow, int endRow, int k0, int depth, float beta)
    {
        int whole = depth & -L.Count;
        float* sums = stackalloc float[4];
        for (int row = firstRow; row < endRow; row += 4)
        {
            // Rows beyond the end repeat the last one.
            float* a0 = a.At(row, k0), a1 = a.At(Math.Min(row + 1, endRow - 1), k0), a2 = a.At(Math.Min(row + 2, endRow - 1), k0), a3 = a.At(Math.Min(row + 3, endRow - 1), k0);
            L s0 = default, s1 = default, s2 = default, s3 = default;
            for (int k = 0; k < whole; k += L.Count)
            {
                L x = L.Load(b + k);
                s0 = L.Fma(x, L.Load(a0 + k), s0);
                s1 = L.Fma(x, L.Load(a1 + k), s1);
                s2 = L.Fma(x, L.Load(a2 + k), s2);
                s3 = L.Fma(x, L.Load(a3 + k), s3);
            }

            (sums[0], sums[1], sums[2], sums[3]) = (L.Sum(s0), L.Sum(s1), L.Sum(s2), L.Sum(s3));
            for (int k = whole; k < depth; k++)
            {
                sums[0] = MathF.FusedMultiplyAdd(b[k], a0[k], sums[0]);
                sums[1] = MathF.FusedMultiplyAdd(b[k], a1[k], sums[1]);
                sums[2] = MathF.FusedMultiplyAdd(b[k], a2[k], sums[2]);
                sums[3] = MathF.FusedMultiplyAdd(b[k], a3[k], sums[3]);
            }

            for (int i = 0; i < Math.Min(4, endRow - row); i++)
            {
                float* target = c + (nint)(row + i) * strideC;
                *target = beta == 0 ? Alpha * sums[i] : MathF.FusedMultiplyAdd(beta, *target, Alpha * sums[i]);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void CopyTile(float* tile, int width, float* target, int strideC, int rows, int columns, float beta)
    {
        L factor = L.Splat(beta);
        for (int row = 0; row < rows; row++, tile += width, target += strideC)
        {
            int j = 0;
            for (; j <= columns - L.Count; j += L.Count)
                L.Store(beta == 0 ? L.Load(tile + j) : L.Fma(factor, L.Load(target + j), L.Load(tile + j)), target + j);
            for (; j < columns; j++)
                target[j] = beta == 0 ? tile[j] : MathF.FusedMultiplyAdd(beta, target[j], tile[j]);
        }
    }

    /// <summary>Packs B for all items.</summary>
    public struct Packing(in GemmBlocks<L, E> blocks) : IWork
    {
        private readonly GemmBlocks<L, E> blocks = blocks;
        private readonly int panels = blocks.Panels;

        public readonly int Items => panels * ((blocks.K + PackedPiece - 1) / PackedPiece);

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public readonly void Invoke(int index, int worker)
        {
            int panel = index % panels, k = index / panels * PackedPiece;
            int column = panel * Width, columns = Math.Min(Width, blocks.N - blocks.DotColumns - column), packedWidth = PackedWidth(columns);
            for (int end = Math.Min(k + PackedPiece, blocks.K); k < end;)
            {
                int k0 = k / blocks.Depth * blocks.Depth, depth = Math.Min(blocks.Depth, blocks.K - k0);
                int length = Math.Min(end, k0 + depth) - k;
                float* target = blocks.SharedPanel(panel, k0, depth) + (long)(k - k0) * packedWidth;
                blocks.B.Pack(target, packedWidth, column, columns, k, length, along: true);
                k += length;
            }
        }
    }
}
