using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>The arguments of the attention kernels.</summary>
internal struct GpuAttentionArguments
{
    public ArrayView<float> Query, Key, Value, Output, LogSumExp, KeyBias, DistanceBias, DistanceGradient;
    public ArrayView<int> Ranges;

    /// <summary>Backward: the gradient of the output, the gradients to write, and Σ dO·O of each query and head.</summary>
    public ArrayView<float> OutputGradient, QueryGradient, KeyGradient, ValueGradient, Dots;
    public int Batch, Heads, KeyHeads, HeadSize, QueryLength, KeyLength, KeyCapacity, QueryStride, KeyStride, OutputStride, QueryHeadStep, KeyHeadStep, Blocks;
    public float Scale, SoftCap, Keep;
    public ulong Seed, Stream;

    /// <summary>Query i attends to key j only if j ≤ i + this; <see cref="Unmasked"/> without a limit.</summary>
    public int Offset;

    /// <summary>Query i attends to key j only if j ≥ i + this; -<see cref="Unmasked"/> without a limit.</summary>
    public int Lower;

    /// <summary>1 to store the log-sum-exp, else 0.</summary>
    public int KeepsLogSumExp;

    /// <summary>The offset without a limit.</summary>
    public const int Unmasked = 1 << 30;
}

/// <summary>
/// Attention without the T × T matrix (Dao et al., "FlashAttention", NeurIPS 2022), in tiles of 64 queries × 64 keys. The
/// same kernels serve GPUs, for heads that <see cref="GpuAttentionTiles"/> does not support, and CPUs behind OpenCL. On a GPU a group has 64 threads, each
/// with an 8 × 8 part of a tile in registers; operands pass through shared memory. On a CPU, where a barrier is a loop over all threads and shared
/// memory is ordinary memory, a group has one thread that processes the 64 parts in turn; LLVM vectorizes a part, and
/// operands that need no transposition are read in place. Nothing stays in registers across a barrier: scores
/// are kept in shared memory, and sums over tiles in the result, where one thread owns each element.
/// </summary>
internal static partial class GpuAttentionKernels
{
    /// <summary>Queries, and keys, of a tile; and the parts of a tile, which are the threads of a group on GPUs.</summary>
    public const int Tile = 64, Threads = 64;

    /// <summary>
    /// The specialization constants of a kernel: key biases; dropout; one thread per group (CPUs); one thread and head sizes that are whole vectors, so
    /// that operands are not copied; heads of up to 32 elements; backward, gradients of keys and of queries; a lower bound of keys; ranges (which
    /// set <see cref="Bounded"/> too); a soft cap; distance biases; the gradient of distance biases instead of the others.
    /// </summary>
    public const int HasBias = 1, Drops = 2, SingleThread = 4, Direct = 8, Narrow = 16, Keys = 32, Queries = 64, Bounded = 128, Ranged = 256, Caps = 512, HasDistances = 1024, OfDistances = 2048;

    private const int Pitch = GpuAttentionPart.Pitch, Parts = 8;

    /// <summary>Pitch of the per-part maxima and sums, 64 per row of parts; padded so that the four rows of a warp use different banks.</summary>
    internal const int LinePitch = Tile + 8;

    /// <summary>Copies up to 64 rows into shared memory, transposed. Missing rows become zeros.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadTransposed(ArrayView<float> target, ArrayView<float> source, long start, int stride, int rows, int depth, int columns, float scale, int form)
    {
        if ((form & SingleThread) != 0)
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
            int row = RowOfLoad(t), d = ColumnOfLoad(t);
            if (d < columns)
                target[d * Pitch + row] = row < rows ? source[start + (long)row * stride + d] * scale : 0;
        }
    }

    /// <summary>
    /// The row of the <paramref name="t"/>-th element that <see cref="LoadTransposed"/> copies. A warp takes sixteen adjacent elements of two rows: it reads
    /// whole sectors and, with this pitch, writes 32 different banks.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int RowOfLoad(int t) => t / 16 & (Tile - 1);

    /// <summary>The column of that element.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int ColumnOfLoad(int t) => t / (16 * Tile) * 16 + (t & 15);

    /// <summary>Copies up to 64 rows of up to <paramref name="width"/> elements into shared memory. Missing elements become zeros.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadRows(ArrayView<float> target, ArrayView<float> source, long start, int stride, int rows, int width, int columns, int form)
    {
        for (int t = Group.IdxX; t < Tile * width; t += (form & SingleThread) != 0 ? 1 : Threads)
        {
            int row = t / width, d = t % width;
            target[t] = row < rows && d < columns ? source[start + (long)row * stride + d] : 0;
        }
    }

    /// <summary>target = target · factor + sum · scale; the <paramref name="first"/> time the old target is not read.</summary>
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
        StoreElement(target, start, column, columns, sum.A, first, factor);
        StoreElement(target, start, column + step, columns, sum.B, first, factor);
        StoreElement(target, start, column + 2 * step, columns, sum.C, first, factor);
        StoreElement(target, start, column + 3 * step, columns, sum.D, first, factor);
        if (half)
            return;
        StoreElement(target, start, column + 4 * step, columns, sum.E, first, factor);
        StoreElement(target, start, column + 5 * step, columns, sum.F, first, factor);
        StoreElement(target, start, column + 6 * step, columns, sum.G, first, factor);
        StoreElement(target, start, column + 7 * step, columns, sum.H, first, factor);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreElement(ArrayView<float> target, long start, int column, int columns, float value, bool first, float factor)
    {
        if (column >= columns)
            return;
        if (!first)
            value = MathF.FusedMultiplyAdd(target[start + column], factor, value);
        target[start + column] = value;
    }

    /// <summary>The normalization of a query, from the sum of its weights; 0 if it attends to no key.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float Inverse(float sum) => sum > 0 ? 1 / sum : sum == 0 ? 0 : float.NaN;

    /// <summary>The log-sum-exp of a query's scores, from their maximum and the sum of exponentials relative to it; +∞ if it attends to no key.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float LogSumExp(float largest, float sum) => sum == 0 ? float.PositiveInfinity : largest + F1.Log(new F1(sum)).Value;

    /// <summary>The dropout factor of a weight; <paramref name="row"/> counts queries of all heads and sequences.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float Keep(GpuAttentionArguments x, long row, int key) => GpuRandom.Keep(x.Seed, x.Stream, row * x.KeyLength + key, x.Keep);
}
