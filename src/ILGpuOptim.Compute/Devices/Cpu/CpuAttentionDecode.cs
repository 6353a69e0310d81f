using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>
/// Attention of a few queries, as in decoding: keys and values of all heads stream by once, in the order in which
/// they lie. A sequence is cut into chunks of keys, each with a maximum, a sum and an output of its own, that are merged
/// in order (Dao et al., "Flash-Decoding", 2023).
/// </summary>
internal unsafe struct CpuAttentionDecode<L>(CpuAttentionArguments arguments) : IWork where L : struct, IVectorLane<L>
{
    private const int Chunk = 64;

    private CpuAttentionArguments a = arguments;

    /// <summary>Where the chunks leave their results.</summary>
    public float* Partials;

    public float* Scratch;

    /// <summary>Whether an item is a sequence to merge instead of a chunk.</summary>
    public bool Merging;

    /// <summary>How many chunks there are.</summary>
    public readonly int Items => a.Batch * Chunks;

    /// <summary>Floats of one chunk's result.</summary>
    public readonly long PartialFloats => (long)Rows * (a.HeadSize + 2);

    /// <summary>Floats that each worker needs.</summary>
    public readonly long ScratchFloats => (long)Rows * Chunk;

    /// <summary>Chunks of one sequence; a single one is merged where it is computed.</summary>
    public readonly int Chunks => (a.KeyLength + Chunk - 1) / Chunk;

    /// <summary>Queries of all heads, head by head.</summary>
    private readonly int Rows => a.Heads * a.QueryLength;

    public void Invoke(int index, int worker)
    {
        if (!Merging)
            Stream(index / Chunks, index % Chunks * Chunk, Partials + index * PartialFloats, Scratch + worker * ScratchFloats);
        if (Merging || Chunks == 1)
            Merge(index);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void Stream(int b, int k0, float* outputs, float* weights)
    {
        int count = Math.Min(Chunk, a.KeyLength - k0), size = a.HeadSize, group = a.Group, queries = a.QueryLength;
        for (int j = 0; j < count; j++)
        {
            float bias = a.KeyBias == null ? 0 : *a.Bias(b, k0 + j);
            float* key = a.KeyRow(a.Key, b, k0 + j, 0), score = weights + j;
            for (int head = 0; head < a.Heads; key += size)
            {
                for (int end = head + group; head < end; head++)
                {
                    float* query = a.QueryRow(a.Query, b, 0, head);
                    for (int i = 0; i < queries; i++, query += a.QueryStride, score += Chunk)
                        *score = Dot(query, key, size) * a.Scale + bias;
                }
            }
        }

        float* largest = outputs + (nint)Rows * size, sums = largest + Rows;
        for (int row = 0; row < Rows; row++)
            sums[row] = Weigh(b, row, k0, count, weights + row * Chunk, out largest[row]);
        new Span<float>(outputs, Rows * size).Clear();
        for (int j = 0; j < count; j++)
        {
            // A key that is not visible must not be touched: its value may be NaN.
            int first = 0;
            while (first < queries && a.Visible(first) <= k0 + j)
                first++;
            float* value = a.KeyRow(a.Value, b, k0 + j, 0);
            for (int head = 0; head < a.Heads; value += size)
            {
                for (int end = head + group; head < end; head++)
                {
                    for (int row = head * queries + first; row < (head + 1) * queries; row++)
                        AddScaled(value, weights[row * Chunk + j], outputs + row * size, size);
                }
            }
        }
    }

    /// <summary>Turns the scores of a query into exp(score - largest), dropped or kept, and returns the sum before dropout.</summary>
    private readonly float Weigh(int b, int row, int k0, int count, float* weights, out float largest)
    {
        int query = row % a.QueryLength, visible = Math.Clamp(a.Visible(query) - k0, 0, count), end = CpuAttentionTile<L>.Padded(visible);
        new Span<float>(weights + visible, end - visible).Fill(float.NegativeInfinity);
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
            a.Keep(b, row / a.QueryLength, query, k0, visible, keep);
            for (int j = 0; j < visible; j++)
                weights[j] *= keep[j];
        }

        return L.Sum(total);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void Merge(int b)
    {
        int size = a.HeadSize;
        float* first = Partials + (long)b * Chunks * PartialFloats;
        for (int row = 0; row < Rows; row++)
        {
            float top = float.NegativeInfinity, sum = 0;
            float* largest = first + (nint)Rows * size + row;
            for (int chunk = 0; chunk < Chunks; chunk++)
                top = Math.Max(top, largest[chunk * PartialFloats]);
            float reference = float.IsNegativeInfinity(top) ? 0 : top;
            int head = row / a.QueryLength, query = row % a.QueryLength;
            float* output = a.OutputRow(a.Output, b, query, head);
            new Span<float>(output, size).Clear();
            for (int chunk = 0; chunk < Chunks; chunk++)
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
