using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>The arguments of the attention kernels.</summary>
internal struct GpuAttentionArguments
{
    /// <summary>f32, or on GPUs bf16, all of one type, as the gradients below.</summary>
    public ArrayView<byte> Query, Key, Value, Output;
    public ArrayView<float> LogSumExp, KeyBias, DistanceBias, DistanceGradient;
    public ArrayView<int> Ranges;

    /// <summary>Backward: the gradient of the output, and the gradients to write.</summary>
    public ArrayView<byte> OutputGradient, QueryGradient, KeyGradient, ValueGradient;

    /// <summary>Backward: Σ dO·O of each query and head.</summary>
    public ArrayView<float> Dots;
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
/// Attention without the T × T matrix (Dao et al., "FlashAttention", NeurIPS 2022), in tiles of 64 queries × 64 keys: what its kernels for GPUs,
/// <see cref="GpuAttentionTiles"/>, and for CPUs behind OpenCL, <see cref="GpuAttentionPanels"/>, have in common.
/// </summary>
internal static partial class GpuAttention
{
    /// <summary>Queries, and keys, of a tile.</summary>
    public const int Tile = 64;

    /// <summary>
    /// The specialization constants of a kernel: key biases; dropout; a lower bound of keys; ranges (which set <see cref="Bounded"/> too); a soft cap;
    /// distance biases; the gradient of distance biases instead of the others.
    /// </summary>
    public const int HasBias = 1, Drops = 2, Bounded = 4, Ranged = 8, Caps = 16, HasDistances = 32, OfDistances = 64;

    /// <summary>Of kernels for CPUs: head sizes that are whole vectors, so that operands are not copied; backward, gradients of keys and of queries.</summary>
    public const int Direct = 128, Keys = 256, Queries = 512;

    /// <summary>The first element of the output of query <paramref name="row"/>, counted over all heads and sequences.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static long OutputOf(GpuAttentionArguments x, int row)
    {
        int query = row % x.QueryLength, head = row / x.QueryLength % x.Heads, batch = row / x.QueryLength / x.Heads;
        return ((long)batch * x.QueryLength + query) * x.OutputStride + head * x.HeadSize;
    }

    /// <summary>The sum of a diagonal of a 64 × 64 tile: column = row + <paramref name="offset"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float SumDiagonal(ArrayView<float> tile, int pitch, int offset)
    {
        float sum = 0;
        int end = IntrinsicMath.Min(Tile, Tile - offset);
        for (int row = IntrinsicMath.Max(0, -offset); row < end; row++)
            sum += tile[row * pitch + row + offset];
        return sum;
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

    /// <summary>The dropout factors of four weights, from a <paramref name="key"/> that is a multiple of four on; the number of keys is one, too.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Float4 KeepFour(GpuAttentionArguments x, long row, int key) => GpuRandom.KeepFour(x.Seed, x.Stream, row * x.KeyLength + key, x.Keep);
}
