using System.Runtime.CompilerServices;
using ILGPU;

namespace ILGpuOptim.Compute.Gpu;

// Masks and biases. The host may not know the ranges, so keys are clamped to 0 … KeyLength whatever they hold.
internal static partial class GpuAttention
{
    /// <summary>The first key of a query.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int FirstKey(GpuAttentionArguments x, int form, int batch, int query)
    {
        if ((form & Bounded) == 0)
            return 0;
        int first = IntrinsicMath.Max(query + x.Lower, 0);
        if ((form & Ranged) != 0)
            first = IntrinsicMath.Max(first, x.Ranges[2 * ((long)batch * x.QueryLength + query)]);
        return IntrinsicMath.Min(first, x.KeyLength);
    }

    /// <summary>The end of the keys of a query.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int EndKey(GpuAttentionArguments x, int form, int batch, int query)
    {
        int end = IntrinsicMath.Min(x.KeyLength, query + 1 + x.Offset);
        if ((form & Ranged) != 0)
            end = IntrinsicMath.Min(end, x.Ranges[2 * ((long)batch * x.QueryLength + query) + 1]);
        return end;
    }

    /// <summary>The start of the first tile of keys for the queries from <paramref name="query"/> on; a valid tile even if there are no keys.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int FirstTile(GpuAttentionArguments x, int form, int batch, int query) =>
        (form & Bounded) == 0 ? 0 : IntrinsicMath.Max(IntrinsicMath.Min(FirstKey(x, form, batch, query), x.KeyLength - 1), 0) / Tile * Tile;

    /// <summary>The start of the first block of queries that attends to key <paramref name="key"/> or a later one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int FirstBlock(GpuAttentionArguments x, int form, int batch, int key)
    {
        int q0 = IntrinsicMath.Max(key - x.Offset, 0) / Tile * Tile;
        if ((form & Ranged) != 0)
        {
            while (q0 < x.QueryLength && EndKey(x, form, batch, IntrinsicMath.Min(q0 + Tile, x.QueryLength) - 1) <= key)
                q0 += Tile;
        }

        return q0;
    }

    /// <summary>The end of the blocks of queries, from <paramref name="q0"/> on, that attend to a key before <paramref name="end"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int EndBlock(GpuAttentionArguments x, int form, int batch, int q0, int end)
    {
        if ((form & Bounded) == 0)
            return x.QueryLength;
        while (q0 < x.QueryLength && FirstKey(x, form, batch, q0) < end)
            q0 += Tile;
        return IntrinsicMath.Min(q0, x.QueryLength);
    }

    /// <summary>The distance bias of a query and a key; indices outside the table are clamped.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float Distance(GpuAttentionArguments x, int head, int query, int key) =>
        x.DistanceBias[(long)IntrinsicMath.Clamp(key - query + x.QueryLength - 1, 0, x.QueryLength + x.KeyLength - 2) * x.Heads + head];
}
