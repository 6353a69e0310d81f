using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>Applies soft cap and distance biases to a tile of scores, keys × queries.</summary>
internal static unsafe class CpuAttentionScores<L> where L : struct, IVectorLane<L>
{
    private const int Block = CpuAttentionTile<L>.Block;

    /// <summary>Turns scores s into cap · tanh(s / cap), and leaves the derivatives 1 - tanh² unless they are not wanted.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Cap(float* scores, in CpuAttentionIntervals seen, float cap, float* derivatives)
    {
        L factor = L.Splat(cap), inverse = L.Splat(1 / cap), one = L.Splat(1);
        for (int i = 0; i < seen.Queries; i += L.Count)
        {
            (int begin, int end) = seen.Rows<L>(i);
            for (int place = begin * Block + i; place < end * Block; place += Block)
            {
                L tangent = L.Tanh(L.Load(scores + place) * inverse);
                L.Store(tangent * factor, scores + place);
                if (derivatives != null)
                    L.Store(L.Fma(-tangent, tangent, one), derivatives + place);
            }
        }
    }

    /// <summary>The bias of the first query and key of a tile; the next query's follows, the next key's precedes it.</summary>
    public static float* Distances(in CpuAttentionArguments a, int head, int q0, int k0) =>
        a.Distances + head * a.DistanceStep + CpuAttentionArguments.DistanceMargin + q0 - k0 + a.KeyLength - 1;

    /// <summary>Adds the biases by distance to scores.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void AddDistances(float* scores, in CpuAttentionIntervals seen, float* distances)
    {
        for (int i = 0; i < seen.Queries; i += L.Count)
        {
            (int begin, int end) = seen.Rows<L>(i);
            for (int j = begin; j < end; j++)
                L.Store(L.Load(scores + j * Block + i) + L.Load(distances + i - j), scores + j * Block + i);
        }
    }

    /// <summary>Adds the gradients of scores to those of distances; element 0 belongs to the tile's first query and its last possible key.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void SumDistances(float* slopes, in CpuAttentionIntervals seen, float* distances)
    {
        for (int i = 0; i < seen.Queries; i += L.Count)
        {
            (int begin, int end) = seen.Rows<L>(i);
            end = Math.Min(end, seen.Keys);
            int queries = Math.Min(L.Count, seen.Queries - i);
            for (int j = begin; j < end; j++)
            {
                float* source = slopes + j * Block + i, target = distances + Block - 1 - j + i;
                if (queries == L.Count)
                {
                    L.Store(L.Load(target) + L.Load(source), target);
                    continue;
                }

                for (int k = 0; k < queries; k++)
                    target[k] += source[k];
            }
        }
    }

    /// <summary>Multiplies the gradients of capped scores by the derivatives of the cap.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Uncap(float* slopes, in CpuAttentionIntervals seen, float* derivatives)
    {
        for (int i = 0; i < seen.Queries; i += L.Count)
        {
            (int begin, int end) = seen.Rows<L>(i);
            for (int place = begin * Block + i; place < end * Block; place += Block)
                L.Store(L.Load(slopes + place) * L.Load(derivatives + place), slopes + place);
        }
    }
}
