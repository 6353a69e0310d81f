using System.Runtime.CompilerServices;
using ILGPU;

namespace ILGpuOptim.Compute.Gpu;

// Masks and biases.
internal static partial class GpuAttentionTiles
{
    /// <summary>Adds key biases and distance biases to scores.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Bias(GpuAttentionArguments x, int form, GpuAttentionTile tile, int i, int j, ref GpuHalfTile scores)
    {
        if ((form & GpuAttention.HasDistances) != 0)
        {
            scores.A += Distances(x, tile, 4 * i, j);
            scores.B += Distances(x, tile, 4 * i + 1, j);
            scores.C += Distances(x, tile, 4 * i + 2, j);
            scores.D += Distances(x, tile, 4 * i + 3, j);
            scores.E += Distances(x, tile, 4 * i + Half, j);
            scores.F += Distances(x, tile, 4 * i + Half + 1, j);
            scores.G += Distances(x, tile, 4 * i + Half + 2, j);
            scores.H += Distances(x, tile, 4 * i + Half + 3, j);
        }

        if ((form & GpuAttention.HasBias) != 0)
            scores.Add(KeyBiases(x, form, tile, j), Float4Pair.Splat(1));
    }

    /// <summary>The biases of a thread's keys; missing keys repeat the last.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 KeyBiases(GpuAttentionArguments x, int form, GpuAttentionTile tile, int j)
    {
        if ((form & GpuAttention.HasBias) == 0 || tile.KeyCount <= 0)
            return default;
        long start = (long)tile.Batch * x.KeyLength + tile.FirstKey;
        int key = 4 * j, last = tile.KeyCount - 1;
        return new Float4(
            x.KeyBias[start + IntrinsicMath.Min(key, last)], x.KeyBias[start + IntrinsicMath.Min(key + 1, last)],
            x.KeyBias[start + IntrinsicMath.Min(key + 2, last)], x.KeyBias[start + IntrinsicMath.Min(key + 3, last)]);
    }

    /// <summary>The distance biases of a row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Distances(GpuAttentionArguments x, GpuAttentionTile tile, int row, int j)
    {
        int query = tile.FirstQuery + row, key = tile.FirstKey + 4 * j;
        return new Float4(
            GpuAttention.Distance(x, tile.Head, query, key), GpuAttention.Distance(x, tile.Head, query, key + 1),
            GpuAttention.Distance(x, tile.Head, query, key + 2), GpuAttention.Distance(x, tile.Head, query, key + 3));
    }

    /// <summary>Replaces the elements of keys that a query does not attend to.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Mask(GpuAttentionArguments x, int form, GpuAttentionTile tile, int i, int j, float other, ref GpuHalfTile values)
    {
        values.A = Mask(x, form, tile, 4 * i, j, other, values.A);
        values.B = Mask(x, form, tile, 4 * i + 1, j, other, values.B);
        values.C = Mask(x, form, tile, 4 * i + 2, j, other, values.C);
        values.D = Mask(x, form, tile, 4 * i + 3, j, other, values.D);
        values.E = Mask(x, form, tile, 4 * i + Half, j, other, values.E);
        values.F = Mask(x, form, tile, 4 * i + Half + 1, j, other, values.F);
        values.G = Mask(x, form, tile, 4 * i + Half + 2, j, other, values.G);
        values.H = Mask(x, form, tile, 4 * i + Half + 3, j, other, values.H);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Mask(GpuAttentionArguments x, int form, GpuAttentionTile tile, int row, int j, float other, Float4 values)
    {
        if ((form & GpuAttention.Bounded) == 0)
        {
            int last = row < tile.QueryCount ? IntrinsicMath.Min(tile.KeyCount, row + tile.Diagonal + 1) : 0;
            return values.Before(last - 4 * j, other);
        }

        int begin = 0, end = 0;
        if (row < tile.QueryCount)
        {
            begin = tile.Begin(x, form, row);
            end = tile.End(x, form, row);
        }

        return values.Before(end - 4 * j, other).From(begin - 4 * j, other);
    }
}
