using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>What one item of attention's backward pass computes.</summary>
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
/// slopes are s_ij = p_ij (g_i · v_j - Σ_d g_id o_id) (Dao et al., "FlashAttention", 2022, appendix B.4).
/// </summary>
internal unsafe struct CpuAttentionBackward<L> : IWork where L : struct, IVectorLane<L>
{
    private const int Block = CpuAttentionTile<L>.Block;

    public CpuAttentionArguments Arguments;
    public AttentionPart Part;
    public float* Scratch;
    public long ScratchPerWorker;

    /// <summary>Floats that each worker needs.</summary>
    public static long ScratchFloats(int headSize) => 9L * Block * CpuAttentionTile<L>.Padded(headSize) + 3 * Block * Block + 2 * Block;

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
            // At least once, so that queries without keys get gradients of zero.
            for (int k0 = 0; k0 < Math.Max(a.KeyLength, 1); k0 += Block)
                tile.Keys(index / a.KeyHeads, index % a.KeyHeads, k0, alone: false);
        }
    }

    /// <summary>One worker's scratch, and what it does with it.</summary>
    private readonly ref struct Tile
    {
        private readonly CpuAttentionArguments a;
        private readonly int size, width;
        private readonly float* keys, values, keyGradient, valueGradient, queries, gradients, queriesAcross, gradientsAcross, queryGradient;
        private readonly float* weights, slopes, mask, logSumExp, deltas;

        public Tile(in CpuAttentionBackward<L> work, int worker)
        {
            a = work.Arguments;
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
            logSumExp = mask + Block * Block;
            deltas = logSumExp + Block;
        }

        /// <summary>A block of keys against all queries of the heads that read it; adds to the queries' gradients unless <paramref name="alone"/>.</summary>
        public void Keys(int b, int keyHead, int k0, bool alone)
        {
            int count = Math.Min(Block, a.KeyLength - k0);
            LoadKeys(b, keyHead, k0, count);
            new Span<float>(keyGradient, 2 * Block * width).Clear();
            for (int head = keyHead * a.Group; head < (keyHead + 1) * a.Group; head++)
            {
                for (int q0 = 0; q0 < a.QueryLength; q0 += Block)
                {
                    int rows = Math.Min(Block, a.QueryLength - q0), diagonal = a.Diagonal(q0, k0);
                    if (a.Visible(q0 + rows - 1) <= k0)
                    {
                        if (k0 == 0 && !alone)
                            Clear(b, head, q0, rows);
                        continue;
                    }

                    LoadQueries(b, head, q0, rows);
                    Differentiate(b, head, q0, rows, k0, count);
                    CpuAttentionTile<L>.SumOverQueries(a.Dropout > 0 ? mask : weights, gradients, valueGradient, width, count, rows, diagonal);
                    CpuAttentionTile<L>.SumOverQueries(slopes, queries, keyGradient, width, count, rows, diagonal);
                    if (!alone)
                        AddQueryGradient(b, head, q0, rows, k0, count);
                }
            }

            CpuAttentionTile<L>.Store(keyGradient, width, count, size, a.KeyRow(a.KeyGradient, b, k0, keyHead), a.KeyStride, add: false);
            CpuAttentionTile<L>.Store(valueGradient, width, count, size, a.KeyRow(a.ValueGradient, b, k0, keyHead), a.KeyStride, add: false);
        }

        /// <summary>A block of queries against all keys that it sees.</summary>
        public void Queries(int b, int head, int q0)
        {
            int rows = Math.Min(Block, a.QueryLength - q0), visible = a.Visible(q0 + rows - 1);
            if (visible == 0)
                Clear(b, head, q0, rows);
            LoadQueries(b, head, q0, rows);
            for (int k0 = 0; k0 < visible; k0 += Block)
            {
                int count = Math.Min(Block, a.KeyLength - k0);
                LoadKeys(b, head / a.Group, k0, count);
                Differentiate(b, head, q0, rows, k0, count);
                AddQueryGradient(b, head, q0, rows, k0, count);
            }
        }

        private void Clear(int b, int head, int q0, int rows)
        {
            for (int i = 0; i < rows; i++)
                new Span<float>(a.QueryRow(a.QueryGradient, b, q0 + i, head), size).Clear();
        }

        private void LoadKeys(int b, int keyHead, int k0, int count)
        {
            CpuAttentionTile<L>.Load(a.KeyRow(a.Key, b, k0, keyHead), a.KeyStride, count, size, a.Scale, keys, width);
            CpuAttentionTile<L>.Load(a.KeyRow(a.Value, b, k0, keyHead), a.KeyStride, count, size, 1, values, width);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private void LoadQueries(int b, int head, int q0, int rows)
        {
            float* query = a.QueryRow(a.Query, b, q0, head), gradient = a.OutputRow(a.OutputGradient, b, q0, head);
            CpuAttentionTile<L>.Load(query, a.QueryStride, rows, size, a.Scale, queries, width);
            CpuAttentionTile<L>.Load(gradient, a.OutputStride, rows, size, 1, gradients, width);
            CpuAttentionTile<L>.LoadTransposed(query, a.QueryStride, rows, size, queriesAcross);
            CpuAttentionTile<L>.LoadTransposed(gradient, a.OutputStride, rows, size, gradientsAcross);
            for (int i = 0; i < rows; i++)
            {
                float* output = a.OutputRow(a.Output, b, q0 + i, head), row = gradients + i * width;
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

        /// <summary>Computes the weights of a block and their slopes. With dropout, the mask becomes the weights that were applied.</summary>
        private void Differentiate(int b, int head, int q0, int rows, int k0, int count)
        {
            int diagonal = a.Diagonal(q0, k0);
            CpuAttentionTile<L>.Scores(keys, width, queriesAcross, weights, size, count, rows, diagonal);
            CpuAttentionTile<L>.Scores(values, width, gradientsAcross, slopes, size, count, rows, diagonal);
            if (a.Dropout > 0)
                CpuAttentionTile<L>.Mask(a, b, head, q0, rows, k0, count, mask);
            Slopes(weights, slopes, a.Dropout > 0 ? mask : null, a.Bias(b, k0), count, rows, diagonal, logSumExp, deltas);
        }

        private void AddQueryGradient(int b, int head, int q0, int rows, int k0, int count)
        {
            CpuAttentionTile<L>.SumOverKeys(slopes, keys, queryGradient, width, count, rows, a.Diagonal(q0, k0), add: false);
            CpuAttentionTile<L>.Store(queryGradient, width, rows, size, a.QueryRow(a.QueryGradient, b, q0, head), a.QueryStride, add: k0 > 0);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Slopes(float* weights, float* slopes, float* mask, float* bias, int keys, int queries, int diagonal, float* logSumExp, float* deltas)
    {
        L zero = default;
        for (int i = 0; i < queries; i += L.Count)
        {
            int rows = CpuAttentionTile<L>.VisibleRows(i - i % CpuAttentionTile<L>.Columns, keys, diagonal);
            int open = Math.Clamp(i + diagonal + 1, 0, keys);
            L lanes = L.Splat(i) + L.Load(CpuAttention.Counting), shift = L.Load(logSumExp + i), delta = L.Load(deltas + i);
            int place = i;
            for (int j = 0; j < rows; j++, place += Block)
            {
                L score = L.Load(weights + place), product = L.Load(slopes + place);
                if (bias != null && j < keys)
                    score += L.Splat(bias[j]);
                L hidden = L.Less(lanes, L.Splat(j < keys ? j - diagonal : float.PositiveInfinity));
                L weight = L.Exp(score - shift);
                if (j >= open)
                    weight = L.Select(hidden, zero, weight);
                L.Store(weight, weights + place);
                if (mask != null)
                {
                    L keep = L.Load(mask + place), applied = weight * keep;
                    L.Store(j >= open ? L.Select(hidden, zero, applied) : applied, mask + place);
                    product *= keep;
                }

                L slope = weight * (product - delta);
                L.Store(j >= open ? L.Select(hidden, zero, slope) : slope, slopes + place);
            }
        }
    }
}
