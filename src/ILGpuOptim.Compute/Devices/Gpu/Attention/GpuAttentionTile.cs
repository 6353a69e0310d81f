using System.Runtime.CompilerServices;
using ILGPU;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>A tile of queries and keys: where it lies in the operands, and who sees whom.</summary>
internal struct GpuAttentionTile
{
    public int Batch, Head, FirstQuery, FirstKey, QueryCount, KeyCount;

    /// <summary>Query i of the tile sees key j only when j ≤ i + this.</summary>
    public int Diagonal;

    /// <summary>The first query among those of all heads and sequences; the first elements of keys, queries and outputs.</summary>
    public long Row, Key, Query, Output;

    /// <summary>Sets what belongs to the queries from <paramref name="q0"/> on of a head.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void OfQueries(GpuAttentionArguments x, int head, int q0)
    {
        Head = head;
        FirstQuery = q0;
        QueryCount = IntrinsicMath.Min(GpuAttentionKernels.Tile, x.QueryLength - q0);
        Row = ((long)Batch * x.Heads + head) * x.QueryLength + q0;
        Query = ((long)Batch * x.QueryLength + q0) * x.QueryStride + head * x.QueryHeadStep;
        Output = ((long)Batch * x.QueryLength + q0) * x.OutputStride + head * x.HeadSize;
        Diagonal = q0 + x.Offset - FirstKey;
    }

    /// <summary>Sets what belongs to the keys from <paramref name="k0"/> on of a key head.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void OfKeys(GpuAttentionArguments x, int head, int k0)
    {
        FirstKey = k0;
        KeyCount = IntrinsicMath.Min(GpuAttentionKernels.Tile, x.KeyLength - k0);
        Key = ((long)Batch * x.KeyCapacity + k0) * x.KeyStride + head * x.KeyHeadStep;
        Diagonal = FirstQuery + x.Offset - k0;
    }

    /// <summary>Whether some query of the tile does not see some key of it, or is missing.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly bool IsCut(GpuAttentionArguments x, int form)
    {
        bool cut = KeyCount < GpuAttentionKernels.Tile || QueryCount < GpuAttentionKernels.Tile || Diagonal < GpuAttentionKernels.Tile - 1;
        if ((form & GpuAttentionKernels.Bounded) != 0)
            cut |= Begin(x, form, QueryCount - 1) > 0 || End(x, form, 0) < KeyCount;
        return cut;
    }

    /// <summary>The first key of the tile that query <paramref name="row"/>, which is not missing, sees.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly int Begin(GpuAttentionArguments x, int form, int row) =>
        (form & GpuAttentionKernels.Bounded) == 0 ? 0 : GpuAttentionKernels.FirstKey(x, form, Batch, FirstQuery + row) - FirstKey;

    /// <summary>The end of the keys of the tile that it sees.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly int End(GpuAttentionArguments x, int form, int row)
    {
        int end = IntrinsicMath.Min(KeyCount, row + Diagonal + 1);
        if ((form & GpuAttentionKernels.Ranged) != 0)
            end = IntrinsicMath.Min(end, GpuAttentionKernels.EndKey(x, form, Batch, FirstQuery + row) - FirstKey);
        return end;
    }

    /// <summary>Whether some query of a part's rows may see some key of its columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly bool Sees(GpuAttentionPart at) => at.X <= at.LastY + Diagonal && at.X < KeyCount && at.Y < QueryCount;

    /// <summary>A row of a part with zeros for the keys that its query does not see.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly Float4Pair Visible(GpuAttentionArguments x, int form, GpuAttentionPart at, int row, Float4Pair values)
    {
        int begin = Begin(x, form, row), end = End(x, form, row);
        return at.LastX < end && begin <= at.X ? values : values.Within(begin, end, at.X, at.XStep, 0);
    }
}
