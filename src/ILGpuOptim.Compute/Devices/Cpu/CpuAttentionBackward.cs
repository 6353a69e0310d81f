using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>
/// The gradients of attention: one key head of one sequence at a time, so that the sums over queries have one
/// owner and one order. Weights are recomputed from the stored log-sum-exp.
/// </summary>
internal unsafe struct CpuAttentionBackward<L> : IWork where L : struct, IVectorLane<L>
{
    private const int Block = CpuAttentionTile<L>.Block;
    private const int PaddedRows = CpuAttentionTile<L>.PaddedRows;

    public CpuAttentionArguments Arguments;
    public float* Scratch;
    public long ScratchPerWorker;

    public static long ScratchFloats(int headSize) =>
        8L * PaddedRows * CpuAttentionTile<L>.Padded(headSize) + 3L * PaddedRows * Block + PaddedRows;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Invoke(int index, int worker)
    {
        ref CpuAttentionArguments a = ref Arguments;
        int size = a.HeadSize, width = CpuAttentionTile<L>.Padded(size), panel = PaddedRows * width;
        int keyHead = index % a.KeyHeads, b = index / a.KeyHeads, offset = a.KeyLength - a.QueryLength;
        float* keys = Scratch + worker * ScratchPerWorker;
        float* keysAcross = keys + panel, valuesAcross = keysAcross + panel, keyGradient = valuesAcross + panel, valueGradient = keyGradient + panel;
        float* query = valueGradient + panel, gradient = query + panel, queryGradient = gradient + panel;
        float* weights = queryGradient + panel, slopes = weights + PaddedRows * Block, dropped = slopes + PaddedRows * Block;
        float* deltas = dropped + PaddedRows * Block;
        new Span<float>(weights, 3 * PaddedRows * Block).Clear();
        bool causal = a.Causal;
        CausalPart Part(CausalPart part) => causal ? part : CausalPart.All;
        int firstHead = (int)(((long)keyHead * a.Heads + a.KeyHeads - 1) / a.KeyHeads), endHead = (int)(((keyHead + 1L) * a.Heads + a.KeyHeads - 1) / a.KeyHeads);
        for (int k0 = 0; k0 < Math.Max(a.KeyLength, 1); k0 += Block)
        {
            int count = Math.Min(Block, a.KeyLength - k0);
            CpuAttentionTile<L>.Load(a.KeyRow(a.Key, b, k0, keyHead), a.KeyStride, count, size, 1, keys, width, PaddedRows);
            CpuAttentionTile<L>.LoadTransposed(a.KeyRow(a.Key, b, k0, keyHead), a.KeyStride, count, size, keysAcross);
            CpuAttentionTile<L>.LoadTransposed(a.KeyRow(a.Value, b, k0, keyHead), a.KeyStride, count, size, valuesAcross);
            new Span<float>(keyGradient, 2 * panel).Clear();
            for (int head = firstHead; head < endHead; head++)
            {
                for (int q0 = 0; q0 < a.QueryLength; q0 += Block)
                {
                    int queries = Math.Min(Block, a.QueryLength - q0), diagonal = q0 + offset - k0;
                    float* target = a.QueryRow(a.QueryGradient, b, q0, head);
                    if (a.Visible(q0 + queries - 1) <= k0)
                    {
                        if (k0 == 0)
                            CpuAttentionTile<L>.Store(Zeros(queryGradient, panel), width, queries, size, 1, target, a.QueryStride, add: false);
                        continue;
                    }

                    CpuAttentionTile<L>.Load(a.QueryRow(a.Query, b, q0, head), a.QueryStride, queries, size, a.Scale, query, width, PaddedRows);
                    CpuAttentionTile<L>.Load(a.OutputRow(a.OutputGradient, b, q0, head), a.OutputStride, queries, size, 1, gradient, width, PaddedRows);
                    Deltas(b, q0, head, queries, gradient, width, deltas);
                    CpuAttentionTile<L>.Multiply(query, width, 1, keysAcross, Block, weights, Block, queries, Block, size, 0, Part(CausalPart.Scores), diagonal);
                    CpuAttentionTile<L>.Multiply(gradient, width, 1, valuesAcross, Block, slopes, Block, queries, Block, size, 0, Part(CausalPart.Scores), diagonal);
                    float* applied = a.Dropout > 0 ? dropped : weights;
                    for (int i = 0; i < queries; i++)
                    {
                        int seen = Math.Clamp(a.Visible(q0 + i) - k0, 0, count);
                        float* mask = a.Dropout > 0 ? dropped + i * Block : null;
                        if (mask != null)
                        {
                            new Span<float>(mask, Block).Fill(1);
                            a.Drop(mask, b, head, q0 + i, k0, seen);
                        }

                        float logSumExp = a.LogSumExp[((nint)b * a.Heads + head) * a.QueryLength + q0 + i];
                        float* bias = a.KeyBias == null ? null : a.KeyBias + (nint)b * a.KeyLength + k0;
                        Slopes(weights + i * Block, slopes + i * Block, mask, bias, seen, logSumExp, deltas[i]);
                    }

                    for (int i = queries; i < PaddedRows; i++)
                        new Span<float>(weights + i * Block, Block).Clear();
                    CpuAttentionTile<L>.Multiply(applied, 1, Block, gradient, width, valueGradient, width, count, width, queries, 1, Part(CausalPart.SumOverQueries), diagonal);
                    CpuAttentionTile<L>.Multiply(slopes, 1, Block, query, width, keyGradient, width, count, width, queries, 1, Part(CausalPart.SumOverQueries), diagonal);
                    CpuAttentionTile<L>.Multiply(slopes, Block, 1, keys, width, queryGradient, width, queries, width, count, 0, Part(CausalPart.SumOverKeys), diagonal);
                    CpuAttentionTile<L>.Store(queryGradient, width, queries, size, a.Scale, target, a.QueryStride, add: k0 > 0);
                }
            }

            CpuAttentionTile<L>.Store(keyGradient, width, count, size, 1, a.KeyRow(a.KeyGradient, b, k0, keyHead), a.KeyStride, add: false);
            CpuAttentionTile<L>.Store(valueGradient, width, count, size, 1, a.KeyRow(a.ValueGradient, b, k0, keyHead), a.KeyStride, add: false);
        }
    }

    private static float* Zeros(float* scratch, int count)
    {
        new Span<float>(scratch, count).Clear();
        return scratch;
    }

    /// <summary>Σ_j gradient_ij · output_ij of each query: what the softmax subtracts.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void Deltas(int b, int q0, int head, int queries, float* gradient, int width, float* deltas)
    {
        for (int i = 0; i < queries; i++)
        {
            float* output = Arguments.OutputRow(Arguments.Output, b, q0 + i, head);
            float* row = gradient + i * width;
            L total = default;
            int j = 0;
            for (; j <= Arguments.HeadSize - L.Count; j += L.Count)
                total = L.Fma(L.Load(output + j), L.Load(row + j), total);
            float sum = L.Sum(total);
            for (; j < Arguments.HeadSize; j++)
                sum = MathF.FusedMultiplyAdd(output[j], row[j], sum);
            deltas[i] = sum;
        }
    }

    /// <summary>
    /// Scores become weights p = exp(score - lse); products with the values become slopes p · (mask · product - delta).
    /// With dropout, <paramref name="mask"/> becomes the weights that were applied.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Slopes(float* weights, float* slopes, float* mask, float* bias, int count, float logSumExp, float delta)
    {
        for (int j = 0; bias != null && j < count; j++)
            weights[j] += bias[j];
        int end = CpuAttentionTile<L>.Padded(count);
        for (int j = count; j < end; j++)
        {
            weights[j] = float.NegativeInfinity;
            slopes[j] = 0;
        }

        L shift = L.Splat(logSumExp), deltas = L.Splat(delta);
        for (int j = 0; j < end; j += L.Count)
        {
            L weight = L.Exp(L.Load(weights + j) - shift), product = L.Load(slopes + j);
            L.Store(weight, weights + j);
            if (mask != null)
            {
                L keep = L.Load(mask + j);
                product *= keep;
                L.Store(weight * keep, mask + j);
            }

            L.Store(weight * (product - deltas), slopes + j);
        }

        int rest = CpuAttentionTile<L>.Block - end;
        new Span<float>(weights + end, rest).Clear();
        new Span<float>(slopes + end, rest).Clear();
        if (mask != null)
            new Span<float>(mask + end, rest).Clear();
    }
}
