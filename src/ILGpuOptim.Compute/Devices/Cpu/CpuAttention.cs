using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>The operands of attention as pointers; see <see cref="AttentionArguments"/>.</summary>
internal unsafe struct CpuAttentionArguments
{
    public float* Query, Key, Value, Output, LogSumExp, KeyBias;
    public float* OutputGradient, QueryGradient, KeyGradient, ValueGradient;
    public int Batch, Heads, KeyHeads, HeadSize, QueryLength, KeyLength, KeyCapacity, QueryStride, KeyStride, OutputStride;
    public bool Causal;
    public float Scale, Dropout;
    public ulong Seed, Stream;

    /// <summary>Weights that <see cref="Keep"/> draws at once, at most.</summary>
    public const int MostKept = 64;

    /// <summary>Query heads that read one key head.</summary>
    public readonly int Group => Heads / KeyHeads;

    /// <summary>How many keys query <paramref name="i"/> sees.</summary>
    public readonly int Visible(int i) => Causal ? Math.Clamp(i + 1 + KeyLength - QueryLength, 0, KeyLength) : KeyLength;

    /// <summary>
    /// What relates a block of queries to a block of keys: key k0 + j is visible to query q0 + i when j ≤ i + diagonal.
    /// Without a causal mask it is larger than any block.
    /// </summary>
    public readonly int Diagonal(int q0, int k0) => Causal ? q0 + KeyLength - QueryLength - k0 : 1 << 20;

    public readonly float* QueryRow(float* start, int b, int i, int head) => start + ((nint)b * QueryLength + i) * QueryStride + head * HeadSize;

    public readonly float* KeyRow(float* start, int b, int j, int head) => start + ((nint)b * KeyCapacity + j) * KeyStride + head * HeadSize;

    public readonly float* OutputRow(float* start, int b, int i, int head) => start + ((nint)b * QueryLength + i) * OutputStride + head * HeadSize;

    /// <summary>Where the log-sum-exp of a query lies.</summary>
    public readonly nint Row(int b, int i, int head) => ((nint)b * Heads + head) * QueryLength + i;

    /// <summary>The biases of the keys from <paramref name="j"/> on, or null.</summary>
    public readonly float* Bias(int b, int j) => KeyBias == null ? null : KeyBias + (nint)b * KeyLength + j;

    /// <summary>
    /// What dropout multiplies the weights of a query by, from key <paramref name="key"/> on: 0 or 1 / (1 - p). At most
    /// <see cref="MostKept"/> at once.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public readonly void Keep(int b, int head, int query, int key, int count, float* target)
    {
        ulong element = (ulong)Row(b, query, head) * (ulong)KeyLength + (ulong)key;
        int skip = (int)(element % 4), counters = (skip + count + 3) / 4;
        uint* words = stackalloc uint[MostKept + 4 * CpuPhilox.Batch];
        CpuPhilox.Words(Seed, Stream, element / 4, (counters + CpuPhilox.Batch - 1) / CpuPhilox.Batch * CpuPhilox.Batch, words);
        float keep = 1 - Dropout, factor = 1 / keep;
        words += skip;
        int j = 0;
        for (; j <= count - 4; j += 4)
        {
            Vector128<float> unit = Vector128.ConvertToSingle((Vector128.Load(words + j) >> 8).AsInt32()) * (1f / 16777216f);
            (Vector128.LessThan(unit, Vector128.Create(keep)) & Vector128.Create(factor)).Store(target + j);
        }

        for (; j < count; j++)
            target[j] = Philox.Unit(words[j]) < keep ? factor : 0;
    }
}

/// <summary>
/// Scaled dot-product attention in blocks of queries and keys whose scores stay in cache, with a running maximum and
/// sum (Dao et al., "FlashAttention", 2022). Work is cut so that every number has one owner and one order of summation.
/// </summary>
internal static unsafe class CpuAttention
{
    /// <summary>Up to so many queries a sequence, keys and values stream by instead of being copied into blocks.</summary>
    private const int FewQueries = 4;

    /// <summary>Writes the output and, unless it is null, the log-sum-exp.</summary>
    public static void Forward<L>(WorkerPool pool, CpuScratch scratch, in CpuAttentionArguments arguments) where L : struct, IVectorLane<L>
    {
        if (arguments.QueryLength <= FewQueries)
        {
            var decode = new CpuAttentionDecode<L>(arguments);
            decode.Cut(pool.Threads);
            decode.Partials = scratch.Take<float>(decode.AllPartials);
            decode.Scratch = scratch.Take<float>(pool.Threads * decode.ScratchFloats);
            pool.Run(decode.Items, ref decode);
            decode.Merging = decode.MergesLater;
            if (decode.Merging)
                pool.Run(arguments.Batch, ref decode);
            return;
        }

        long floats = CpuAttentionForward<L>.ScratchFloats(arguments.HeadSize);
        var work = new CpuAttentionForward<L> { Arguments = arguments, ScratchPerWorker = floats, Scratch = scratch.Take<float>(floats * pool.Threads) };
        pool.Run(arguments.Batch * arguments.Heads * Blocks<L>(arguments.QueryLength), ref work);
    }

    /// <summary>Writes the three gradients. The log-sum-exp must not be null.</summary>
    public static void Backward<L>(WorkerPool pool, CpuScratch scratch, in CpuAttentionArguments arguments) where L : struct, IVectorLane<L>
    {
        long floats = CpuAttentionBackward<L>.ScratchFloats(arguments.HeadSize);
        var work = new CpuAttentionBackward<L> { Arguments = arguments, ScratchPerWorker = floats, Scratch = scratch.Take<float>(floats * pool.Threads) };
        int sequences = arguments.Batch * arguments.KeyHeads, rounds = (sequences + pool.Threads - 1) / pool.Threads;
        int queryBlocks = Blocks<L>(arguments.QueryLength), keyBlocks = Blocks<L>(arguments.KeyLength);

        // Five products a block when one worker has a whole key head, seven when it is cut into blocks of keys and
        // of queries, which recompute the weights. The numbers come out the same, so the quicker way may be taken.
        if (5L * rounds * pool.Threads <= 7L * sequences || Math.Max(queryBlocks, keyBlocks) == 1)
        {
            pool.Run(sequences, ref work);
            return;
        }

        work.Part = AttentionPart.Keys;
        pool.Run(sequences * keyBlocks, ref work);
        work.Part = AttentionPart.Queries;
        pool.Run(arguments.Batch * arguments.Heads * queryBlocks, ref work);
    }

    /// <summary>How many blocks hold so many queries, or keys.</summary>
    public static int Blocks<L>(int length) where L : struct, IVectorLane<L> =>
        (length + CpuAttentionTile<L>.Block - 1) / CpuAttentionTile<L>.Block;

    /// <summary>0, 1, 2, … for comparing the queries of a vector with the keys they see.</summary>
    public static float* Counting => (float*)Unsafe.AsPointer(ref MemoryMarshal.GetReference<float>([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]));
}
