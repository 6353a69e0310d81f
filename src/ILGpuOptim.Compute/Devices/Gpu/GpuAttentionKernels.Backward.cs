using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

// The gradients: weights are computed again from the log-sum-exp; one kernel sums over keys, one over queries, so that
// nothing is added by two groups. With P the weights, M the dropout mask and D = Σ dO·O of a query:
// dV = (P∘M)ᵀ dO, dS = P∘((dO Vᵀ)∘M - D), dQ = scale · dS K, dK = scale · dSᵀ Q.
internal static partial class GpuAttentionKernels
{
    /// <summary>Σ dO·O, one thread for each query and head.</summary>
    public static void Dot(GpuAttentionArguments x, int count, SpecializedValue<int> headSize)
    {
        int t = Grid.IdxX * Threads + Group.IdxX;
        if (t >= count)
            return;
        int query = t % x.QueryLength, head = t / x.QueryLength % x.Heads, batch = t / x.QueryLength / x.Heads;
        long start = ((long)batch * x.QueryLength + query) * x.OutputStride + head * headSize.Value;
        float total = 0;
        for (int d = 0; d < headSize.Value; d++)
            total = MathF.FusedMultiplyAdd(x.OutputGradient[start + d], x.Output[start + d], total);
        x.Dots[t] = total;
    }

    /// <summary>The gradient of the queries: one group for each block of queries, head and sequence.</summary>
    public static void BackwardQuery(GpuAttentionArguments x, SpecializedValue<int> headSize, SpecializedValue<int> flags)
    {
        int size = headSize.Value;
        ArrayView<float> left = SharedMemory.Allocate<float>(Tile * (headSize.Value + 1)), right = SharedMemory.Allocate<float>(Tile * (headSize.Value + 1));
        ArrayView<float> scores = SharedMemory.Allocate<float>(Tile * Pitch), weights = SharedMemory.Allocate<float>(Tile * Pitch);
        int block = Grid.IdxX % x.Blocks, head = Grid.IdxX / x.Blocks % x.Heads, batch = Grid.IdxX / x.Blocks / x.Heads;
        int keyHead = head * x.KeyHeads / x.Heads, start = block * Tile;
        int i = Group.IdxX >> 4, j = Group.IdxX & 15;
        Rows sums = default;
        int end = LastKey(x, flags.Value, start + Tile - 1);
        for (int first = 0; first < end; first += Tile)
        {
            Gradients(x, size, flags.Value, batch, head, keyHead, start, first, left, right, scores, weights);
            Load(right, x.Key, size, ((long)batch * x.KeyCapacity + first) * x.KeyStride + keyHead * size, x.KeyStride, x.KeyLength - first, 1);
            Group.Barrier();
            for (int c = 0; c < Tile; c++)
                sums.Add(scores[i * Pitch + c], scores[(i + 16) * Pitch + c], right, c * (size + 1) + j, size);
            Group.Barrier();
        }

        sums.Scale(x.Scale, x.Scale);
        sums.Store(x.QueryGradient, size, ((long)batch * x.QueryLength + start) * x.QueryStride + head * size, x.QueryStride, x.QueryLength - start, i, j);
    }

    /// <summary>The gradients of keys and values: one group for each block of keys, key head and sequence.</summary>
    public static void BackwardKey(GpuAttentionArguments x, SpecializedValue<int> headSize, SpecializedValue<int> flags)
    {
        int size = headSize.Value;
        ArrayView<float> left = SharedMemory.Allocate<float>(Tile * (headSize.Value + 1)), right = SharedMemory.Allocate<float>(Tile * (headSize.Value + 1));
        ArrayView<float> scores = SharedMemory.Allocate<float>(Tile * Pitch), weights = SharedMemory.Allocate<float>(Tile * Pitch);
        int block = Grid.IdxX % x.Blocks, keyHead = Grid.IdxX / x.Blocks % x.KeyHeads, batch = Grid.IdxX / x.Blocks / x.KeyHeads;
        int first = block * Tile, group = x.Heads / x.KeyHeads;
        int i = Group.IdxX >> 4, j = Group.IdxX & 15;
        Rows keySums = default, valueSums = default;
        for (int h = 0; h < group; h++)
        {
            int head = keyHead * group + h, begin = 0;
            if ((flags.Value & Causal) != 0)
            {
                // The first query that sees the block's first key.
                begin = first - (x.KeyLength - x.QueryLength);
                begin = begin < 0 ? 0 : begin / Tile * Tile;
            }

            for (int start = begin; start < x.QueryLength; start += Tile)
            {
                Gradients(x, size, flags.Value, batch, head, keyHead, start, first, left, right, scores, weights);

                // The gradient of the output is still on the left.
                for (int r = 0; r < Tile; r++)
                    valueSums.Add(weights[r * Pitch + i], weights[r * Pitch + i + 16], left, r * (size + 1) + j, size);
                Group.Barrier();
                Load(left, x.Query, size, ((long)batch * x.QueryLength + start) * x.QueryStride + head * size, x.QueryStride, x.QueryLength - start, 1);
                Group.Barrier();
                for (int r = 0; r < Tile; r++)
                    keySums.Add(scores[r * Pitch + i], scores[r * Pitch + i + 16], left, r * (size + 1) + j, size);
                Group.Barrier();
            }
        }

        keySums.Scale(x.Scale, x.Scale);
        long target = ((long)batch * x.KeyCapacity + first) * x.KeyStride + keyHead * size;
        keySums.Store(x.KeyGradient, size, target, x.KeyStride, x.KeyLength - first, i, j);
        valueSums.Store(x.ValueGradient, size, target, x.KeyStride, x.KeyLength - first, i, j);
    }

    /// <summary>Leaves dS in <paramref name="scores"/>, P∘M in <paramref name="weights"/>, dO on the left and V on the right; every thread has passed a barrier since.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Gradients(
        GpuAttentionArguments x, int size, int flags, int batch, int head, int keyHead, int start, int first,
        ArrayView<float> left, ArrayView<float> right, ArrayView<float> scores, ArrayView<float> weights)
    {
        int i = Group.IdxX >> 4, j = Group.IdxX & 15;
        long keys = ((long)batch * x.KeyCapacity + first) * x.KeyStride + keyHead * size;
        Load(left, x.Query, size, ((long)batch * x.QueryLength + start) * x.QueryStride + head * size, x.QueryStride, x.QueryLength - start, x.Scale);
        Load(right, x.Key, size, keys, x.KeyStride, x.KeyLength - first, 1);
        Group.Barrier();
        Scores(left, right, size, i, j, out float s00, out float s01, out float s10, out float s11);
        Group.Barrier();
        Load(left, x.OutputGradient, size, ((long)batch * x.QueryLength + start) * x.OutputStride + head * size, x.OutputStride, x.QueryLength - start, 1);
        Load(right, x.Value, size, keys, x.KeyStride, x.KeyLength - first, 1);
        Group.Barrier();
        Scores(left, right, size, i, j, out float p00, out float p01, out float p10, out float p11);
        One(x, flags, batch, head, start + i, first + j, i * Pitch + j, s00, p00, scores, weights);
        One(x, flags, batch, head, start + i, first + j + 16, i * Pitch + j + 16, s01, p01, scores, weights);
        One(x, flags, batch, head, start + i + 16, first + j, (i + 16) * Pitch + j, s10, p10, scores, weights);
        One(x, flags, batch, head, start + i + 16, first + j + 16, (i + 16) * Pitch + j + 16, s11, p11, scores, weights);
        Group.Barrier();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void One(
        GpuAttentionArguments x, int flags, int batch, int head, int query, int key, int place, float score, float gradient, ArrayView<float> scores, ArrayView<float> weights)
    {
        float masked = Masked(x, flags, batch, query, key, score), weight = 0, kept = 1, dot = 0;
        if (query < x.QueryLength)
        {
            long index = ((long)batch * x.Heads + head) * x.QueryLength + query;
            weight = F1.Exp(new F1(masked - x.LogSumExp[index])).Value;
            dot = x.Dots[index];
        }

        if ((flags & Drops) != 0 && query < x.QueryLength && key < x.KeyLength)
            kept = Mask(x, batch, head, query, key);
        weights[place] = weight * kept;
        scores[place] = weight * (gradient * kept - dot);
    }
}
