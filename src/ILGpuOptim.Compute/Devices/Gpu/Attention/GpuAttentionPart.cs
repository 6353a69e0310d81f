using System.Runtime.CompilerServices;
using ILGPU;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>An 8 × 8 part of a 64 × 64 tile: its first column and its first row.</summary>
internal readonly struct GpuAttentionPart
{
    /// <summary>Elements from one row of a tile to the next.</summary>
    public const int Pitch = GpuAttention.Tile + 2;

    /// <summary>The first column, the first row, and the index of the row block.</summary>
    public readonly int X, Y, Line;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public GpuAttentionPart(int part)
    {
        Line = part / 8;
        X = (part & 7) * 8;
        Y = Line * 8;
    }

    public int LastX => X + 7;

    public int LastY => Y + 7;

    /// <summary>The offsets of the rows, <paramref name="stride"/> elements apart; rows from <paramref name="count"/> on repeat the last.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public GpuAttentionRows Rows(int count, int stride) => new()
    {
        A = IntrinsicMath.Min(Y, count - 1) * stride,
        B = IntrinsicMath.Min(Y + 1, count - 1) * stride,
        C = IntrinsicMath.Min(Y + 2, count - 1) * stride,
        D = IntrinsicMath.Min(Y + 3, count - 1) * stride,
        E = IntrinsicMath.Min(Y + 4, count - 1) * stride,
        F = IntrinsicMath.Min(Y + 5, count - 1) * stride,
        G = IntrinsicMath.Min(Y + 6, count - 1) * stride,
        H = IntrinsicMath.Min(Y + 7, count - 1) * stride,
    };

    /// <summary>Adds Σ over s from <paramref name="from"/> to <paramref name="to"/> of columns[s, ·] · rows[·, s].</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public GpuTile Product(GpuTile sum, ArrayView<float> columns, int pitch, ArrayView<float> rows, GpuAttentionRows places, int step, int from, int to)
    {
        for (int s = from; s < to; s++)
            sum.Add(Float4Pair.Load(columns, s * pitch + X, 1), places.Load(rows, s * step));
        return sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public GpuTile Load(ArrayView<float> tile) => new()
    {
        A = Float4Pair.Load(tile, Y * Pitch + X, 1),
        B = Float4Pair.Load(tile, (Y + 1) * Pitch + X, 1),
        C = Float4Pair.Load(tile, (Y + 2) * Pitch + X, 1),
        D = Float4Pair.Load(tile, (Y + 3) * Pitch + X, 1),
        E = Float4Pair.Load(tile, (Y + 4) * Pitch + X, 1),
        F = Float4Pair.Load(tile, (Y + 5) * Pitch + X, 1),
        G = Float4Pair.Load(tile, (Y + 6) * Pitch + X, 1),
        H = Float4Pair.Load(tile, (Y + 7) * Pitch + X, 1),
    };

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(GpuTile values, ArrayView<float> tile)
    {
        values.A.Store(tile, Y * Pitch + X, 1);
        values.B.Store(tile, (Y + 1) * Pitch + X, 1);
        values.C.Store(tile, (Y + 2) * Pitch + X, 1);
        values.D.Store(tile, (Y + 3) * Pitch + X, 1);
        values.E.Store(tile, (Y + 4) * Pitch + X, 1);
        values.F.Store(tile, (Y + 5) * Pitch + X, 1);
        values.G.Store(tile, (Y + 6) * Pitch + X, 1);
        values.H.Store(tile, (Y + 7) * Pitch + X, 1);
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
