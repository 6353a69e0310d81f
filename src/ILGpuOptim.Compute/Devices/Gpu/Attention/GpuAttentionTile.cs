using System.Runtime.CompilerServices;
using ILGPU;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>A tile of queries and keys: its position in the operands, and its mask.</summary>
internal struct GpuAttentionTile
{
    public int Batch, Head, FirstQuery, FirstKey, QueryCount, KeyCount;

    /// <summary>Query i of the tile attends to key j only if j ≤ i + this.</summary>
    public int Diagonal;

    /// <summary>The first query among those of all heads and sequences; the first elements of keys, queries and outputs.</summary>
    public long Row, Key, Query, Output;

    /// <summary>Selects the queries of a head from <paramref name="q0"/> on.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void OfQueries(GpuAttentionArguments x, int head, int q0)
    {
        Head = head;
        FirstQuery = q0;
        QueryCount = IntrinsicMath.Min(GpuAttention.Tile, x.QueryLength - q0);
        Row = ((long)Batch * x.Heads + head) * x.QueryLength + q0;
        Query = ((long)Batch * x.QueryLength + q0) * x.QueryStride + head * x.QueryHeadStep;
        Output = ((long)Batch * x.QueryLength + q0) * x.OutputStride + head * x.HeadSize;
        Diagonal = q0 + x.Offset - FirstKey;
    }

    /// <summary>Selects the keys of a key head from <paramref name="k0"/> on.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void OfKeys(GpuAttentionArguments x, int head, int k0)
    {
        FirstKey = k0;
        KeyCount = IntrinsicMath.Min(GpuAttention.Tile, x.KeyLength - k0);
        Key = ((long)Batch * x.KeyCapacity + k0) * x.KeyStride + head * x.KeyHeadStep;
        Diagonal = FirstQuery + x.Offset - k0;
    }

    /// <summary>True if the tile has masked pairs or missing queries or keys.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly bool NeedsMask(GpuAttentionArguments x, int form)
    {
        bool cut = KeyCount < GpuAttention.Tile || QueryCount < GpuAttention.Tile || Diagonal < GpuAttention.Tile - 1;
        if ((form & GpuAttention.Bounded) != 0)
            cut |= Begin(x, form, QueryCount - 1) > 0 || End(x, form, 0) < KeyCount;
        return cut;
    }

    /// <summary>The first key, relative to the tile, of query <paramref name="row"/>, which must exist.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly int Begin(GpuAttentionArguments x, int form, int row) =>
        (form & GpuAttention.Bounded) == 0 ? 0 : GpuAttention.FirstKey(x, form, Batch, FirstQuery + row) - FirstKey;

    /// <summary>The end of its keys, relative to the tile.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly int End(GpuAttentionArguments x, int form, int row)
    {
        int end = IntrinsicMath.Min(KeyCount, row + Diagonal + 1);
        if ((form & GpuAttention.Ranged) != 0)
            end = IntrinsicMath.Min(end, GpuAttention.EndKey(x, form, Batch, FirstQuery + row) - FirstKey);
        return end;
    }

    /// <summary>False if every pair of the part is masked.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly bool Sees(GpuAttentionPart at) => at.X <= at.LastY + Diagonal && at.X < KeyCount && at.Y < QueryCount;

    /// <summary>A row of a part with zeros for masked keys.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly Float4Pair Visible(GpuAttentionArguments x, int form, GpuAttentionPart at, int row, Float4Pair values)
    {
        int begin = Begin(x, form, row), end = End(x, form, row);
        return at.LastX < end && begin <= at.X ? values : values.Within(begin, end, at.X, 1, 0);
    }
}
