using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// Attention on GPUs. Tiles are 64 × 64. A group has 128 threads, each with 8 × 4 elements of a tile: two blocks of four rows, half a tile apart.
/// Both factors of a product are stored with the summed dimension outermost, so that a step is three 16-byte reads for 32 multiply-adds. Operands
/// pass through shared memory in strips of the head. Results stay in registers until the last tile: up to 256 columns of one result, or 128 of two.
/// Groups share the columns of longer heads, and each computes the scores.
/// </summary>
internal static partial class GpuAttentionTiles
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = 128;

    /// <summary>
    /// Specialization constants beside those of <see cref="GpuAttention"/>: operands are read and written by elements, because sizes, strides or addresses are no
    /// whole vectors; strips of 16 instead of 32 elements, for devices with 32 KiB of shared memory; operands and results in bf16; and, from this bit on, the result's
    /// tiles minus one.
    /// </summary>
    public const int Words = 1 << 10, Shallow = 1 << 11, Narrow = 1 << 12, TilesShift = 13;

    /// <summary>Columns of a result that a group computes: of one result, and of each of two.</summary>
    public const int Columns = 4 * Tile, ColumnsOfTwo = 2 * Tile;

    /// <summary>Vectors from one row to the next: of transposed tiles, padded by one, and of others.</summary>
    internal const int Pitch = Tile / 4 + 1, RowPitch = Tile / 4;

    private const int Tile = GpuAttention.Tile, Half = Tile / 2, ColumnParts = Tile / 4;

    /// <summary>The bytes of shared memory that the largest kernel, the forward pass, needs with strips of 32 or 16 elements.</summary>
    public static int SharedBytes(int depth) => (2 * depth + Tile + ColumnParts + 2) * Pitch * 16;

    /// <summary>Elements of the head that pass through shared memory at a time.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int DepthOf(int form) => (form & Shallow) != 0 ? 16 : 32;

    /// <summary>Tiles of a result that a group computes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int TilesOf(int form) => (form >> TilesShift & 3) + 1;

    /// <summary>One group for each block of queries, head, sequence and part of the columns.</summary>
    public static void Forward(GpuAttentionArguments x, SpecializedValue<int> form)
    {
        ArrayView<Float4> strips = SharedMemory.Allocate<Float4>((64 >> (form.Value >> 11 & 1)) * Pitch), factors = SharedMemory.Allocate<Float4>(Tile * Pitch);
        ArrayView<Float4> tops = SharedMemory.Allocate<Float4>((ColumnParts + 2) * Pitch);
        int i = RowOf(Group.IdxX), j = ColumnOf(Group.IdxX), tiles = TilesOf(form.Value);

        // Later queries have more keys, so they start first.
        int block = x.Blocks - 1 - Grid.IdxX % x.Blocks, rest = Grid.IdxX / x.Blocks, head = rest % x.Heads, batch = rest / x.Heads % x.Batch, part = rest / x.Heads / x.Batch;
        int column = part * tiles * Tile, q0 = block * Tile;
        var tile = new GpuAttentionTile { Batch = batch };
        tile.OfQueries(x, head, q0);
        GpuAttentionResult output = default;
        Float4Pair total = default;

        // The maxima so far wait in shared memory, in two places by turns, which saves registers.
        int kept = ColumnParts * Pitch + i, places = 2 * kept + Pitch;
        if (j == 0)
            StoreRows(tops, kept, Float4Pair.Splat(float.NegativeInfinity));

        // At least once: queries without keys get results too.
        int end = GpuAttention.EndKey(x, form.Value, batch, q0 + tile.QueryCount - 1), k0 = GpuAttention.FirstTile(x, form.Value, batch, q0);
        do
        {
            tile.OfKeys(x, head / (x.Heads / x.KeyHeads), k0);
            GpuHalfTile scores = Scores(x, form.Value, tile, i, j, strips);
            Bias(x, form.Value, tile, i, j, ref scores);
            if (tile.NeedsMask(x, form.Value))
                Mask(x, form.Value, tile, i, j, float.NegativeInfinity, ref scores);
            StoreRows(tops, j * Pitch + i, scores.Largest());
            Group.Barrier();

            // The maximum of a query without keys so far is not finite.
            Float4Pair largest = Rows(tops, kept), top = largest;
            for (int other = 0; other < ColumnParts; other++)
                top = Float4Pair.Max(top, Rows(tops, other * Pitch + i));
            Float4Pair shift = top.Finite(), decay = Float4Pair.Exp(largest - shift);
            kept = places - kept;
            if (j == 0)
                StoreRows(tops, kept, top);
            Exponentials(ref scores, shift);
            total = total * decay + scores.Sums();
            output.Scale(decay, tiles);
            if ((form.Value & GpuAttention.Drops) != 0)
                Drop(x, tile, i, j, ref scores);
            StoreTransposed(factors, i, j, scores);
            Accumulate(ref output, form.Value, factors, i, j, strips, x.Value, tile.Key + column, x.KeyStride, tile.KeyCount, x.HeadSize - column);
            k0 += Tile;
        }
        while (k0 < end);

        StoreRows(tops, j * Pitch + i, total);
        Group.Barrier();
        total = default;
        for (int other = 0; other < ColumnParts; other++)
            total += Rows(tops, other * Pitch + i);
        output.Scale(new Float4Pair(
            GpuAttention.Inverse(total.A), GpuAttention.Inverse(total.B), GpuAttention.Inverse(total.C), GpuAttention.Inverse(total.D),
            GpuAttention.Inverse(total.E), GpuAttention.Inverse(total.F), GpuAttention.Inverse(total.G), GpuAttention.Inverse(total.H)), tiles);
        Store(x.Output, form.Value, tile.Output + column, x.OutputStride, tile.QueryCount, x.HeadSize - column, i, j, output);
        if (j == 0 && part == 0 && x.KeepsLogSumExp != 0)
        {
            Float4Pair largest = Rows(tops, kept);
            KeepSum(x, tile, 4 * i, largest.A, total.A);
            KeepSum(x, tile, 4 * i + 1, largest.B, total.B);
            KeepSum(x, tile, 4 * i + 2, largest.C, total.C);
            KeepSum(x, tile, 4 * i + 3, largest.D, total.D);
            KeepSum(x, tile, 4 * i + Half, largest.E, total.E);
            KeepSum(x, tile, 4 * i + Half + 1, largest.F, total.F);
            KeepSum(x, tile, 4 * i + Half + 2, largest.G, total.G);
            KeepSum(x, tile, 4 * i + Half + 3, largest.H, total.H);
        }
    }

    /// <summary>Scaled scores with the soft cap. Ends with a barrier.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static GpuHalfTile Scores(GpuAttentionArguments x, int form, GpuAttentionTile tile, int i, int j, ArrayView<Float4> strips)
    {
        GpuHalfTile scores = Dots(
            form, x.Query, tile.Query, x.QueryStride, tile.QueryCount, x.Key, tile.Key, x.KeyStride, tile.KeyCount, x.HeadSize, x.Scale, i, j, strips);
        if ((form & GpuAttention.Caps) != 0)
            scores.Cap(x.SoftCap);
        return scores;
    }

    /// <summary>A thread's part of left · rightᵀ. Ends with a barrier.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static GpuHalfTile Dots(
        int form, ArrayView<byte> left, long leftStart, int leftStride, int leftRows, ArrayView<byte> right, long rightStart, int rightStride, int rightRows, int size, float scale,
        int i, int j, ArrayView<Float4> strips)
    {
        int depth = DepthOf(form);
        ArrayView<Float4> second = strips.SubView(depth * Pitch);
        GpuHalfTile sum = default;
        for (int c = 0; c < size; c += depth)
        {
            LoadTransposed(strips, form, left, leftStart + c, leftStride, leftRows, size - c, scale);
            LoadTransposed(second, form, right, rightStart + c, rightStride, rightRows, size - c, 1);
            Group.Barrier();
            Product(ref sum, strips, i, second, Pitch, j, IntrinsicMath.Min(depth, size - c));
            Group.Barrier();
        }

        return sum;
    }

    /// <summary>Adds Σ over 64 steps s of factors[s, rows] · source[s, columns]. Ends with a barrier.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Accumulate(
        ref GpuAttentionResult sum, int form, ArrayView<Float4> factors, int i, int j, ArrayView<Float4> strips, ArrayView<byte> source, long start, int stride, int rows, int columns)
    {
        Accumulate(ref sum.A, form, factors, i, j, strips, source, start, stride, rows, columns);
        if (TilesOf(form) > 1)
            Accumulate(ref sum.B, form, factors, i, j, strips, source, start + Tile, stride, rows, columns - Tile);
        if (TilesOf(form) > 2)
            Accumulate(ref sum.C, form, factors, i, j, strips, source, start + 2 * Tile, stride, rows, columns - 2 * Tile);
        if (TilesOf(form) > 3)
            Accumulate(ref sum.D, form, factors, i, j, strips, source, start + 3 * Tile, stride, rows, columns - 3 * Tile);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Accumulate(
        ref GpuHalfTile sum, int form, ArrayView<Float4> factors, int i, int j, ArrayView<Float4> strips, ArrayView<byte> source, long start, int stride, int rows, int columns)
    {
        int height = 2 * DepthOf(form);
        for (int s = 0; s < Tile; s += height)
        {
            LoadRows(strips, form, source, start + (long)s * stride, stride, rows - s, height, columns);
            Group.Barrier();
            Product(ref sum, factors.SubView(s * Pitch), i, strips, RowPitch, j, height);
            Group.Barrier();
        }
    }

    /// <summary>Adds Σ over <paramref name="depth"/> steps s, rounded up to four, of left[s, rows] · right[s, columns].</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Product(ref GpuHalfTile sum, ArrayView<Float4> left, int i, ArrayView<Float4> right, int rightPitch, int j, int depth)
    {
        for (int s = 0; s < depth; s += 4)
        {
            ArrayView<Float4> a = left.SubView(s * Pitch + i), b = right.SubView(s * rightPitch + j);
            sum.Add(b[0], Float4.Join(a[0], a[Half / 4]));
            sum.Add(b[rightPitch], Float4.Join(a[Pitch], a[Pitch + Half / 4]));
            sum.Add(b[2 * rightPitch], Float4.Join(a[2 * Pitch], a[2 * Pitch + Half / 4]));
            sum.Add(b[3 * rightPitch], Float4.Join(a[3 * Pitch], a[3 * Pitch + Half / 4]));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Exponentials(ref GpuHalfTile scores, Float4Pair shift)
    {
        scores.A = Float4.Exp(scores.A - shift.A);
        scores.B = Float4.Exp(scores.B - shift.B);
        scores.C = Float4.Exp(scores.C - shift.C);
        scores.D = Float4.Exp(scores.D - shift.D);
        scores.E = Float4.Exp(scores.E - shift.E);
        scores.F = Float4.Exp(scores.F - shift.F);
        scores.G = Float4.Exp(scores.G - shift.G);
        scores.H = Float4.Exp(scores.H - shift.H);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Drop(GpuAttentionArguments x, GpuAttentionTile tile, int i, int j, ref GpuHalfTile values)
    {
        values.A *= Keep(x, tile, 4 * i, j);
        values.B *= Keep(x, tile, 4 * i + 1, j);
        values.C *= Keep(x, tile, 4 * i + 2, j);
        values.D *= Keep(x, tile, 4 * i + 3, j);
        values.E *= Keep(x, tile, 4 * i + Half, j);
        values.F *= Keep(x, tile, 4 * i + Half + 1, j);
        values.G *= Keep(x, tile, 4 * i + Half + 2, j);
        values.H *= Keep(x, tile, 4 * i + Half + 3, j);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Keep(GpuAttentionArguments x, GpuAttentionTile tile, int row, int j)
    {
        long line = tile.Row + row;
        int key = tile.FirstKey + 4 * j;
        return (x.KeyLength & 3) == 0 ? GpuAttention.KeepFour(x, line, key) : new Float4(
            GpuAttention.Keep(x, line, key), GpuAttention.Keep(x, line, key + 1), GpuAttention.Keep(x, line, key + 2), GpuAttention.Keep(x, line, key + 3));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void KeepSum(GpuAttentionArguments x, GpuAttentionTile tile, int row, float largest, float sum)
    {
        if (row < tile.QueryCount)
            x.LogSumExp[tile.Row + row] = GpuAttention.LogSumExp(largest, sum);
    }
}
