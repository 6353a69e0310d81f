using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>The operands of attention as pointers; see <see cref="AttentionArguments"/>.</summary>
internal unsafe struct CpuAttentionArguments
{
    public byte* Query, Key, Value, Output, OutputGradient, QueryGradient, KeyGradient, ValueGradient;

    /// <summary>These are bf16 instead of f32.</summary>
    public bool IsNarrow;
    public float* LogSumExp, KeyBias;
    public int Batch, Heads, KeyHeads, HeadSize, QueryLength, KeyLength, KeyCapacity, QueryStride, KeyStride, OutputStride, QueryHeadStep, KeyHeadStep;
    public int* Ranges;

    /// <summary>Keys before and after its position that a query attends to.</summary>
    public long Before, After;
    public float Scale, SoftCap, Dropout;
    public ulong Seed, Stream;

    /// <summary>The largest number of weights per call of <see cref="Keep"/>.</summary>
    public const int MaxKept = 64;

    /// <summary>Query heads that read one key head.</summary>
    public readonly int Group => Heads / KeyHeads;

    /// <summary>The biases by distance as the caller has them, distances × heads, and their gradients; or null.</summary>
    public float* DistanceBias, DistanceGradient;

    /// <summary>
    /// A copy of the biases, head by head, or null. The bias of query i and key j is at i - j + KeyLength - 1 for tiles (adjacent queries are
    /// adjacent), or at j - i + QueryLength - 1 for a few queries.
    /// </summary>
    public float* Distances;

    /// <summary>Numbers of a head in <see cref="Distances"/>: as tiles may reach beyond the last query and key, there is room around the biases.</summary>
    public readonly long DistanceStep => Math.Max(0, (long)QueryLength + KeyLength - 1) + 2 * DistanceMargin;

    /// <summary>Numbers before and behind the biases of a head.</summary>
    public const int DistanceMargin = 64;

    /// <summary>The first key of query <paramref name="i"/>, 0 to KeyLength. If it is not before <see cref="End"/>, the query has none.</summary>
    public readonly int First(int b, int i)
    {
        long first = (long)i + KeyLength - QueryLength - Before;
        if (Ranges != null)
            first = Math.Max(first, Ranges[2 * ((nint)b * QueryLength + i)]);
        return (int)Math.Clamp(first, 0, KeyLength);
    }

    /// <summary>The end of the keys of query <paramref name="i"/>, 0 to KeyLength.</summary>
    public readonly int End(int b, int i)
    {
        long end = (long)i + KeyLength - QueryLength + After + 1;
        if (Ranges != null)
            end = Math.Min(end, Ranges[2 * ((nint)b * QueryLength + i) + 1]);
        return (int)Math.Clamp(end, 0, KeyLength);
    }

    public readonly AttentionRows QueryRow(byte* start, int b, int i, int head) => Rows(start, ((nint)b * QueryLength + i) * QueryStride + (nint)head * QueryHeadStep, QueryStride);

    public readonly AttentionRows KeyRow(byte* start, int b, int j, int head) => Rows(start, ((nint)b * KeyCapacity + j) * KeyStride + (nint)head * KeyHeadStep, KeyStride);

    public readonly AttentionRows OutputRow(byte* start, int b, int i, int head) => Rows(start, ((nint)b * QueryLength + i) * OutputStride + head * HeadSize, OutputStride);

    private readonly AttentionRows Rows(byte* start, nint element, nint stride) => new(start + element * (IsNarrow ? sizeof(ushort) : sizeof(float)), stride, IsNarrow);

    /// <summary>The index of a query's log-sum-exp.</summary>
    public readonly nint Row(int b, int i, int head) => ((nint)b * Heads + head) * QueryLength + i;

    /// <summary>The biases of the keys from <paramref name="j"/> on, or null.</summary>
    public readonly float* Bias(int b, int j) => KeyBias == null ? null : KeyBias + (nint)b * KeyLength + j;

    /// <summary>
    /// The dropout factors of a query's weights from key <paramref name="key"/> on: 0 or 1 / (1 - p). At most
    /// <see cref="MaxKept"/> per call.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public readonly void Keep(int b, int head, int query, int key, int count, float* target)
    {
        ulong element = (ulong)Row(b, query, head) * (ulong)KeyLength + (ulong)key;
        int skip = (int)(element % 4), counters = (skip + count + 3) / 4;
        uint* words = stackalloc uint[MaxKept + 4 * CpuPhilox.Batch];
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

/// <summary>Rows of one head in memory, a stride apart.</summary>
/// <param name="data">The first element.</param>
/// <param name="stride">Elements from one row to the next.</param>
/// <param name="isNarrow">They are bf16 instead of f32.</param>
internal readonly unsafe struct AttentionRows(byte* data, nint stride, bool isNarrow)
{
    public readonly nint Stride = stride;
    public readonly bool IsNarrow = isNarrow;

    public float* Floats => (float*)data;

    public ushort* Halves => (ushort*)data;

    /// <summary>The rows as a factor of a product.</summary>
    public GemmOperand Factor => new() { Data = data, Stride = (int)Stride, Type = IsNarrow ? DType.BF16 : DType.F32 };
}

/// <summary>
/// Scaled dot-product attention in blocks of queries and keys whose scores stay in cache, with a running maximum and
/// sum (Dao et al., "FlashAttention", 2022). Work is divided so that every element has one owner and one order of summation.
/// </summary>
internal static unsafe class CpuAttention
{
    /// <summary>Up to so many queries a sequence, keys and values stream by instead of being copied into blocks.</summary>
    private const int FewQueries = 4;

    /// <summary>Writes the output and, unless it is null, the log-sum-exp.</summary>
    public static void Forward<L>(WorkerPool pool, CpuScratch scratch, CpuAttentionArguments arguments) where L : struct, IVectorLane<L>
    {
        if (arguments.DistanceBias != null)
            arguments.Distances = Distances(scratch, arguments, arguments.QueryLength > FewQueries || arguments.IsNarrow);
        if (arguments.QueryLength <= FewQueries && !arguments.IsNarrow)
        {
            var decode = new CpuAttentionDecode<L>(arguments);
            decode.Partition(pool.Threads);
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

    /// <summary>Writes the gradients. The log-sum-exp must not be null.</summary>
    public static void Backward<L>(WorkerPool pool, CpuScratch scratch, CpuAttentionArguments arguments) where L : struct, IVectorLane<L>
    {
        if (arguments.DistanceBias != null)
            arguments.Distances = Distances(scratch, arguments, reversed: true);
        long floats = CpuAttentionBackward<L>.ScratchFloats(arguments);
        var work = new CpuAttentionBackward<L> { Arguments = arguments, ScratchPerWorker = floats, Scratch = scratch.Take<float>(floats * pool.Threads) };
        int sequences = arguments.Batch * arguments.KeyHeads, rounds = (sequences + pool.Threads - 1) / pool.Threads;
        int queryBlocks = Blocks<L>(arguments.QueryLength), keyBlocks = Blocks<L>(arguments.KeyLength);

        // Five products per block if a worker has a whole key head; seven if it is divided into blocks of keys and
        // of queries, which recompute the weights. The results are the same bits, so the faster way is taken.
        bool whole = 5L * rounds * pool.Threads <= 7L * sequences || Math.Max(queryBlocks, keyBlocks) == 1;
        var distances = new CpuAttentionDistances { Arguments = arguments, Blocks = whole ? 0 : keyBlocks };
        if (arguments.DistanceGradient != null)
            work.Distances = distances.Sums = distances.Take(scratch);
        if (whole)
        {
            pool.Run(sequences, ref work);
        }
        else
        {
            work.Part = AttentionPart.Keys;
            pool.Run(sequences * keyBlocks, ref work);
            work.Part = AttentionPart.Queries;
            pool.Run(arguments.Batch * arguments.Heads * queryBlocks, ref work);
        }

        if (arguments.DistanceGradient != null)
            pool.Run(arguments.Heads, ref distances);
    }

    /// <summary>Copies the biases by distance head by head; see <see cref="CpuAttentionArguments.Distances"/>.</summary>
    private static float* Distances(CpuScratch scratch, in CpuAttentionArguments a, bool reversed)
    {
        long step = a.DistanceStep, count = step - 2 * CpuAttentionArguments.DistanceMargin;
        float* result = scratch.Take<float>(step * a.Heads);
        for (int head = 0; head < a.Heads; head++)
        {
            float* row = result + head * step, source = a.DistanceBias + head;
            for (long k = 0; k < step; k++)
            {
                long place = k - CpuAttentionArguments.DistanceMargin;
                row[k] = place >= 0 && place < count ? source[(reversed ? count - 1 - place : place) * a.Heads] : 0;
            }
        }

        return result;
    }

    /// <summary>The number of blocks for so many queries or keys.</summary>
    public static int Blocks<L>(int length) where L : struct, IVectorLane<L> =>
        (length + CpuAttentionTile<L>.Block - 1) / CpuAttentionTile<L>.Block;
}
