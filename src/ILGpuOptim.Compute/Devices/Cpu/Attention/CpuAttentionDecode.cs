using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>
/// Attention of a few queries, as in decoding: keys and values of all heads are read once, in memory order.
/// A sequence is divided into chunks of keys, each with its own maximum, sum and output, that are merged
/// in order (Dao et al., "Flash-Decoding", 2023).
/// </summary>
internal unsafe struct CpuAttentionDecode<L>(CpuAttentionArguments arguments) : IWork where L : struct, IVectorLane<L>
{
    private const int Chunk = 64;

    /// <summary>Keys that are processed together, so that queries and outputs are loaded once for all.</summary>
    private const int Together = 4;

    /// <summary>Keys and values that are worth waking other workers.</summary>
    private const int MinNumbers = 16384;

    private CpuAttentionArguments a = arguments;

    /// <summary>Key heads of an item, or 0 when chunks are items.</summary>
    private int partHeads;

    /// <summary>The results of the chunks.</summary>
    public float* Partials;

    public float* Scratch;

    /// <summary>True if items are sequences to merge instead of chunks.</summary>
    public bool Merging;

    /// <summary>The number of items: sequences divided between key heads, or chunks of sequences with all heads.</summary>
    public readonly int Items => a.Batch * (partHeads > 0 ? (a.KeyHeads + partHeads - 1) / partHeads : Chunks);

    /// <summary>True if items are chunks, which a second loop merges.</summary>
    public readonly bool MergesLater => partHeads == 0;

    /// <summary>Floats of one chunk's result.</summary>
    public readonly long PartialFloats => (long)Rows * (a.HeadSize + 2);

    /// <summary>Floats of all results.</summary>
    public readonly long AllPartials => a.Batch * Chunks * PartialFloats;

    /// <summary>Floats that each worker needs.</summary>
    public readonly long ScratchFloats => (long)Rows * Chunk;

    /// <summary>Chunks of one sequence.</summary>
    public readonly int Chunks => (a.KeyLength + Chunk - 1) / Chunk;

    /// <summary>The chunks of a sequence that have keys of some query; the others write nothing.</summary>
    private readonly (int Begin, int End) ChunksOf(int b) =>
        a.QueryLength == 0 ? (0, 0) : (a.First(b, 0) / Chunk, (a.End(b, a.QueryLength - 1) + Chunk - 1) / Chunk);

    /// <summary>True if scores have a soft cap or distance bias, applied before the key biases.</summary>
    private readonly bool BiasesLater => a.SoftCap > 0 || a.Distances != null;

    /// <summary>Queries of all heads, head by head.</summary>
    private readonly int Rows => a.Heads * a.QueryLength;

    /// <summary>
    /// Chooses the division, which does not affect results. A worker with heads of its own merges their chunks while they are in
    /// its cache; chunks become items if there are too few heads for all workers.
    /// </summary>
    public void Partition(int threads)
    {
        long numbers = 2L * a.Batch * a.KeyLength * a.KeyHeads * a.HeadSize;
        if (numbers < MinNumbers || threads == 1)
            partHeads = a.KeyHeads;
        else if (a.Dropout == 0 && a.Batch * a.KeyHeads >= 2 * threads)
            partHeads = Math.Max(1, a.Batch * a.KeyHeads / threads);
    }

    public void Invoke(int index, int worker)
    {
        float* scratch = Scratch + worker * ScratchFloats;
        if (Merging)
        {
            Merge(index, 0, Rows);
        }
        else if (MergesLater)
        {
            int b = index / Chunks, chunk = index % Chunks;
            (int begin, int end) = ChunksOf(b);
            if (chunk >= begin && chunk < end)
                Stream(b, chunk, 0, a.KeyHeads, scratch);
        }
        else
        {
            int parts = Items / a.Batch, b = index / parts, head = index % parts * partHeads, heads = Math.Min(partHeads, a.KeyHeads - head);
            (int begin, int end) = ChunksOf(b);
            for (int chunk = begin; chunk < end; chunk++)
                Stream(b, chunk, head, heads, scratch);
            Merge(b, head * a.Group * a.QueryLength, heads * a.Group * a.QueryLength);
        }
    }

    /// <summary>A chunk with some of the key heads.</summary>
    private readonly void Stream(int b, int chunk, int head, int heads, float* scratch)
    {
        CpuAttentionDecode<L> part = this;
        if (heads < a.KeyHeads)
        {
            part.a.KeyHeads = heads;
            part.a.Heads = heads * a.Group;
            part.a.Query += (nint)head * a.Group * a.QueryHeadStep * sizeof(float);
            part.a.Key += (nint)head * a.KeyHeadStep * sizeof(float);
            part.a.Value += (nint)head * a.KeyHeadStep * sizeof(float);
            if (a.Distances != null)
                part.a.Distances += head * a.Group * a.DistanceStep;
        }

        int row = head * a.Group * a.QueryLength;
        float* outputs = Partials + (b * Chunks + chunk) * PartialFloats, largest = outputs + (nint)Rows * a.HeadSize + row;
        part.Stream(b, chunk * Chunk, outputs + (nint)row * a.HeadSize, largest, largest + Rows, scratch);
    }

    /// <summary>The results of a chunk for all queries: unnormalized outputs, maximum scores, sums of weights.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void Stream(int b, int k0, float* outputs, float* largest, float* sums, float* weights)
    {
        // From the first key of some query to the last.
        int begin = Math.Max(a.First(b, 0) - k0, 0), count = Math.Max(begin, Math.Min(Chunk, a.End(b, a.QueryLength - 1) - k0)), size = a.HeadSize;
        int j = begin;
        for (; j <= count - Together; j += Together)
            ScoreTogether(b, k0 + j, weights + j);
        for (; j < count; j++)
            ScoreOne(b, k0 + j, weights + j);

        for (int row = 0; row < Rows; row++)
            sums[row] = Weigh(b, row, k0, weights + row * Chunk, out largest[row]);
        new Span<float>(outputs, Rows * size).Clear();

        // Masked keys must not be multiplied by zero: their values may be NaN.
        int seen = Math.Clamp(a.First(b, a.QueryLength - 1) - k0, begin, count), seenEnd = Math.Clamp(a.End(b, 0) - k0, 0, count);
        for (j = begin; j < seen; j++)
            AddOne(b, k0, j, weights + j, outputs);
        for (; j <= seenEnd - Together; j += Together)
            AddTogether(b, k0 + j, weights + j, outputs);
        for (; j < count; j++)
            AddOne(b, k0, j, weights + j, outputs);
    }

    /// <summary>The scores of one key: a query's lies <see cref="Chunk"/> after that of the query before.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void ScoreOne(int b, int j, float* score)
    {
        int size = a.HeadSize, group = a.Group;
        float bias = BiasesLater || a.KeyBias == null ? 0 : *a.Bias(b, j);
        float* key = a.KeyRow(a.Key, b, j, 0).Floats;
        for (int head = 0; head < a.Heads; key += a.KeyHeadStep)
        {
            for (int end = head + group; head < end; head++)
            {
                float* query = a.QueryRow(a.Query, b, 0, head).Floats;
                for (int i = 0; i < a.QueryLength; i++, query += a.QueryStride, score += Chunk)
                    *score = Dot(query, key, size) * a.Scale + bias;
            }
        }
    }

    /// <summary>The scores of four successive keys, each the same number as <see cref="ScoreOne"/>'s.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void ScoreTogether(int b, int j, float* score)
    {
        int size = a.HeadSize, group = a.Group, queries = a.QueryLength, heads = a.Heads, whole = size / L.Count * L.Count;
        bool biased = a.KeyBias != null && !BiasesLater;
        float bias0 = biased ? a.Bias(b, j)[0] : 0, bias1 = biased ? a.Bias(b, j)[1] : 0, bias2 = biased ? a.Bias(b, j)[2] : 0, bias3 = biased ? a.Bias(b, j)[3] : 0;
        float scale = a.Scale;
        float* query = a.QueryRow(a.Query, b, 0, 0).Floats, key = a.KeyRow(a.Key, b, j, 0).Floats;
        AskFor(key + Together * a.KeyStride);
        AskFor(a.KeyRow(a.Value, b, j, 0).Floats);
        for (int head = 0; head < heads; key += a.KeyHeadStep)
        {
            float* key1 = key + a.KeyStride, key2 = key1 + a.KeyStride, key3 = key2 + a.KeyStride;
            for (int end = head + group; head < end; head++, query += a.QueryHeadStep)
            {
                float* x = query;
                for (int i = 0; i < queries; i++, x += a.QueryStride, score += Chunk)
                {
                    L s0 = default, s1 = default, s2 = default, s3 = default;
                    int c = 0;
                    for (; c < whole; c += L.Count)
                    {
                        L q = L.Load(x + c);
                        s0 = L.Fma(q, L.Load(key + c), s0);
                        s1 = L.Fma(q, L.Load(key1 + c), s1);
                        s2 = L.Fma(q, L.Load(key2 + c), s2);
                        s3 = L.Fma(q, L.Load(key3 + c), s3);
                    }

                    float t0 = L.Sum(s0), t1 = L.Sum(s1), t2 = L.Sum(s2), t3 = L.Sum(s3);
                    for (; c < size; c++)
                    {
                        t0 = MathF.FusedMultiplyAdd(x[c], key[c], t0);
                        t1 = MathF.FusedMultiplyAdd(x[c], key1[c], t1);
                        t2 = MathF.FusedMultiplyAdd(x[c], key2[c], t2);
                        t3 = MathF.FusedMultiplyAdd(x[c], key3[c], t3);
                    }

                    score[0] = t0 * scale + bias0;
                    score[1] = t1 * scale + bias1;
                    score[2] = t2 * scale + bias2;
                    score[3] = t3 * scale + bias3;
                }
            }
        }
    }

    /// <summary>Adds the weighted values of one key to the outputs of the queries that attend to it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void AddOne(int b, int k0, int j, float* weight, float* outputs)
    {
        int size = a.HeadSize, group = a.Group, queries = a.QueryLength, first = 0;
        while (first < queries && a.End(b, first) <= k0 + j)
            first++;
        int last = first;
        while (last < queries && a.First(b, last) <= k0 + j)
            last++;
        float* value = a.KeyRow(a.Value, b, k0 + j, 0).Floats;
        for (int head = 0; head < a.Heads; value += a.KeyHeadStep)
        {
            for (int end = head + group; head < end; head++)
            {
                for (int row = head * queries + first; row < head * queries + last; row++)
                    AddScaled(value, weight[row * Chunk], outputs + row * size, size);
            }
        }
    }

    /// <summary>
    /// Prefetches four consecutive rows of keys or values: those of a few heads are too far apart for hardware prefetching.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly void AskFor(float* row)
    {
        if (!Sse.IsSupported || a.KeyHeadStep != a.HeadSize)
            return;
        for (int i = 0; i < Together; i++, row += a.KeyStride)
        {
            for (int k = 0; k < a.KeyHeads * a.HeadSize; k += 16)
                Sse.Prefetch0(row + k);
        }
    }

    /// <summary>The same for four successive keys that all queries see, one after the other.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void AddTogether(int b, int j, float* weight, float* output)
    {
        int size = a.HeadSize, rows = a.Group * a.QueryLength, keyHeads = a.KeyHeads, whole = size / L.Count * L.Count;
        float* value = a.KeyRow(a.Value, b, j, 0).Floats;
        for (int head = 0; head < keyHeads; head++, value += a.KeyHeadStep)
        {
            float* value1 = value + a.KeyStride, value2 = value1 + a.KeyStride, value3 = value2 + a.KeyStride;
            for (int row = 0; row < rows; row++, weight += Chunk, output += size)
            {
                L w0 = L.Splat(weight[0]), w1 = L.Splat(weight[1]), w2 = L.Splat(weight[2]), w3 = L.Splat(weight[3]);
                int c = 0;
                for (; c < whole; c += L.Count)
                {
                    L sum = L.Fma(L.Load(value + c), w0, L.Load(output + c));
                    sum = L.Fma(L.Load(value1 + c), w1, sum);
                    sum = L.Fma(L.Load(value2 + c), w2, sum);
                    L.Store(L.Fma(L.Load(value3 + c), w3, sum), output + c);
                }

                for (; c < size; c++)
                {
                    float sum = MathF.FusedMultiplyAdd(value[c], weight[0], output[c]);
                    sum = MathF.FusedMultiplyAdd(value1[c], weight[1], sum);
                    sum = MathF.FusedMultiplyAdd(value2[c], weight[2], sum);
                    output[c] = MathF.FusedMultiplyAdd(value3[c], weight[3], sum);
                }
            }
        }
    }

    /// <summary>Replaces the scores of a query by exp(score - maximum), applies dropout, and returns the sum before dropout.</summary>
    private readonly float Weigh(int b, int row, int k0, float* weights, out float largest)
    {
        int query = row % a.QueryLength, visible = Math.Clamp(a.End(b, query) - k0, 0, Chunk), first = Math.Clamp(a.First(b, query) - k0, 0, visible);
        int end = CpuAttentionTile<L>.Padded(visible);
        new Span<float>(weights + visible, end - visible).Fill(float.NegativeInfinity);
        if (first > 0)
            new Span<float>(weights, first).Fill(float.NegativeInfinity);
        if (BiasesLater)
            Adjust(b, row / a.QueryLength, query, k0, first, visible, weights);
        L top = L.Splat(float.NegativeInfinity), total = default;
        for (int j = 0; j < end; j += L.Count)
            top = L.Max(L.Load(weights + j), top);
        largest = L.MaxElement(top);
        L reference = L.Splat(float.IsNegativeInfinity(largest) ? 0 : largest);
        for (int j = 0; j < end; j += L.Count)
        {
            L weight = L.Exp(L.Load(weights + j) - reference);
            total += weight;
            L.Store(weight, weights + j);
        }

        if (a.Dropout > 0)
        {
            float* keep = stackalloc float[Chunk];
            a.Keep(b, row / a.QueryLength, query, k0 + first, visible - first, keep + first);
            for (int j = first; j < visible; j++)
                weights[j] *= keep[j];
        }

        return L.Sum(total);
    }

    /// <summary>Caps the scores of a query and adds the biases.</summary>
    private readonly void Adjust(int b, int head, int query, int k0, int first, int end, float* scores)
    {
        float* biases = a.KeyBias == null ? null : a.Bias(b, k0);
        float* distances = a.Distances == null ? null : a.Distances + head * a.DistanceStep + CpuAttentionArguments.DistanceMargin + k0 - query + a.QueryLength - 1;
        for (int j = first; j < end; j++)
        {
            float score = scores[j];
            if (a.SoftCap > 0)
                score = a.SoftCap * F1.Tanh(new F1(score / a.SoftCap)).Value;
            scores[j] = score + (distances == null ? 0 : distances[j]) + (biases == null ? 0 : biases[j]);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void Merge(int b, int firstRow, int rows)
    {
        int size = a.HeadSize;
        float* first = Partials + (long)b * Chunks * PartialFloats;
        (int begin, int end) = ChunksOf(b);
        for (int row = firstRow; row < firstRow + rows; row++)
        {
            float top = float.NegativeInfinity, sum = 0;
            float* largest = first + (nint)Rows * size + row;
            for (int chunk = begin; chunk < end; chunk++)
                top = Math.Max(top, largest[chunk * PartialFloats]);
            float reference = float.IsNegativeInfinity(top) ? 0 : top;
            int head = row / a.QueryLength, query = row % a.QueryLength;
            float* output = a.OutputRow(a.Output, b, query, head).Floats;
            new Span<float>(output, size).Clear();
            for (int chunk = begin; chunk < end; chunk++)
            {
                float* partial = first + chunk * PartialFloats;
                float factor = F1.Exp(new F1(partial[(nint)Rows * size + row] - reference)).Value;
                sum = MathF.FusedMultiplyAdd(partial[(nint)Rows * size + Rows + row], factor, sum);
                AddScaled(partial + row * size, factor, output, size);
            }

            CpuAttentionTile<L>.Store(output, size, sum == 0 ? 0 : 1 / sum, output, add: false);
            if (a.LogSumExp != null)
                a.LogSumExp[a.Row(b, query, head)] = sum == 0 ? float.PositiveInfinity : top + F1.Log(new F1(sum)).Value;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Dot(float* x, float* y, int count)
    {
        L total = default;
        int j = 0;
        for (; j <= count - L.Count; j += L.Count)
            total = L.Fma(L.Load(x + j), L.Load(y + j), total);
        float sum = L.Sum(total);
        for (; j < count; j++)
            sum = MathF.FusedMultiplyAdd(x[j], y[j], sum);
        return sum;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void AddScaled(float* x, float factor, float* target, int count)
    {
        int j = 0;
        for (; j <= count - L.Count; j += L.Count)
            L.Store(L.Fma(L.Load(x + j), L.Splat(factor), L.Load(target + j)), target + j);
        for (; j < count; j++)
            target[j] = MathF.FusedMultiplyAdd(x[j], factor, target[j]);
    }
}
