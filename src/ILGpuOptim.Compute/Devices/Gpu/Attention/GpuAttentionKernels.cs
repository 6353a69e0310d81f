using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>What the attention kernels get.</summary>
internal struct GpuAttentionArguments
{
    public ArrayView<float> Query, Key, Value, Output, LogSumExp, KeyBias, DistanceBias, DistanceGradient;
    public ArrayView<int> Ranges;

    /// <summary>Backward: the gradient of the output and what receives the others; Σ dO·O of each query and head.</summary>
    public ArrayView<float> OutputGradient, QueryGradient, KeyGradient, ValueGradient, Dots;
    public int Batch, Heads, KeyHeads, HeadSize, QueryLength, KeyLength, KeyCapacity, QueryStride, KeyStride, OutputStride, QueryHeadStep, KeyHeadStep, Blocks;
    public float Scale, SoftCap, Keep;
    public ulong Seed, Stream;

    /// <summary>Query i sees key j only when j ≤ i + this; large where keys after it have no limit.</summary>
    public int Offset;

    /// <summary>Query i sees key j only when j ≥ i + this; a large negative number where keys before it have no limit.</summary>
    public int Lower;

    /// <summary>Whether the log-sum-exp is wanted: 0 or 1.</summary>
    public int KeepsLogSumExp;

    /// <summary>The offset without a limit.</summary>
    public const int Unmasked = 1 << 30;
}

/// <summary>
/// Attention without the T × T matrix (Dao et al., "FlashAttention", NeurIPS 2022), by tiles of 64 queries and 64 keys. The
/// same kernels serve two kinds of device: GPUs, for the heads that <see cref="GpuAttentionTiles"/> does not take, and processors. On a GPU a group is 64 threads, each with an 8 × 8 part of a tile in registers;
/// operands pass through shared memory. On an OpenCL processor, where a barrier costs a loop over all threads and shared
/// memory is memory, a group is one thread that does the 64 parts in turn; LLVM turns a part into vector instructions, and
/// operands that need no transposing are read where they lie. Nothing stays in registers across a barrier: scores
/// wait in shared memory, and sums over tiles in the result itself, where one thread owns each number.
/// </summary>
internal static partial class GpuAttentionKernels
{
    /// <summary>Queries, and keys, of a tile; and the parts of a tile, which are the threads of a group unless it works alone.</summary>
    public const int Tile = 64, Threads = 64;

    /// <summary>
    /// What a kernel is specialised for: key biases; dropout; one thread a group; one thread and heads of whole vectors, so
    /// that operands need no copies; heads of up to 32 numbers; backward, the gradients that are computed; keys before some that no query sees; ranges (which
    /// bound as well); a soft-cap; biases by distance; their gradient, in place of the others.
    /// </summary>
    public const int HasBias = 1, Drops = 2, Alone = 4, Direct = 8, Narrow = 16, Keys = 32, Queries = 64, Bounded = 128, Ranged = 256, Caps = 512, HasDistances = 1024, OfDistances = 2048;

    private const int Pitch = GpuAttentionPart.Pitch, Parts = 8;

    /// <summary>From one line of parts to the next where each has 64 numbers: the four lines of a warp meet different banks.</summary>
    internal const int LinePitch = Tile + 8;

    /// <summary>Copies up to 64 rows into shared memory as columns; rows that are missing become zeros.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadAcross(ArrayView<float> target, ArrayView<float> source, long start, int stride, int rows, int depth, int columns, float scale, int form)
    {
        if ((form & Alone) != 0)
        {
            depth = IntrinsicMath.Min(depth, columns);
            for (int row = 0; row < Tile; row++)
            {
                for (int d = 0; d < depth; d++)
                    target[d * Pitch + row] = row < rows ? source[start + (long)row * stride + d] * scale : 0;
            }

            return;
        }

        for (int t = Group.IdxX; t < depth * Tile; t += Threads)
        {
            int row = RowAcross(t), d = ColumnAcross(t);
            if (d < columns)
                target[d * Pitch + row] = row < rows ? source[start + (long)row * stride + d] * scale : 0;
        }
    }

    /// <summary>
    /// The row of the <paramref name="t"/>-th number that <see cref="LoadAcross"/> moves. A warp takes sixteen neighbours of two rows: whole
    /// sectors are read, and with this pitch 32 different banks written.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int RowAcross(int t) => t / 16 & (Tile - 1);

    /// <summary>Its column.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int ColumnAcross(int t) => t / (16 * Tile) * 16 + (t & 15);

    /// <summary>Copies up to 64 rows of up to <paramref name="width"/> numbers into shared memory; what is missing becomes zeros.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadRows(ArrayView<float> target, ArrayView<float> source, long start, int stride, int rows, int width, int columns, int form)
    {
        for (int t = Group.IdxX; t < Tile * width; t += (form & Alone) != 0 ? 1 : Threads)
        {
            int row = t / width, d = t % width;
            target[t] = row < rows && d < columns ? source[start + (long)row * stride + d] : 0;
        }
    }

    /// <summary>target = target · factor + sum · scale, where the old target counts as zero when it is the <paramref name="first"/> time.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Accumulate(
        ArrayView<float> target, long start, GpuAttentionPart at, int columns, bool half, int form, Float4Pair sum, bool first, float factor, float scale)
    {
        sum *= scale;
        if ((form & Direct) != 0)
        {
            if (!first)
                sum = sum.Plus(Float4Pair.Load(target, start + at.X, 1), factor);
            sum.Store(target, start + at.X, 1);
            return;
        }

        int column = at.X, step = at.XStep;
        Put(target, start, column, columns, sum.A, first, factor);
        Put(target, start, column + step, columns, sum.B, first, factor);
        Put(target, start, column + 2 * step, columns, sum.C, first, factor);
        Put(target, start, column + 3 * step, columns, sum.D, first, factor);
        if (half)
            return;
        Put(target, start, column + 4 * step, columns, sum.E, first, factor);
        Put(target, start, column + 5 * step, columns, sum.F, first, factor);
        Put(target, start, column + 6 * step, columns, sum.G, first, factor);
        Put(target, start, column + 7 * step, columns, sum.H, first, factor);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put(ArrayView<float> target, long start, int column, int columns, float value, bool first, float factor)
    {
        if (column >= columns)
            return;
        if (!first)
            value = MathF.FusedMultiplyAdd(target[start + column], factor, value);
        target[start + column] = value;
    }

    /// <summary>What the weighted values of a query are multiplied by, from the sum of its weights; 0 where it sees no key.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float Inverse(float sum) => sum > 0 ? 1 / sum : sum == 0 ? 0 : float.NaN;

    /// <summary>The log-sum-exp of a query's scores, from the largest and the sum of exponentials below it; +∞ where it sees no key.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float LogSumExp(float largest, float sum) => sum == 0 ? float.PositiveInfinity : largest + F1.Log(new F1(sum)).Value;

    /// <summary>What dropout multiplies a weight by; rows count queries of all heads and sequences.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float Keep(GpuAttentionArguments x, long row, int key) => GpuRandom.Keep(x.Seed, x.Stream, row * x.KeyLength + key, x.Keep);
}
