using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>The partial sums of one reducing operand of a launch, one set per piece of the grid.</summary>
internal unsafe struct CpuPartials
{
    /// <summary>One per row and column piece; null if the operand has no row sums.</summary>
    public float* Rows;

    /// <summary>One per column and row piece; null if the operand has no column sums.</summary>
    public float* Columns;

    /// <summary>One per piece; null if the operand is not a total.</summary>
    public double* Totals;
}

/// <summary>The parallel body of a map: one piece of the rectangle, tile by tile.</summary>
internal unsafe struct CpuMapWork<L, R> : IWork
    where L : struct, IVectorLane<L>
    where R : unmanaged, IMap6
{
    /// <summary>
    /// Elements of a tile. Scratch memory for six operands fits the first-level cache, and the per-tile overhead is negligible.
    /// </summary>
    public const int Tile = 1024;

    /// <summary>
    /// The prefetch distance in floats. Hardware prefetching stops at each 4 KiB page, and a rule that
    /// reads one or two operands has too few loads in flight to hide the latency of memory.
    /// </summary>
    private const int Ahead = 2048;

    public R Rule;
    public CpuGrid Grid;
    public CpuOperand* Operands;
    public CpuPartials* Partials;
    public float* Scratch;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Invoke(int index, int worker)
    {
        var (firstRow, endRow, firstColumn, endColumn) = Grid.Piece(index);
        float* scratch = Scratch + worker * (Access.MaxOperands * Tile);
        float* sums = stackalloc float[Access.MaxOperands];
        double* rowSums = stackalloc double[Access.MaxOperands];
        double* totals = stackalloc double[Access.MaxOperands];
        for (int k = 0; k < Access.MaxOperands; k++)
        {
            if (!AccessOf<R>.Value.Reduces(k))
                continue;
            totals[k] = Start(k);
            if (Partials[k].Columns != null)
                new Span<float>(PartialColumns(k, index) + firstColumn, (int)(endColumn - firstColumn)).Fill((float)Start(k));
        }

        for (long row = firstRow; row < endRow; row++)
        {
            for (int k = 0; k < Access.MaxOperands; k++)
                rowSums[k] = Start(k);
            for (long column = firstColumn; column < endColumn; column += Tile)
            {
                int count = (int)Math.Min(Tile, endColumn - column);
                RunTile(row, column, count, index, scratch, sums);
                for (int k = 0; k < Access.MaxOperands; k++)
                {
                    if (AccessOf<R>.Value.Reduces(k))
                        rowSums[k] = Join(k, rowSums[k], sums[k]);
                }
            }

            for (int k = 0; k < Access.MaxOperands; k++)
            {
                if (!AccessOf<R>.Value.Reduces(k))
                    continue;
                totals[k] = Join(k, totals[k], rowSums[k]);
                if (Partials[k].Rows != null)
                    Partials[k].Rows[index % Grid.ColumnPieces * Grid.Rows + row] = (float)rowSums[k];
            }
        }

        for (int k = 0; k < Access.MaxOperands; k++)
        {
            if (AccessOf<R>.Value.Reduces(k) && Partials[k].Totals != null)
                Partials[k].Totals[index] = totals[k];
        }
    }

    /// <summary>Applies the rule to part of the rectangle on the calling thread; the rule must not reduce.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public readonly void RunRectangle(long row, int rows, long column, int columns, int worker)
    {
        float* scratch = Scratch + worker * (Access.MaxOperands * Tile);
        float* sums = stackalloc float[Access.MaxOperands];
        for (long r = row; r < row + rows; r++)
        {
            for (int start = 0; start < columns; start += Tile)
                RunTile(r, column + start, Math.Min(Tile, columns - start), 0, scratch, sums);
        }
    }

    private static double Start(int k) => AccessOf<R>.Value.At(k) == Slot.Max ? double.NegativeInfinity : 0;

    private static double Join(int k, double left, double right) =>
        AccessOf<R>.Value.At(k) == Slot.Max ? (right > left ? right : left) : left + right;

    private readonly float* PartialColumns(int k, int index) =>
        Partials[k].Columns + index / Grid.ColumnPieces * Grid.Columns;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly float* Begin(int k, long row, long column, int count, float* scratch, out nint mask)
    {
        mask = 0;
        return AccessOf<R>.Value.Reads(k) || AccessOf<R>.Value.Writes(k)
            ? Operands[k].Begin(row, column, count, scratch + k * Tile, AccessOf<R>.Value.Reads(k), out mask)
            : scratch;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly void End(int k, long row, long column, int count, float* scratch)
    {
        if (AccessOf<R>.Value.Writes(k))
            Operands[k].End(row, column, count, scratch + k * Tile);
    }

    /// <summary>The next vector of an operand that the rule reads. Fetching ahead may point anywhere: it never faults.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static L Read(int k, float* source)
    {
        if (!AccessOf<R>.Value.Reads(k))
            return default;
        if (Sse.IsSupported)
            Sse.Prefetch0(source + Ahead);
        return L.Load(source);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void RunTile(long row, long column, int count, int piece, float* scratch, float* sums)
    {
        float* a = Begin(0, row, column, count, scratch, out nint am);
        float* b = Begin(1, row, column, count, scratch, out nint bm);
        float* c = Begin(2, row, column, count, scratch, out nint cm);
        float* d = Begin(3, row, column, count, scratch, out nint dm);
        float* e = Begin(4, row, column, count, scratch, out nint em);
        float* f = Begin(5, row, column, count, scratch, out nint fm);
        float* aColumns = AccessOf<R>.Value.Reduces(0) && Partials[0].Columns != null ? PartialColumns(0, piece) + column : null;
        float* bColumns = AccessOf<R>.Value.Reduces(1) && Partials[1].Columns != null ? PartialColumns(1, piece) + column : null;
        float* cColumns = AccessOf<R>.Value.Reduces(2) && Partials[2].Columns != null ? PartialColumns(2, piece) + column : null;
        float* dColumns = AccessOf<R>.Value.Reduces(3) && Partials[3].Columns != null ? PartialColumns(3, piece) + column : null;
        float* eColumns = AccessOf<R>.Value.Reduces(4) && Partials[4].Columns != null ? PartialColumns(4, piece) + column : null;
        float* fColumns = AccessOf<R>.Value.Reduces(5) && Partials[5].Columns != null ? PartialColumns(5, piece) + column : null;
        L aSum = L.Splat((float)Start(0));
        L bSum = L.Splat((float)Start(1));
        L cSum = L.Splat((float)Start(2));
        L dSum = L.Splat((float)Start(3));
        L eSum = L.Splat((float)Start(4));
        L fSum = L.Splat((float)Start(5));

        R rule = Rule;
        int i = 0;
        for (; i <= count - L.Count; i += L.Count)
        {
            L av = Read(0, a + (i & am));
            L bv = Read(1, b + (i & bm));
            L cv = Read(2, c + (i & cm));
            L dv = Read(3, d + (i & dm));
            L ev = Read(4, e + (i & em));
            L fv = Read(5, f + (i & fm));
            rule.Apply(ref av, ref bv, ref cv, ref dv, ref ev, ref fv);
            CpuReduction.Finish<L, R>(0, av, a + i, aColumns + i, aColumns != null, ref aSum);
            CpuReduction.Finish<L, R>(1, bv, b + i, bColumns + i, bColumns != null, ref bSum);
            CpuReduction.Finish<L, R>(2, cv, c + i, cColumns + i, cColumns != null, ref cSum);
            CpuReduction.Finish<L, R>(3, dv, d + i, dColumns + i, dColumns != null, ref dSum);
            CpuReduction.Finish<L, R>(4, ev, e + i, eColumns + i, eColumns != null, ref eSum);
            CpuReduction.Finish<L, R>(5, fv, f + i, fColumns + i, fColumns != null, ref fSum);
        }

        float aTail = CpuReduction.Fold<L, R>(0, aSum);
        float bTail = CpuReduction.Fold<L, R>(1, bSum);
        float cTail = CpuReduction.Fold<L, R>(2, cSum);
        float dTail = CpuReduction.Fold<L, R>(3, dSum);
        float eTail = CpuReduction.Fold<L, R>(4, eSum);
        float fTail = CpuReduction.Fold<L, R>(5, fSum);
        for (; i < count; i++)
        {
            F1 av = AccessOf<R>.Value.Reads(0) ? F1.Load(a + (i & am)) : default;
            F1 bv = AccessOf<R>.Value.Reads(1) ? F1.Load(b + (i & bm)) : default;
            F1 cv = AccessOf<R>.Value.Reads(2) ? F1.Load(c + (i & cm)) : default;
            F1 dv = AccessOf<R>.Value.Reads(3) ? F1.Load(d + (i & dm)) : default;
            F1 ev = AccessOf<R>.Value.Reads(4) ? F1.Load(e + (i & em)) : default;
            F1 fv = AccessOf<R>.Value.Reads(5) ? F1.Load(f + (i & fm)) : default;
            rule.Apply(ref av, ref bv, ref cv, ref dv, ref ev, ref fv);
            CpuReduction.FinishOne<R>(0, av, a + i, aColumns + i, aColumns != null, ref aTail);
            CpuReduction.FinishOne<R>(1, bv, b + i, bColumns + i, bColumns != null, ref bTail);
            CpuReduction.FinishOne<R>(2, cv, c + i, cColumns + i, cColumns != null, ref cTail);
            CpuReduction.FinishOne<R>(3, dv, d + i, dColumns + i, dColumns != null, ref dTail);
            CpuReduction.FinishOne<R>(4, ev, e + i, eColumns + i, eColumns != null, ref eTail);
            CpuReduction.FinishOne<R>(5, fv, f + i, fColumns + i, fColumns != null, ref fTail);
        }

        sums[0] = aTail;
        sums[1] = bTail;
        sums[2] = cTail;
        sums[3] = dTail;
        sums[4] = eTail;
        sums[5] = fTail;
        End(0, row, column, count, scratch);
        End(1, row, column, count, scratch);
        End(2, row, column, count, scratch);
        End(3, row, column, count, scratch);
        End(4, row, column, count, scratch);
        End(5, row, column, count, scratch);
    }
}
