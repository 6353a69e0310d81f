using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>The work of one item of attention's backward pass.</summary>
internal enum AttentionPart
{
    /// <summary>All gradients of one key head of one sequence and of the query heads that read it.</summary>
    All,

    /// <summary>The gradients of one block of keys and values.</summary>
    Keys,

    /// <summary>The gradients of one block of queries.</summary>
    Queries,
}

/// <summary>
/// The gradients of attention. Weights p are recomputed from the stored log-sum-exp; with g the gradient of the output,
/// the score gradients are s_ij = p_ij (g_i · v_j - Σ_d g_id o_id) (Dao et al., "FlashAttention", 2022, appendix B.4).
/// </summary>
internal unsafe struct CpuAttentionBackward<L> : IWork where L : struct, IVectorLane<L>
{
    private const int Block = CpuAttentionTile<L>.Block;

    public CpuAttentionArguments Arguments;
    public AttentionPart Part;
    public float* Scratch;
    public long ScratchPerWorker;

    /// <summary>Sums of the gradients by distance; see <see cref="CpuAttentionDistances"/>. Null when they are not wanted.</summary>
    public float* Distances;

    /// <summary>Floats that each worker needs.</summary>
    public static long ScratchFloats(in CpuAttentionArguments a) =>
        9L * Block * CpuAttentionTile<L>.Padded(a.HeadSize) + 4 * Block * Block + 2 * Block + CpuAttentionIntervals.Floats + (a.DistanceGradient == null ? 0 : CpuAttentionDistances.FloatsOfBlock(a))
        + (a.IsNarrow ? (long)Math.Max(Block, a.Group * a.QueryLength) * CpuAttentionTile<L>.Padded(a.HeadSize) : 0);

    public void Invoke(int index, int worker)
    {
        var tile = new Tile(this, worker);
        ref CpuAttentionArguments a = ref Arguments;
        if (Part == AttentionPart.Queries)
        {
            int blocks = CpuAttention.Blocks<L>(a.QueryLength);
            tile.Queries(index / blocks / a.Heads, index / blocks % a.Heads, (blocks - 1 - index % blocks) * Block);
        }
        else if (Part == AttentionPart.Keys)
        {
            int blocks = CpuAttention.Blocks<L>(a.KeyLength);
            tile.Keys(index / blocks / a.KeyHeads, index / blocks % a.KeyHeads, index % blocks * Block, alone: true);
        }
        else
        {
            // At least once: queries without keys get gradients of zero.
            for (int k0 = 0; k0 < Math.Max(a.KeyLength, 1); k0 += Block)
                tile.Keys(index / a.KeyHeads, index % a.KeyHeads, k0, alone: false);
            tile.StoreQueryGradients(index / a.KeyHeads, index % a.KeyHeads);
        }
    }

    /// <summary>One worker's scratch memory and its computations.</summary>
    private ref struct Tile
    {
        private readonly CpuAttentionArguments a;
        private readonly AttentionPart part;
        private readonly int size, width;
        private readonly float* keys, values, keyGradient, valueGradient, queries, gradients, queriesAcross, gradientsAcross, queryGradient;
        private readonly float* weights, slopes, mask, derivatives, logSumExp, deltas, distances, allDistances;

        /// <summary>Sums of the queries' gradients where these are stored in bf16: of all queries of a key head, or of one block of queries. Else null.</summary>
        private readonly float* totals;
        private CpuAttentionIntervals seen;

        public Tile(in CpuAttentionBackward<L> work, int worker)
        {
            a = work.Arguments;
            part = work.Part;
            size = a.HeadSize;
            width = CpuAttentionTile<L>.Padded(size);
            int panel = Block * width;
            keys = work.Scratch + worker * work.ScratchPerWorker;
            values = keys + panel;
            keyGradient = values + panel;
            valueGradient = keyGradient + panel;
            queries = valueGradient + panel;
            gradients = queries + panel;
            queriesAcross = gradients + panel;
            gradientsAcross = queriesAcross + panel;
            queryGradient = gradientsAcross + panel;
            weights = queryGradient + panel;
            slopes = weights + Block * Block;
            mask = slopes + Block * Block;
            derivatives = mask + Block * Block;
            logSumExp = derivatives + Block * Block;
            deltas = logSumExp + Block;
            seen = new CpuAttentionIntervals(deltas + Block);
            distances = deltas + Block + CpuAttentionIntervals.Floats;
            allDistances = work.Distances;
            totals = a.IsNarrow ? distances + (a.DistanceGradient == null ? 0 : CpuAttentionDistances.FloatsOfBlock(a)) : null;
        }

        /// <summary>A block of keys against all queries of the heads that read it; adds to the queries' gradients unless <paramref name="alone"/>.</summary>
        public void Keys(int b, int keyHead, int k0, bool alone)
        {
            int count = Math.Min(Block, a.KeyLength - k0);
            LoadKeys(b, keyHead, k0, count);
            new Span<float>(keyGradient, 2 * Block * width).Clear();
            for (int head = keyHead * a.Group; head < (keyHead + 1) * a.Group; head++)
            {
                float* sums = Distances(b, head, k0);
                for (int q0 = 0; q0 < a.QueryLength; q0 += Block)
                {
                    int rows = Math.Min(Block, a.QueryLength - q0), begin = a.First(b, q0), end = a.End(b, q0 + rows - 1);
                    if (k0 + count <= begin || k0 >= end)
                    {
                        if (k0 == 0 && begin >= end && !alone)
                            Clear(b, head, q0, rows);
                        continue;
                    }

                    seen.Of(a, b, q0, rows, k0, count);
                    LoadQueries(b, head, q0, rows);
                    Differentiate(b, head, q0, k0, sums);
                    CpuAttentionTile<L>.SumOverQueries(a.Dropout > 0 ? mask : weights, gradients, valueGradient, width, seen);
                    CpuAttentionTile<L>.SumOverQueries(slopes, queries, keyGradient, width, seen);
                    if (!alone)
                        AddQueryGradient(b, head, q0, add: k0 > begin);
                }

                if (sums != null && part == AttentionPart.All)
                    CpuAttentionDistances.Add(a, sums, k0, CpuAttentionDistances.OfHead(a, allDistances, b, head));
            }

            CpuAttentionTile<L>.Store(keyGradient, width, count, size, a.KeyRow(a.KeyGradient, b, k0, keyHead), add: false);
            CpuAttentionTile<L>.Store(valueGradient, width, count, size, a.KeyRow(a.ValueGradient, b, k0, keyHead), add: false);
        }

        /// <summary>A block of queries with all its keys.</summary>
        public void Queries(int b, int head, int q0)
        {
            int rows = Math.Min(Block, a.QueryLength - q0), begin = a.First(b, q0) / Block * Block, end = a.End(b, q0 + rows - 1);
            if (begin >= end)
                Clear(b, head, q0, rows);
            LoadQueries(b, head, q0, rows);
            for (int k0 = begin; k0 < end; k0 += Block)
            {
                int count = Math.Min(Block, a.KeyLength - k0);
                seen.Of(a, b, q0, rows, k0, count);
                LoadKeys(b, head / a.Group, k0, count);
                Differentiate(b, head, q0, k0, null);
                AddQueryGradient(b, head, q0, add: k0 > begin);
            }

            if (totals != null)
                CpuAttentionTile<L>.Store(totals, width, rows, size, a.QueryRow(a.QueryGradient, b, q0, head), add: false);
        }

        /// <summary>Stores the sums of all queries of a key head where they are kept apart.</summary>
        public readonly void StoreQueryGradients(int b, int keyHead)
        {
            for (int head = 0; totals != null && head < a.Group; head++)
                CpuAttentionTile<L>.Store(totals + (nint)head * a.QueryLength * width, width, a.QueryLength, size, a.QueryRow(a.QueryGradient, b, 0, keyHead * a.Group + head), add: false);
        }

        /// <summary>The sums of a query's gradient: in place, or apart.</summary>
        private readonly AttentionRows QueryGradients(int b, int head, int q0) =>
            totals == null ? a.QueryRow(a.QueryGradient, b, q0, head)
            : new AttentionRows((byte*)(totals + (part == AttentionPart.Queries ? 0 : ((nint)(head % a.Group) * a.QueryLength + q0) * width)), width, isNarrow: false);

        /// <summary>The sums of the gradients by distance of a block of keys, cleared; or null.</summary>
        private readonly float* Distances(int b, int head, int k0)
        {
            if (allDistances == null)
                return null;
            float* target = part == AttentionPart.All ? distances : CpuAttentionDistances.OfBlock(a, allDistances, b, head, k0 / Block);
            new Span<float>(target, CpuAttentionDistances.FloatsOfBlock(a)).Clear();
            return target;
        }

        private readonly void Clear(int b, int head, int q0, int rows)
        {
            AttentionRows target = QueryGradients(b, head, q0);
            for (int i = 0; i < rows; i++)
                new Span<float>(target.Floats + i * target.Stride, size).Clear();
        }

        private readonly void LoadKeys(int b, int keyHead, int k0, int count)
        {
            CpuAttentionTile<L>.Load(a.KeyRow(a.Key, b, k0, keyHead), count, size, a.Scale, keys, width);
            CpuAttentionTile<L>.Load(a.KeyRow(a.Value, b, k0, keyHead), count, size, 1, values, width);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private readonly void LoadQueries(int b, int head, int q0, int rows)
        {
            AttentionRows query = a.QueryRow(a.Query, b, q0, head), gradient = a.OutputRow(a.OutputGradient, b, q0, head), outputs = a.OutputRow(a.Output, b, q0, head);
            CpuAttentionTile<L>.Load(query, rows, size, a.Scale, queries, width);
            CpuAttentionTile<L>.Load(gradient, rows, size, 1, gradients, width);
            CpuAttentionTile<L>.LoadTransposed(query, rows, size, queriesAcross);
            CpuAttentionTile<L>.LoadTransposed(gradient, rows, size, gradientsAcross);
            for (int i = 0; i < rows; i++)
            {
                float* output = outputs.Factor.Row(i, 0, size, queryGradient), row = gradients + i * width;
                L total = default;
                int d = 0;
                for (; d <= size - L.Count; d += L.Count)
                    total = L.Fma(L.Load(output + d), L.Load(row + d), total);
                float sum = L.Sum(total);
                for (; d < size; d++)
                    sum = MathF.FusedMultiplyAdd(output[d], row[d], sum);
                deltas[i] = sum;
                logSumExp[i] = a.LogSumExp[a.Row(b, q0 + i, head)];
            }

            new Span<float>(deltas + rows, Block - rows).Clear();
            new Span<float>(logSumExp + rows, Block - rows).Clear();
        }

        /// <summary>
        /// Computes the weights of a tile and the gradients of its scores, and adds these to the sums by distance. With dropout, the mask is replaced by the
        /// weights after dropout.
        /// </summary>
        private readonly void Differentiate(int b, int head, int q0, int k0, float* sums)
        {
            CpuAttentionTile<L>.Scores(keys, width, queriesAcross, weights, size, seen);
            CpuAttentionTile<L>.Scores(values, width, gradientsAcross, slopes, size, seen);
            if (a.SoftCap > 0)
                CpuAttentionScores<L>.Cap(weights, seen, a.SoftCap, derivatives);
            if (a.Distances != null)
                CpuAttentionScores<L>.AddDistances(weights, seen, CpuAttentionScores<L>.Distances(a, head, q0, k0));
            if (a.Dropout > 0)
                CpuAttentionTile<L>.Mask(a, b, head, q0, k0, seen, mask);
            Slopes(weights, slopes, a.Dropout > 0 ? mask : null, a.Bias(b, k0), seen, logSumExp, deltas);
            if (sums != null)
                CpuAttentionScores<L>.SumDistances(slopes, seen, sums + q0);
            if (a.SoftCap > 0)
                CpuAttentionScores<L>.Uncap(slopes, seen, derivatives);
        }

        private readonly void AddQueryGradient(int b, int head, int q0, bool add)
        {
            CpuAttentionTile<L>.SumOverKeys(slopes, keys, queryGradient, width, seen, add: false);
            CpuAttentionTile<L>.Store(queryGradient, width, seen.Queries, size, QueryGradients(b, head, q0), add);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Slopes(float* weights, float* slopes, float* mask, float* bias, in CpuAttentionIntervals seen, float* logSumExp, float* deltas)
    {
        L zero = default;
        int keys = seen.Keys;
        for (int i = 0; i < seen.Queries; i += L.Count)
        {
            (int begin, int end) = seen.Rows<L>(i);
            (int open, int close) = seen.Seen<L>(i);
            L firstKeys = seen.FirstKeys<L>(i), endKeys = seen.EndKeys<L>(i), shift = L.Load(logSumExp + i), delta = L.Load(deltas + i);
            int place = i + begin * Block;
            for (int j = begin; j < end; j++, place += Block)
            {
                L score = L.Load(weights + place), product = L.Load(slopes + place);
                bool masked = j < open || j >= close;
                if (bias != null && j < keys)
                    score += L.Splat(bias[j]);
                L weight = L.Exp(score - shift);
                if (masked)
                    weight = CpuAttentionIntervals.Mask(weight, j, firstKeys, endKeys, zero);
                L.Store(weight, weights + place);
                if (mask != null)
                {
                    L keep = L.Load(mask + place), applied = weight * keep;
                    L.Store(masked ? CpuAttentionIntervals.Mask(applied, j, firstKeys, endKeys, zero) : applied, mask + place);
                    product *= keep;
                }

                L slope = weight * (product - delta);
                L.Store(masked ? CpuAttentionIntervals.Mask(slope, j, firstKeys, endKeys, zero) : slope, slopes + place);
            }
        }
    }
}
