using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>Attention forward: one item is one block of queries of one head.</summary>
internal unsafe struct CpuAttentionForward<L> : IWork where L : struct, IVectorLane<L>
{
    private const int Block = CpuAttentionTile<L>.Block;

    public CpuAttentionArguments Arguments;
    public float* Scratch;
    public long ScratchPerWorker;

    /// <summary>Floats that each worker needs.</summary>
    public static long ScratchFloats(int headSize) => 4L * Block * CpuAttentionTile<L>.Padded(headSize) + 2 * Block * Block + 3 * Block + CpuAttentionIntervals.Floats;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Invoke(int index, int worker)
    {
        ref CpuAttentionArguments a = ref Arguments;

        // Later queries have more keys, so they start first and the workers end together.
        int blocks = CpuAttention.Blocks<L>(a.QueryLength), q0 = (blocks - 1 - index % blocks) * Block;
        int head = index / blocks % a.Heads, b = index / blocks / a.Heads, keyHead = head / a.Group;
        int size = a.HeadSize, width = CpuAttentionTile<L>.Padded(size), queries = Math.Min(Block, a.QueryLength - q0);
        float* queriesAcross = Scratch + worker * ScratchPerWorker;
        float* keys = queriesAcross + Block * width, values = keys + Block * width, output = values + Block * width;
        float* weights = output + Block * width, mask = weights + Block * Block;
        float* largest = mask + Block * Block, sums = largest + Block, factors = sums + Block;
        var seen = new CpuAttentionIntervals(factors + Block);
        CpuAttentionTile<L>.LoadTransposed(a.QueryRow(a.Query, b, q0, head), queries, size, queriesAcross);
        new Span<float>(output, Block * width).Clear();
        new Span<float>(largest, Block).Fill(float.NegativeInfinity);
        new Span<float>(sums, Block).Clear();
        int begin = a.First(b, q0) / Block * Block, end = a.End(b, q0 + queries - 1);
        for (int k0 = begin; k0 < end; k0 += Block)
        {
            int count = Math.Min(Block, a.KeyLength - k0);
            seen.Of(a, b, q0, queries, k0, count);
            CpuAttentionTile<L>.Load(a.KeyRow(a.Key, b, k0, keyHead), count, size, a.Scale, keys, width);
            CpuAttentionTile<L>.Load(a.KeyRow(a.Value, b, k0, keyHead), count, size, 1, values, width);
            CpuAttentionTile<L>.Scores(keys, width, queriesAcross, weights, size, seen);
            if (a.SoftCap > 0)
                CpuAttentionScores<L>.Cap(weights, seen, a.SoftCap, null);
            if (a.Distances != null)
                CpuAttentionScores<L>.AddDistances(weights, seen, CpuAttentionScores<L>.Distances(a, head, q0, k0));
            Weigh(weights, a.Bias(b, k0), seen, largest, sums, factors);
            if (k0 > begin)
                Rescale(output, width, queries, factors);
            if (a.Dropout > 0)
                Drop(a, b, head, q0, k0, seen, weights, mask);
            CpuAttentionTile<L>.SumOverKeys(weights, values, output, width, seen, add: true);
        }

        Finish(a, b, head, q0, queries, output, width, largest, sums);
    }

    /// <summary>
    /// Replaces scores by exp(score - running maximum), updates maximum and sum, and stores the factors that rescale
    /// earlier results in <paramref name="factors"/>.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Weigh(float* scores, float* bias, in CpuAttentionIntervals seen, float* largest, float* sums, float* factors)
    {
        L nothing = L.Splat(float.NegativeInfinity);
        int keys = seen.Keys;
        for (int i = 0; i < seen.Queries; i += L.Count)
        {
            (int begin, int end) = seen.Rows<L>(i);
            (int open, int close) = seen.Seen<L>(i);
            L firstKeys = seen.FirstKeys<L>(i), endKeys = seen.EndKeys<L>(i), old = L.Load(largest + i), top = old;
            float* column = scores + i;
            for (int j = begin; j < end; j++)
            {
                L score = L.Load(column + j * Block);
                bool masked = j < open || j >= close;
                if (bias != null && j < keys)
                    score += L.Splat(bias[j]);
                if (masked)
                    score = CpuAttentionIntervals.Mask(score, j, firstKeys, endKeys, nothing);
                if (bias != null || masked)
                    L.Store(score, column + j * Block);
                top = L.Max(score, top);
            }

            // If everything so far is masked, a maximum of zero gives weights of zero instead of NaN.
            L reference = L.Select(L.Equal(top, nothing), L.Splat(0), top), total = default;
            for (int j = begin; j < end; j++)
            {
                L weight = L.Exp(L.Load(column + j * Block) - reference);
                total += weight;
                L.Store(weight, column + j * Block);
            }

            L factor = L.Exp(old - reference);
            L.Store(factor, factors + i);
            L.Store(L.Fma(L.Load(sums + i), factor, total), sums + i);
            L.Store(top, largest + i);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Rescale(float* output, int width, int queries, float* factors)
    {
        for (int i = 0; i < queries; i++, output += width)
        {
            L factor = L.Splat(factors[i]);
            for (int d = 0; d < width; d += L.Count)
                L.Store(L.Load(output + d) * factor, output + d);
        }
    }

    /// <summary>Multiplies the weights of a tile by their mask.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Drop(in CpuAttentionArguments a, int b, int head, int q0, int k0, in CpuAttentionIntervals seen, float* weights, float* mask)
    {
        CpuAttentionTile<L>.Mask(a, b, head, q0, k0, seen, mask);
        for (int i = 0; i < seen.Queries; i += L.Count)
        {
            (int begin, int end) = seen.Rows<L>(i);
            for (int place = begin * Block + i; place < end * Block; place += Block)
                L.Store(L.Load(weights + place) * L.Load(mask + place), weights + place);
        }
    }

    /// <summary>Divides by the sums and writes the output. A query without keys has a sum of zero and an output of zero.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Finish(in CpuAttentionArguments a, int b, int head, int q0, int queries, float* output, int width, float* largest, float* sums)
    {
        for (int i = 0; i < queries; i += L.Count)
        {
            L sum = L.Load(sums + i), logSumExp = L.Load(largest + i) + L.Log(sum);
            L.Store(L.Select(L.Equal(sum, L.Splat(0)), L.Splat(float.PositiveInfinity), logSumExp), largest + i);
        }

        for (int i = 0; i < queries; i++)
        {
            float inverse = sums[i] == 0 ? 0 : 1 / sums[i];
            CpuAttentionTile<L>.Store(output + i * width, a.HeadSize, inverse, a.OutputRow(a.Output, b, q0 + i, head));
        }

        if (a.LogSumExp != null)
            new Span<float>(largest, queries).CopyTo(new Span<float>(a.LogSumExp + a.Row(b, q0, head), queries));
    }
}
