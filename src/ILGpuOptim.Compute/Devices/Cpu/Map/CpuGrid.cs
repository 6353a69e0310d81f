namespace ILGpuOptim.Compute.Cpu;

/// <summary>
/// Divides a rows × columns rectangle into pieces of work. The division depends on the shape only, never on the
/// number of threads, so that sums are added in the same order everywhere.
/// </summary>
internal readonly struct CpuGrid
{
    /// <summary>Elements of a piece: small enough that several operands stay in the second-level cache.</summary>
    private const int PieceElements = 16384;

    /// <summary>The most row pieces when columns are summed: each holds a partial sum for each column.</summary>
    private const int MaxPartials = 32;

    public readonly long Rows;
    public readonly long Columns;
    public readonly long RowsPerPiece;
    public readonly long ColumnsPerPiece;
    public readonly int RowPieces;
    public readonly int ColumnPieces;

    public CpuGrid(long rows, long columns, bool wholeRows, bool columnSums)
    {
        Rows = rows;
        Columns = columns;
        ColumnsPerPiece = wholeRows ? Math.Max(columns, 1) : Math.Clamp(columns, 1, PieceElements);
        RowsPerPiece = Math.Max(1, PieceElements / ColumnsPerPiece);
        if (columnSums)
            RowsPerPiece = Math.Max(RowsPerPiece, (rows + MaxPartials - 1) / MaxPartials);
        RowPieces = (int)((rows + RowsPerPiece - 1) / RowsPerPiece);
        ColumnPieces = wholeRows ? 1 : (int)((columns + ColumnsPerPiece - 1) / ColumnsPerPiece);
    }

    public int Pieces => RowPieces * ColumnPieces;

    public (long FirstRow, long EndRow, long FirstColumn, long EndColumn) Piece(int index)
    {
        long row = index / ColumnPieces * RowsPerPiece;
        long column = index % ColumnPieces * ColumnsPerPiece;
        return (row, Math.Min(row + RowsPerPiece, Rows), column, Math.Min(column + ColumnsPerPiece, Columns));
    }
}
