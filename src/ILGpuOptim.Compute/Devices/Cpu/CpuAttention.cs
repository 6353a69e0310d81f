using System.Runtime.CompilerServices;

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

    /// <summary>How many keys query <paramref name="i"/> sees.</summary>
    public readonly int Visible(int i) => Causal ? Math.Clamp(i + 1 + KeyLength - QueryLength, 0, KeyLength) : KeyLength;

    public readonly float* QueryRow(float* start, int b, int i, int head) => start + ((nint)b * QueryLength + i) * QueryStride + head * HeadSize;

    public readonly float* KeyRow(float* start, int b, int j, int head) => start + ((nint)b * KeyCapacity + j) * KeyStride + head * HeadSize;

    public readonly float* OutputRow(float* start, int b, int i, int head) => start + ((nint)b * QueryLength + i) * OutputStride + head * HeadSize;

    /// <summary>Multiplies a row of attention weights, from key <paramref name="key"/> on, by its dropout mask.</summary>
    public readonly void Drop(float* weights, int b, int head, int query, int key, int count)
    {
        ulong first = ((ulong)(b * Heads + head) * (ulong)QueryLength + (ulong)query) * (ulong)KeyLength + (ulong)key;
        Span<float> four = stackalloc float[4];
        ulong loaded = ulong.MaxValue;
        for (int j = 0; j < count; j++)
        {
            ulong element = first + (ulong)j;
            if (element / 4 != loaded)
            {
                loaded = element / 4;
                RandomNumbers.Four(RandomKind.KeepMask, 1 - Dropout, Seed, Stream, loaded, four);
            }

            weights[j] *= four[(int)(element % 4)];
        }
    }
}

/// <summary>
/// Attention in blocks of queries and keys whose scores stay in cache: forward with a running maximum and sum
/// (Dao et al., "FlashAttention", 2022), one block of queries of one head at a time.
/// </summary>
internal unsafe struct CpuAttentionForward<L> : IWork where L : struct, IVectorLane<L>
{
    private const int Block = CpuAttentionTile<L>.Block;
    private const int PaddedRows = CpuAttentionTile<L>.PaddedRows;

    public CpuAttentionArguments Arguments;
    public float* Scratch;
    public long ScratchPerWorker;

    public static long ScratchFloats(int headSize) =>
        (2L * PaddedRows + 2 * Block) * CpuAttentionTile<L>.Padded(headSize) + PaddedRows * Block + 2 * PaddedRows;

    public static int Items(in CpuAttentionArguments a) => a.Batch * a.Heads * ((a.QueryLength + Block - 1) / Block);

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Invoke(int index, int worker)
    {
        ref CpuAttentionArguments a = ref Arguments;
        int blocks = (a.QueryLength + Block - 1) / Block, size = a.HeadSize, width = CpuAttentionTile<L>.Padded(size);
        int q0 = index % blocks * Block, queries = Math.Min(Block, a.QueryLength - q0);
        int head = index / blocks % a.Heads, b = index / blocks / a.Heads, keyHead = (int)((long)head * a.KeyHeads / a.Heads);
        float* query = Scratch + worker * ScratchPerWorker;
        float* output = query + PaddedRows * width;
        float* keys = output + PaddedRows * width;
        float* values = keys + Block * width;
        float* scores = values + Block * width;
        float* largest = scores + PaddedRows * Block;
        float* sums = largest + PaddedRows;
        CpuAttentionTile<L>.Load(a.QueryRow(a.Query, b, q0, head), a.QueryStride, queries, size, a.Scale, query, width, PaddedRows);
        new Span<float>(output, PaddedRows * width).Clear();
        new Span<float>(largest, PaddedRows).Fill(float.NegativeInfinity);
        new Span<float>(sums, PaddedRows).Clear();
        int visible = a.Visible(q0 + queries - 1), offset = a.KeyLength - a.QueryLength;
        for (int k0 = 0; k0 < visible; k0 += Block)
        {
            int count = Math.Min(Block, a.KeyLength - k0), diagonal = q0 + offset - k0;
            CpuAttentionTile<L>.LoadTransposed(a.KeyRow(a.Key, b, k0, keyHead), a.KeyStride, count, size, keys);
            CpuAttentionTile<L>.Load(a.KeyRow(a.Value, b, k0, keyHead), a.KeyStride, count, size, 1, values, width, Block);
            CpuAttentionTile<L>.Multiply(query, width, 1, keys, Block, scores, Block, queries, Block, size, 0, a.Causal ? CausalPart.Scores : CausalPart.All, diagonal);
            for (int i = 0; i < queries; i++)
            {
                float* row = scores + i * Block;
                int seen = Math.Clamp(a.Visible(q0 + i) - k0, 0, count);
                if (a.KeyBias != null)
                    AddBias(row, a.KeyBias + (nint)b * a.KeyLength + k0, seen);
                float rescale = Softmax(row, seen, ref largest[i], ref sums[i]);
                if (rescale != 1)
                    Multiply(output + i * width, rescale, width);
                if (a.Dropout > 0)
                    a.Drop(row, b, head, q0 + i, k0, seen);
            }

            CpuAttentionTile<L>.Multiply(scores, Block, 1, values, width, output, width, queries, width, count, 1, a.Causal ? CausalPart.SumOverKeys : CausalPart.All, diagonal);
        }

        for (int i = 0; i < queries; i++)
        {
            float inverse = sums[i] == 0 ? 0 : 1 / sums[i];
            CpuAttentionTile<L>.Store(output + i * width, width, 1, size, inverse, a.OutputRow(a.Output, b, q0 + i, head), 0, add: false);
            if (a.LogSumExp != null)
                a.LogSumExp[((nint)b * a.Heads + head) * a.QueryLength + q0 + i] = sums[i] == 0 ? float.PositiveInfinity : largest[i] + MathF.Log(sums[i]);
        }
    }

    private static void AddBias(float* row, float* bias, int count)
    {
        for (int j = 0; j < count; j++)
            row[j] += bias[j];
    }

    private static void Multiply(float* row, float factor, int count)
    {
        for (int j = 0; j < count; j += L.Count)
            L.Store(L.Load(row + j) * L.Splat(factor), row + j);
    }

    /// <summary>Turns scores into weights relative to the running maximum; returns what earlier results must be multiplied by.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Softmax(float* row, int count, ref float largest, ref float sum)
    {
        int end = CpuAttentionTile<L>.Padded(count);
        for (int j = count; j < end; j++)
            row[j] = float.NegativeInfinity;
        L top = L.Splat(largest);
        for (int j = 0; j < end; j += L.Count)
            top = L.Max(L.Load(row + j), top);
        float maximum = L.MaxElement(top);

        // Everything so far masked: a reference of zero gives weights of zero instead of NaN.
        float reference = float.IsNegativeInfinity(maximum) ? 0 : maximum;
        L references = L.Splat(reference), total = default;
        for (int j = 0; j < end; j += L.Count)
        {
            L weight = L.Exp(L.Load(row + j) - references);
            total += weight;
            L.Store(weight, row + j);
        }

        new Span<float>(row + end, CpuAttentionTile<L>.Block - end).Clear();
        float rescale = maximum == largest || sum == 0 ? 1 : F1.Exp(new F1(largest - maximum)).Value;
        sum = sum * rescale + L.Sum(total);
        largest = maximum;
        return rescale;
    }
}
