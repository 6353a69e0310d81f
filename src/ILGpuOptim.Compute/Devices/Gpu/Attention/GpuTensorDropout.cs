using System.Runtime.CompilerServices;
using ILGPU;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// The dropout factors of a lane's 16 × 16 weights. Four adjacent keys of a query share a counter of the generator if the number of keys is a multiple of four; the lanes that hold
/// them then generate a part of the words each, and exchange them.
/// </summary>
internal static class GpuTensorDropout
{
    /// <summary>The factors where rows are queries and columns are keys.</summary>
    /// <param name="x">The arguments of the kernel.</param>
    /// <param name="tile">The tile of queries and keys.</param>
    /// <param name="row">The lane's upper query in the tile.</param>
    /// <param name="column">The lane's first key in the tile.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static GpuTensorSquare OfQueries(GpuAttentionArguments x, GpuAttentionTile tile, int row, int column)
    {
        long line = tile.Row + row;
        int key = tile.FirstKey + column;
        if ((x.KeyLength & 3) != 0)
            return new GpuTensorSquare { A = Each(x, line, key, 0), B = Each(x, line, key + 8, 0) };

        // Two lanes share the keys of a counter. The even one generates those of the upper query, the odd one those of the lower.
        line += (Group.IdxX & 1) * 8;
        Float4 near = GpuAttention.KeepFour(x, line, key & ~3), far = GpuAttention.KeepFour(x, line, (key & ~3) + 8);
        return new GpuTensorSquare { A = GpuGemmTensor.Exchange(near), B = GpuGemmTensor.Exchange(far) };
    }

    /// <summary>The factors where rows are keys and columns are queries.</summary>
    /// <param name="x">The arguments of the kernel.</param>
    /// <param name="tile">The tile of queries and keys.</param>
    /// <param name="row">The lane's upper key in the tile.</param>
    /// <param name="column">The lane's first query in the tile.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static GpuTensorSquare OfKeys(GpuAttentionArguments x, GpuAttentionTile tile, int row, int column)
    {
        long line = tile.Row + column;
        int key = tile.FirstKey + row;
        if ((x.KeyLength & 3) != 0)
            return new GpuTensorSquare { A = Each(x, line, key, 1), B = Each(x, line + 8, key, 1) };

        // Four lanes share the keys of a counter, and have the same four queries: each generates those of one.
        int place = Group.IdxX >> 2 & 3;
        line += (place & 1) + (place >> 1) * 8;
        Float4 upper = Transposed(GpuAttention.KeepFour(x, line, key & ~3)), lower = Transposed(GpuAttention.KeepFour(x, line, (key & ~3) + 8));
        return new GpuTensorSquare { A = new Float4(upper.A, upper.B, lower.A, lower.B), B = new Float4(upper.C, upper.D, lower.C, lower.D) };
    }

    /// <summary>Four factors: of two adjacent columns, which are keys (0) or queries (1), in the lane's upper and lower row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Each(GpuAttentionArguments x, long line, int key, int queries)
    {
        int keys = 1 - queries, down = 8 * keys, right = 8 * queries;
        return new Float4(
            GpuAttention.Keep(x, line, key), GpuAttention.Keep(x, line + queries, key + keys),
            GpuAttention.Keep(x, line + down, key + right), GpuAttention.Keep(x, line + down + queries, key + right + keys));
    }

    /// <summary>The transpose of the numbers of four lanes whose indices differ in bits 2 and 3.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Transposed(Float4 own)
    {
        Exchange(ref own.A, ref own.B, 4);
        Exchange(ref own.C, ref own.D, 4);
        Exchange(ref own.A, ref own.C, 8);
        Exchange(ref own.B, ref own.D, 8);
        return own;
    }

    /// <summary>Exchanges the second number of the lane without a bit of its index with the first number of the lane that has it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Exchange(ref float first, ref float second, int bit)
    {
        bool has = (Group.IdxX & bit) != 0;
        float other = Warp.ShuffleXor(has ? first : second, bit);
        (first, second) = (has ? other : first, has ? second : other);
    }
}
