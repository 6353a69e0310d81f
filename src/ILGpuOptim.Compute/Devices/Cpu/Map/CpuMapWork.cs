using System.Runtime.CompilerServices;

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

/// <summary>The parallel body of a map: one piece of the rectangle, tile by tile. It is compiled once for each width; only the loop depends on the rule.</summary>
internal unsafe struct CpuMapWork<L> : IWork where L : struct, IVectorLane<L>
{
    /// <summary>
    /// Elements of a tile. Scratch memory for six operands fits the first-level cache, and the per-tile overhead is negligible.
    /// </summary>
    public const int Tile = 1024;

    /// <summary><see cref="CpuMapLoop{L, R}.Run"/> for vectors, and for the elements that fill no whole vector.</summary>
    public delegate*<void*, CpuAddress*, int, int, float*, void> Loop, RestLoop;

    public void* Rule;
    public Access Access;
    public CpuGrid Grid;
    public CpuOperand* Operands;
    public CpuPartials* Partials;
    public float* Scratch;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Invoke(int index, int worker)
    {
        var (firstRow, endRow, firstColumn, endColumn) = Grid.Piece(index);
        if (Access.ReducesAny)
            Reduce(index, firstRow, endRow, firstColumn, endColumn, worker);
        else
            RunRectangle(firstRow, endRow, firstColumn, endColumn, worker);
    }

    /// <summary>Applies the rule to part of the rectangle on the calling thread; the rule must not reduce.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public readonly void RunRectangle(long row, long endRow, long firstColumn, long endColumn, int worker)
    {
        float* scratch = Scratch + worker * (Access.MaxOperands * Tile);
        CpuAddress* at = stackalloc CpuAddress[Access.MaxOperands];
        bool inPlace = InPlace(endColumn);
        long tile = inPlace ? Math.Max(Tile, endColumn - firstColumn) : Tile;
        for (; row < endRow; row++)
        {
            for (long column = firstColumn; column < endColumn; column += tile)
            {
                int count = (int)Math.Min(tile, endColumn - column), whole = count & -L.Count;
                Begin(at, row, column, count, scratch);
                Loop(Rule, at, 0, whole, null);
                if (whole < count)
                    RestLoop(Rule, at, whole, count, null);
                if (!inPlace)
                    End(row, column, count, scratch);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void Reduce(int index, long firstRow, long endRow, long firstColumn, long endColumn, int worker)
    {
        float* scratch = Scratch + worker * (Access.MaxOperands * Tile);
        CpuAddress* at = stackalloc CpuAddress[Access.MaxOperands];
        float* sums = stackalloc float[Access.MaxOperands];
        double* rowSums = stackalloc double[Access.MaxOperands];
        double* totals = stackalloc double[Access.MaxOperands];
        bool inPlace = InPlace(endColumn);
        int operands = Access.Count;
        for (int k = 0; k < operands; k++)
        {
            if (!Access.Reduces(k))
                continue;
            totals[k] = Start(k);
            if (Partials[k].Columns != null)
                new Span<float>(PartialColumns(k, index) + firstColumn, (int)(endColumn - firstColumn)).Fill((float)Start(k));
        }

        for (long row = firstRow; row < endRow; row++)
        {
            for (int k = 0; k < operands; k++)
                rowSums[k] = Start(k);
            for (long column = firstColumn; column < endColumn; column += Tile)
            {
                int count = (int)Math.Min(Tile, endColumn - column), whole = count & -L.Count;
                Begin(at, row, column, count, scratch);
                for (int k = 0; k < operands; k++)
                {
                    if (!Access.Reduces(k))
                        continue;
                    at[k].Columns = Partials[k].Columns == null ? null : PartialColumns(k, index) + column;
                    sums[k] = (float)Start(k);
                }

                Loop(Rule, at, 0, whole, sums);
                if (whole < count)
                    RestLoop(Rule, at, whole, count, sums);
                for (int k = 0; k < operands; k++)
                {
                    if (Access.Reduces(k))
                        rowSums[k] = Join(k, rowSums[k], sums[k]);
                }

                if (!inPlace)
                    End(row, column, count, scratch);
            }

            for (int k = 0; k < operands; k++)
            {
                if (!Access.Reduces(k))
                    continue;
                totals[k] = Join(k, totals[k], rowSums[k]);
                if (Partials[k].Rows != null)
                    Partials[k].Rows[index % Grid.ColumnPieces * Grid.Rows + row] = (float)rowSums[k];
            }
        }

        for (int k = 0; k < Access.MaxOperands; k++)
        {
            if (Access.Reduces(k) && Partials[k].Totals != null)
                Partials[k].Totals[index] = totals[k];
        }
    }

    private readonly double Start(int k) => Access.At(k) == Slot.Max ? double.NegativeInfinity : 0;

    private readonly double Join(int k, double left, double right) =>
        Access.At(k) == Slot.Max ? (right > left ? right : left) : left + right;

    private readonly float* PartialColumns(int k, int index) =>
        Partials[k].Columns + index / Grid.ColumnPieces * Grid.Columns;

    /// <summary>True if no operand passes through scratch memory: then nothing ends a tile, and tiles may be of any size.</summary>
    private readonly bool InPlace(long endColumn)
    {
        bool result = endColumn <= int.MaxValue;
        for (int k = 0; k < Access.MaxOperands; k++)
            result &= !(Access.Reads(k) || Access.Writes(k)) || Operands[k].IsInPlace(Access.Writes(k));
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly void Begin(CpuAddress* at, long row, long column, int count, float* scratch)
    {
        int operands = Access.Count;
        for (int k = 0; k < operands; k++)
        {
            at[k].Data = scratch;
            at[k].Mask = 0;
            if (Access.Reads(k) || Access.Writes(k))
                at[k].Data = Operands[k].Begin(row, column, count, scratch + k * Tile, Access.Reads(k), out at[k].Mask);
        }
    }

    private readonly void End(long row, long column, int count, float* scratch)
    {
        for (int k = 0; k < Access.MaxOperands; k++)
        {
            if (Access.Writes(k))
                Operands[k].End(row, column, count, scratch + k * Tile);
        }
    }
}
