using System.Runtime.CompilerServices;
using ILGPU;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// The 8 × 8 part of a 64 × 64 tile that a thread computes. On a GPU its columns are eight apart, so that adjacent threads
/// use adjacent banks and addresses, and its rows are two blocks of four. On a CPU, with one thread per group, columns and rows are adjacent.
/// </summary>
internal readonly struct GpuAttentionPart
{
    /// <summary>Elements from one row of a tile to the next; padded so that different rows in the threads of a warp use different banks.</summary>
    public const int Pitch = GpuAttentionKernels.Tile + 2;

    /// <summary>The first column, and the distance to the next.</summary>
    public readonly int X, XStep;

    /// <summary>The index of the row block, its first row, and the distance to its second four rows.</summary>
    public readonly int Line, Y, Half;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public GpuAttentionPart(int part, int form)
    {
        bool alone = (form & GpuAttentionKernels.SingleThread) != 0;
        Line = part / 8;
        X = alone ? (part & 7) * 8 : part & 7;
        XStep = alone ? 1 : 8;
        Y = alone ? Line * 8 : Line * 4;
        Half = alone ? 4 : 32;
    }

    public int LastX => X + 7 * XStep;

    public int LastY => Y + Half + 3;

    /// <summary>Row <paramref name="j"/> of the eight.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public int Row(int j) => j < 4 ? Y + j : Y + Half + j - 4;

    /// <summary>The offsets of the rows, <paramref name="stride"/> elements apart; rows from <paramref name="count"/> on repeat the last.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public GpuAttentionRows Rows(int count, int stride) => new()
    {
        A = IntrinsicMath.Min(Row(0), count - 1) * stride,
        B = IntrinsicMath.Min(Row(1), count - 1) * stride,
        C = IntrinsicMath.Min(Row(2), count - 1) * stride,
        D = IntrinsicMath.Min(Row(3), count - 1) * stride,
        E = IntrinsicMath.Min(Row(4), count - 1) * stride,
        F = IntrinsicMath.Min(Row(5), count - 1) * stride,
        G = IntrinsicMath.Min(Row(6), count - 1) * stride,
        H = IntrinsicMath.Min(Row(7), count - 1) * stride,
    };

    /// <summary>Adds Σ over s from <paramref name="from"/> to <paramref name="to"/> of columns[s, ·] · rows[·, s].</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public GpuTile Product(GpuTile sum, ArrayView<float> columns, int pitch, ArrayView<float> rows, GpuAttentionRows places, int step, int from, int to)
    {
        for (int s = from; s < to; s++)
            sum.Add(Float4Pair.Load(columns, s * pitch + X, XStep), places.Load(rows, s * step));
        return sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public GpuTile Load(ArrayView<float> tile) => new()
    {
        A = Float4Pair.Load(tile, Row(0) * Pitch + X, XStep),
        B = Float4Pair.Load(tile, Row(1) * Pitch + X, XStep),
        C = Float4Pair.Load(tile, Row(2) * Pitch + X, XStep),
        D = Float4Pair.Load(tile, Row(3) * Pitch + X, XStep),
        E = Float4Pair.Load(tile, Row(4) * Pitch + X, XStep),
        F = Float4Pair.Load(tile, Row(5) * Pitch + X, XStep),
        G = Float4Pair.Load(tile, Row(6) * Pitch + X, XStep),
        H = Float4Pair.Load(tile, Row(7) * Pitch + X, XStep),
    };

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(GpuTile values, ArrayView<float> tile)
    {
        values.A.Store(tile, Row(0) * Pitch + X, XStep);
        values.B.Store(tile, Row(1) * Pitch + X, XStep);
        values.C.Store(tile, Row(2) * Pitch + X, XStep);
        values.D.Store(tile, Row(3) * Pitch + X, XStep);
        values.E.Store(tile, Row(4) * Pitch + X, XStep);
        values.F.Store(tile, Row(5) * Pitch + X, XStep);
        values.G.Store(tile, Row(6) * Pitch + X, XStep);
        values.H.Store(tile, Row(7) * Pitch + X, XStep);
    }
}

/// <summary>The offsets of the eight rows of a part.</summary>
internal struct GpuAttentionRows
{
    public int A, B, C, D, E, F, G, H;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly Float4Pair Load(ArrayView<float> source, int s) =>
        new(source[A + s], source[B + s], source[C + s], source[D + s], source[E + s], source[F + s], source[G + s], source[H + s]);
}
