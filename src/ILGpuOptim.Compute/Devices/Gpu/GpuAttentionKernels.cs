using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>What the attention kernels get.</summary>
internal struct GpuAttentionArguments
{
    public ArrayView<float> Query, Key, Value, Output, LogSumExp, KeyBias;

    /// <summary>Backward: the gradient of the output and what receives the others; Σ dO·O of each query and head.</summary>
    public ArrayView<float> OutputGradient, QueryGradient, KeyGradient, ValueGradient, Dots;
    public int Heads, KeyHeads, QueryLength, KeyLength, KeyCapacity, QueryStride, KeyStride, OutputStride, Blocks;
    public float Scale, Keep;
    public ulong Seed, Stream;
}

/// <summary>
/// Attention without the T × T matrix (Dao et al., "FlashAttention", NeurIPS 2022): a group of 16 × 16 threads works on 32
/// queries and 32 keys at a time. Tiles pass through shared memory with rows padded by one, so that threads which read
/// different rows meet different banks; results stay in registers, 16 rows and 16 columns apart.
/// </summary>
internal static partial class GpuAttentionKernels
{
    /// <summary>Queries, and keys, of a tile; threads of a group; the widest head.</summary>
    public const int Tile = 32, Threads = 256, MostHeadSize = 128;

    /// <summary>What a kernel is specialised for.</summary>
    public const int Causal = 1, HasBias = 2, Drops = 4, KeepsLogSumExp = 8;

    private const int Pitch = Tile + 1;

    /// <summary>One group for each block of queries, head and sequence.</summary>
    public static void Forward(GpuAttentionArguments x, SpecializedValue<int> headSize, SpecializedValue<int> flags)
    {
        int size = headSize.Value, pitch = size + 1;
        ArrayView<float> queries = SharedMemory.Allocate<float>(Tile * (headSize.Value + 1)), keys = SharedMemory.Allocate<float>(Tile * (headSize.Value + 1));
        ArrayView<float> weights = SharedMemory.Allocate<float>(Tile * Pitch), parts = SharedMemory.Allocate<float>(Tile * 9);
        ArrayView<float> rescale = SharedMemory.Allocate<float>(Tile);
        int block = Grid.IdxX % x.Blocks, head = Grid.IdxX / x.Blocks % x.Heads, batch = Grid.IdxX / x.Blocks / x.Heads;
        int keyHead = head * x.KeyHeads / x.Heads, start = block * Tile;
        int i = Group.IdxX >> 4, j = Group.IdxX & 15;

        // For the softmax eight threads share a row; each keeps the row's largest score and total so far.
        int row = Group.IdxX >> 3, part = Group.IdxX & 7;
        float largest = float.NegativeInfinity, total = 0;
        Rows sums = default;
        Load(queries, x.Query, size, ((long)batch * x.QueryLength + start) * x.QueryStride + head * size, x.QueryStride, x.QueryLength - start, x.Scale);
        int end = LastKey(x, flags.Value, start + Tile - 1);
        for (int first = 0; first < end; first += Tile)
        {
            Load(keys, x.Key, size, ((long)batch * x.KeyCapacity + first) * x.KeyStride + keyHead * size, x.KeyStride, x.KeyLength - first, 1);
            Group.Barrier();
            Scores(queries, keys, size, i, j, out float s00, out float s01, out float s10, out float s11);
            weights[i * Pitch + j] = Masked(x, flags.Value, batch, start + i, first + j, s00);
            weights[i * Pitch + j + 16] = Masked(x, flags.Value, batch, start + i, first + j + 16, s01);
            weights[(i + 16) * Pitch + j] = Masked(x, flags.Value, batch, start + i + 16, first + j, s10);
            weights[(i + 16) * Pitch + j + 16] = Masked(x, flags.Value, batch, start + i + 16, first + j + 16, s11);
            Group.Barrier();

            float peak = float.NegativeInfinity;
            for (int c = part; c < Tile; c += 8)
                peak = GpuMapKernels.Join(true, peak, weights[row * Pitch + c]);
            parts[row * 9 + part] = peak;
            Load(keys, x.Value, size, ((long)batch * x.KeyCapacity + first) * x.KeyStride + keyHead * size, x.KeyStride, x.KeyLength - first, 1);
            Group.Barrier();
            peak = largest;
            for (int c = 0; c < 8; c++)
                peak = GpuMapKernels.Join(true, peak, parts[row * 9 + c]);

            // A row that has seen no key yet has no finite score to subtract.
            float shift = peak == float.NegativeInfinity ? 0 : peak, factor = F1.Exp(new F1(largest - shift)).Value, added = 0;
            for (int c = part; c < Tile; c += 8)
            {
                float weight = F1.Exp(new F1(weights[row * Pitch + c] - shift)).Value;
                added += weight;
                weights[row * Pitch + c] = Dropped(x, flags.Value, batch, head, start + row, first + c, weight);
            }

            largest = peak;
            total = total * factor + added;
            if (part == 0)
                rescale[row] = factor;
            Group.Barrier();
            sums.Scale(rescale[i], rescale[i + 16]);
            for (int c = 0; c < Tile; c++)
                sums.Add(weights[i * Pitch + c], weights[(i + 16) * Pitch + c], keys, c * pitch + j, size);
            Group.Barrier();
        }

        parts[row * 9 + part] = total;
        Group.Barrier();
        total = 0;
        for (int c = 0; c < 8; c++)
            total += parts[row * 9 + c];
        if (part == 0)
        {
            rescale[row] = total > 0 ? 1 / total : total == 0 ? 0 : float.NaN;
            if ((flags.Value & KeepsLogSumExp) != 0 && start + row < x.QueryLength)
                x.LogSumExp[((long)batch * x.Heads + head) * x.QueryLength + start + row] = total == 0 ? float.PositiveInfinity : largest + F1.Log(new F1(total)).Value;
        }

        Group.Barrier();
        sums.Scale(rescale[i], rescale[i + 16]);
        sums.Store(x.Output, size, ((long)batch * x.QueryLength + start) * x.OutputStride + head * size, x.OutputStride, x.QueryLength - start, i, j);
    }

    /// <summary>The end of the keys that a query sees.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int LastKey(GpuAttentionArguments x, int flags, int query)
    {
        int end = query + x.KeyLength - x.QueryLength + 1;
        return (flags & Causal) != 0 && end < x.KeyLength ? end : x.KeyLength;
    }

    /// <summary>Copies up to 32 rows into shared memory; the rest become zeros.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Load(ArrayView<float> target, ArrayView<float> source, int size, long start, int stride, int rows, float scale)
    {
        for (int row = Group.IdxX >> 5; row < Tile; row += Threads / 32)
        {
            for (int column = Group.IdxX & 31; column < size; column += 32)
                target[row * (size + 1) + column] = row < rows ? source[start + (long)row * stride + column] * scale : 0;
        }
    }

    /// <summary>Products of rows i, i + 16 of one tile with rows j, j + 16 of another.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Scores(ArrayView<float> left, ArrayView<float> right, int size, int i, int j, out float s00, out float s01, out float s10, out float s11)
    {
        (s00, s01, s10, s11) = (0, 0, 0, 0);
        int a = i * (size + 1), b = j * (size + 1), step = 16 * (size + 1);
        for (int d = 0; d < size; d++)
        {
            float a0 = left[a + d], a1 = left[a + step + d], b0 = right[b + d], b1 = right[b + step + d];
            s00 = MathF.FusedMultiplyAdd(a0, b0, s00);
            s01 = MathF.FusedMultiplyAdd(a0, b1, s01);
            s10 = MathF.FusedMultiplyAdd(a1, b0, s10);
            s11 = MathF.FusedMultiplyAdd(a1, b1, s11);
        }
    }

    /// <summary>A score with its key's bias; -∞ where the query does not see the key.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Masked(GpuAttentionArguments x, int flags, int batch, int query, int key, float score)
    {
        if (query >= x.QueryLength || key >= LastKey(x, flags, query))
            return float.NegativeInfinity;
        return (flags & HasBias) != 0 ? score + x.KeyBias[(long)batch * x.KeyLength + key] : score;
    }

    /// <summary>A weight times its element of the dropout mask.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Dropped(GpuAttentionArguments x, int flags, int batch, int head, int query, int key, float weight) =>
        (flags & Drops) != 0 ? weight * Mask(x, batch, head, query, key) : weight;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Mask(GpuAttentionArguments x, int batch, int head, int query, int key)
    {
        long element = (((long)batch * x.Heads + head) * x.QueryLength + query) * x.KeyLength + key;
        return GpuRandom.Keep(x.Seed, x.Stream, element, x.Keep);
    }

    /// <summary>A thread's part of 32 rows: rows i and i + 16, every sixteenth column from j on.</summary>
    private struct Rows
    {
        private float a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Scale(float a, float b)
        {
            (a0, a1, a2, a3, a4, a5, a6, a7) = (a0 * a, a1 * a, a2 * a, a3 * a, a4 * a, a5 * a, a6 * a, a7 * a);
            (b0, b1, b2, b3, b4, b5, b6, b7) = (b0 * b, b1 * b, b2 * b, b3 * b, b4 * b, b5 * b, b6 * b, b7 * b);
        }

        /// <summary>Adds a row of a tile, times one number for each of the two rows. Columns beyond the head's size are somebody else's or padding, and never stored.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Add(float a, float b, ArrayView<float> tile, int index, int size)
        {
            One(ref a0, ref b0, a, b, tile, index, 0, size);
            One(ref a1, ref b1, a, b, tile, index, 16, size);
            One(ref a2, ref b2, a, b, tile, index, 32, size);
            One(ref a3, ref b3, a, b, tile, index, 48, size);
            One(ref a4, ref b4, a, b, tile, index, 64, size);
            One(ref a5, ref b5, a, b, tile, index, 80, size);
            One(ref a6, ref b6, a, b, tile, index, 96, size);
            One(ref a7, ref b7, a, b, tile, index, 112, size);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void Store(ArrayView<float> target, int size, long start, int stride, int rows, int i, int j)
        {
            Put(target, size, start, stride, rows, i, j, a0, b0);
            Put(target, size, start, stride, rows, i, j + 16, a1, b1);
            Put(target, size, start, stride, rows, i, j + 32, a2, b2);
            Put(target, size, start, stride, rows, i, j + 48, a3, b3);
            Put(target, size, start, stride, rows, i, j + 64, a4, b4);
            Put(target, size, start, stride, rows, i, j + 80, a5, b5);
            Put(target, size, start, stride, rows, i, j + 96, a6, b6);
            Put(target, size, start, stride, rows, i, j + 112, a7, b7);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void One(ref float sumA, ref float sumB, float a, float b, ArrayView<float> tile, int index, int column, int size)
        {
            if (column >= size || (Group.IdxX & 15) + column >= size)
                return;
            float value = tile[index + column];
            sumA = MathF.FusedMultiplyAdd(a, value, sumA);
            sumB = MathF.FusedMultiplyAdd(b, value, sumB);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void Put(ArrayView<float> target, int size, long start, int stride, int rows, int i, int column, float a, float b)
        {
            if (column >= size)
                return;
            if (i < rows)
                target[start + (long)i * stride + column] = a;
            if (i + 16 < rows)
                target[start + (long)(i + 16) * stride + column] = b;
        }
    }
}
