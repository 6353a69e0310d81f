using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>Attention of one or two queries, as in decoding: keys and values stream by once, nothing is copied.</summary>
internal unsafe struct CpuAttentionDecode<L> : IWork where L : struct, IVectorLane<L>
{
    public CpuAttentionArguments Arguments;
    public float* Scratch;
    public long ScratchPerWorker;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Invoke(int index, int worker)
    {
        ref CpuAttentionArguments a = ref Arguments;
        int head = index % a.Heads, b = index / a.Heads, keyHead = (int)((long)head * a.KeyHeads / a.Heads);
        float* weights = Scratch + worker * ScratchPerWorker;
        for (int i = 0; i < a.QueryLength; i++)
        {
            int visible = a.Visible(i);
            float* query = a.QueryRow(a.Query, b, i, head);
            float largest = float.NegativeInfinity;
            for (int j = 0; j < visible; j++)
            {
                float score = Dot(query, a.KeyRow(a.Key, b, j, keyHead), a.HeadSize) * a.Scale;
                if (a.KeyBias != null)
                    score += a.KeyBias[(nint)b * a.KeyLength + j];
                weights[j] = score;
                largest = score > largest ? score : largest;
            }

            float sum = Exponentials(weights, visible, float.IsNegativeInfinity(largest) ? 0 : largest);
            if (a.Dropout > 0)
                a.Drop(weights, b, head, i, 0, visible);
            float* output = a.OutputRow(a.Output, b, i, head);
            new Span<float>(output, a.HeadSize).Clear();
            float inverse = sum == 0 ? 0 : 1 / sum;
            for (int j = 0; j < visible; j++)
                AddScaled(a.KeyRow(a.Value, b, j, keyHead), weights[j] * inverse, output, a.HeadSize);
            if (a.LogSumExp != null)
                a.LogSumExp[((nint)b * a.Heads + head) * a.QueryLength + i] = sum == 0 ? float.PositiveInfinity : largest + MathF.Log(sum);
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

    /// <summary>Replaces scores by exp(score - reference) and returns their sum. Scratch reaches to the next whole vector.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Exponentials(float* scores, int count, float reference)
    {
        int end = CpuAttentionTile<L>.Padded(count);
        for (int j = count; j < end; j++)
            scores[j] = float.NegativeInfinity;
        L total = default;
        for (int j = 0; j < end; j += L.Count)
        {
            L weight = L.Exp(L.Load(scores + j) - L.Splat(reference));
            total += weight;
            L.Store(weight, scores + j);
        }

        return L.Sum(total);
    }
}
