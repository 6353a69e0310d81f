using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// Attention on tensor cores (Dao, "FlashAttention-2", ICLR 2024), for heads up to 128. A warp has 16 queries, or in the gradient of keys and values 16 keys. Scores, weights and
/// results stay in its registers: the sums of one product are laid out as the left factor of the next. Sums and exponentials are f32; weights and their gradients are
/// rounded to the type that is multiplied. Operands are copied asynchronously to shared memory while earlier ones are multiplied.
/// </summary>
internal static partial class GpuAttentionTensor
{
    /// <summary>The form's constants of <see cref="GpuAttention"/> that these kernels know.</summary>
    public const int Features = GpuAttention.HasBias | GpuAttention.Drops | GpuAttention.Bounded | GpuAttention.Ranged | GpuAttention.Caps | GpuAttention.HasDistances;

    /// <summary>From this bit on, the form has the columns of a head, divided by <see cref="Side"/> and rounded up.</summary>
    public const int ColumnsShift = 13;

    /// <summary>The longest head; heads are whole multiples of <see cref="HeadUnit"/>.</summary>
    public const int MostColumns = 128, HeadUnit = 8;

    /// <summary>Threads of a group of <see cref="Forward"/>, and its queries.</summary>
    public const int ForwardThreads = 128, ForwardQueries = GpuAttention.Tile;

    private const int Side = GpuTensorRows<GpuBf16Factor>.Side;

    private const float Log2OfE = 1.44269504f;

    /// <summary>Keys of a tile of the forward pass, 64 or 32: as many as fit with their values in 32 KiB of shared memory. Distance biases need the registers of the larger tile.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int KeysOf(int bytes, int form) => bytes == 2 && (form & GpuAttention.HasDistances) == 0 ? 64 : 32;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int ColumnsOf(int form) => form >> ColumnsShift;

    /// <summary>One group for each 64 queries of a head and sequence. Queries are in registers; a tile of keys is copied while the one before is multiplied by its values, and values while scores are computed.</summary>
    [TensorCores]
    public static void Forward<P>(GpuAttentionArguments x, SpecializedValue<int> form) where P : struct, IGpuFactor
    {
        int columns = ColumnsOf(form.Value), keys = KeysOf(P.Bytes, form.Value);
        var rows = new GpuTensorRows<P>(columns);
        int shared = GpuTensorCores.SharedAddress(ref SharedMemory.Allocate<Float4>(ForwardQueries * GpuTensorRows<P>.PitchOf(P.Bytes, columns) / 16 * (keys == 64 ? 2 : 1))[0]), values = shared + keys * rows.Pitch;

        // Later queries have more keys, so they start first.
        int rest = Grid.IdxX / x.Blocks, head = rest % x.Heads, batch = rest / x.Heads, q0 = (x.Blocks - 1 - Grid.IdxX % x.Blocks) * ForwardQueries;
        var tile = new GpuAttentionTile { Batch = batch };
        tile.OfQueries(x, head, q0);

        // All queries pass through the place of keys and values.
        rows.Copy(shared, x.Query, tile.Query, x.QueryStride, ForwardQueries, tile.QueryCount, x.HeadSize, ForwardThreads);
        GpuTensorCores.Commit();
        GpuTensorCores.Wait(0);
        Group.Barrier();
        int warpRow = (Group.IdxX >> 5) * Side, lane = Group.IdxX & 31, row = warpRow + (lane >> 2);
        GpuAttentionQueries query = default;
        query.Load(rows, shared + warpRow * rows.Pitch);
        Group.Barrier();

        // At least once: queries without keys get results too.
        int end = GpuAttention.EndKey(x, form.Value, batch, q0 + tile.QueryCount - 1), k0 = GpuAttention.FirstTile(x, form.Value, batch, q0), keyHead = head / (x.Heads / x.KeyHeads);
        tile.OfKeys(x, keyHead, k0);
        rows.Copy(shared, x.Key, tile.Key, x.KeyStride, keys, tile.KeyCount, x.HeadSize, ForwardThreads);
        GpuTensorCores.Commit();
        GpuTensorSums output = default;
        float upperTop = float.NegativeInfinity, lowerTop = float.NegativeInfinity, upperTotal = 0, lowerTotal = 0;
        do
        {
            // The keys have arrived, and no warp reads values of the tile before.
            GpuTensorCores.Wait(0);
            Group.Barrier();
            tile.OfKeys(x, keyHead, k0);
            rows.Copy(values, x.Value, tile.Key, x.KeyStride, keys, tile.KeyCount, x.HeadSize, ForwardThreads);
            GpuTensorCores.Commit();
            GpuAttentionWeights weights = default;
            query.Multiply(rows, shared, keys, ref weights);
            Finish(x, form.Value, tile, row, 2 * (lane & 3), keys, ref weights);
            if (tile.NeedsMask(x, form.Value))
                Mask(x, form.Value, tile, row, 2 * (lane & 3), keys, ref weights);

            // The maximum of a query without keys so far is not finite.
            float upper = Larger(upperTop, LargestOfQuad(weights.LargestOfUpper(keys))), lower = Larger(lowerTop, LargestOfQuad(weights.LargestOfLower(keys)));
            float upperShift = Float4Pair.Finite(upper), lowerShift = Float4Pair.Finite(lower);
            float upperDecay = Exp(upperTop - upperShift), lowerDecay = Exp(lowerTop - lowerShift);
            (upperTop, lowerTop) = (upper, lower);
            weights.Exponentials(upperShift, lowerShift, keys);
            upperTotal = upperTotal * upperDecay + weights.SumOfUpper(keys);
            lowerTotal = lowerTotal * lowerDecay + weights.SumOfLower(keys);
            output.Scale(upperDecay, lowerDecay, columns);
            if ((form.Value & GpuAttention.Drops) != 0)
                Drop(x, tile, row, 2 * (lane & 3), keys, ref weights);

            // The values have arrived, and no warp reads keys.
            GpuTensorCores.Wait(0);
            Group.Barrier();
            k0 += keys;
            if (k0 < end)
            {
                tile.OfKeys(x, keyHead, k0);
                rows.Copy(shared, x.Key, tile.Key, x.KeyStride, keys, tile.KeyCount, x.HeadSize, ForwardThreads);
            }

            GpuTensorCores.Commit();
            output.Add(rows, P.Left(weights.A), values, columns);
            output.Add(rows, P.Left(weights.B), values + Side * rows.Pitch, columns);
            if (keys == 64)
            {
                output.Add(rows, P.Left(weights.C), values + 2 * Side * rows.Pitch, columns);
                output.Add(rows, P.Left(weights.D), values + 3 * Side * rows.Pitch, columns);
            }
        }
        while (k0 < end);

        upperTotal = SumOfQuad(upperTotal);
        lowerTotal = SumOfQuad(lowerTotal);
        output.Scale(GpuAttention.Inverse(upperTotal), GpuAttention.Inverse(lowerTotal), columns);
        Store(x.Output, P.Bytes, tile.Output, x.OutputStride, tile.QueryCount, x.HeadSize, row, output, columns);
        if (x.KeepsLogSumExp != 0 && (lane & 3) == 0)
        {
            if (row < tile.QueryCount)
                x.LogSumExp[tile.Row + row] = GpuAttention.LogSumExp(upperTop, upperTotal);
            if (row + 8 < tile.QueryCount)
                x.LogSumExp[tile.Row + row + 8] = GpuAttention.LogSumExp(lowerTop, lowerTotal);
        }
    }

    /// <summary>From products to scores with biases.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Finish(GpuAttentionArguments x, int form, GpuAttentionTile tile, int row, int column, int keys, ref GpuAttentionWeights weights)
    {
        Finish(x, form, tile, row, column, ref weights.A);
        Finish(x, form, tile, row, column + Side, ref weights.B);
        if (keys != 64)
            return;
        Finish(x, form, tile, row, column + 2 * Side, ref weights.C);
        Finish(x, form, tile, row, column + 3 * Side, ref weights.D);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Finish(GpuAttentionArguments x, int form, GpuAttentionTile tile, int row, int column, ref GpuTensorSquare scores)
    {
        scores.A = Finish(x, form, tile, row, column, scores.A);
        scores.B = Finish(x, form, tile, row, column + 8, scores.B);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Finish(GpuAttentionArguments x, int form, GpuAttentionTile tile, int row, int column, Float4 products) => new(
        Bias(x, form, tile, row, column, Score(x, form, products.A)), Bias(x, form, tile, row, column + 1, Score(x, form, products.B)),
        Bias(x, form, tile, row + 8, column, Score(x, form, products.C)), Bias(x, form, tile, row + 8, column + 1, Score(x, form, products.D)));

    /// <summary>Replaces the scores of keys that a query does not attend to by -∞. Missing queries repeat the last.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Mask(GpuAttentionArguments x, int form, GpuAttentionTile tile, int row, int column, int keys, ref GpuAttentionWeights weights)
    {
        int upper = IntrinsicMath.Min(row, tile.QueryCount - 1), lower = IntrinsicMath.Min(row + 8, tile.QueryCount - 1);
        int upperBegin = tile.Begin(x, form, upper) - column, upperEnd = tile.End(x, form, upper) - column;
        int lowerBegin = tile.Begin(x, form, lower) - column, lowerEnd = tile.End(x, form, lower) - column;
        Mask(0, upperBegin, upperEnd, lowerBegin, lowerEnd, ref weights.A);
        Mask(Side, upperBegin, upperEnd, lowerBegin, lowerEnd, ref weights.B);
        if (keys != 64)
            return;
        Mask(2 * Side, upperBegin, upperEnd, lowerBegin, lowerEnd, ref weights.C);
        Mask(3 * Side, upperBegin, upperEnd, lowerBegin, lowerEnd, ref weights.D);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Mask(int column, int upperBegin, int upperEnd, int lowerBegin, int lowerEnd, ref GpuTensorSquare scores)
    {
        scores.A = Mask(column, upperBegin, upperEnd, lowerBegin, lowerEnd, scores.A);
        scores.B = Mask(column + 8, upperBegin, upperEnd, lowerBegin, lowerEnd, scores.B);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Mask(int column, int upperBegin, int upperEnd, int lowerBegin, int lowerEnd, Float4 scores) => new(
        Mask(column, upperBegin, upperEnd, scores.A), Mask(column + 1, upperBegin, upperEnd, scores.B),
        Mask(column, lowerBegin, lowerEnd, scores.C), Mask(column + 1, lowerBegin, lowerEnd, scores.D));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Mask(int column, int begin, int end, float score) => column >= begin && column < end ? score : float.NegativeInfinity;

    /// <summary>Multiplies weights by their dropout factors.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Drop(GpuAttentionArguments x, GpuAttentionTile tile, int row, int column, int keys, ref GpuAttentionWeights weights)
    {
        weights.A *= GpuTensorDropout.OfQueries(x, tile, row, column);
        weights.B *= GpuTensorDropout.OfQueries(x, tile, row, column + Side);
        if (keys != 64)
            return;
        weights.C *= GpuTensorDropout.OfQueries(x, tile, row, column + 2 * Side);
        weights.D *= GpuTensorDropout.OfQueries(x, tile, row, column + 3 * Side);
    }

    /// <summary>The scaled score with the soft cap.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Score(GpuAttentionArguments x, int form, float product)
    {
        float score = product * x.Scale;
        return (form & GpuAttention.Caps) != 0 ? Float4Pair.Capped(score, x.SoftCap) : score;
    }

    /// <summary>Adds the biases of a query and a key of the tile; missing keys repeat the last.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Bias(GpuAttentionArguments x, int form, GpuAttentionTile tile, int query, int key, float score)
    {
        if ((form & GpuAttention.HasDistances) != 0)
            score += GpuAttention.Distance(x, tile.Head, tile.FirstQuery + query, tile.FirstKey + key);
        if ((form & GpuAttention.HasBias) != 0 && tile.KeyCount > 0)
            score += x.KeyBias[(long)tile.Batch * x.KeyLength + tile.FirstKey + IntrinsicMath.Min(key, tile.KeyCount - 1)];
        return score;
    }

    /// <summary>eˣ.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float Exp(float x) => GpuTensorCores.Exp2(x * Log2OfE);

    /// <summary>The larger number; a NaN of <paramref name="y"/> is kept.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float Larger(float x, float y) => x > y ? x : y;

    /// <summary>The largest value of the four lanes that share a row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float LargestOfQuad(float value)
    {
        value = Larger(value, Warp.ShuffleXor(value, 1));
        return Larger(value, Warp.ShuffleXor(value, 2));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float SumOfQuad(float value)
    {
        value += Warp.ShuffleXor(value, 1);
        return value + Warp.ShuffleXor(value, 2);
    }

    /// <summary>Stores a warp's sums.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(ArrayView<byte> target, int bytes, long start, int stride, int count, int size, int row, GpuTensorSums sums, int columns)
    {
        // Pairs of lanes exchange sums, so that each has four adjacent columns.
        int lane = Group.IdxX & 31, own = row + (lane & 1) * 8, column = (lane & 2) * 2, left = own < count ? size - column : 0;
        long place = start + (long)own * stride + column;
        Store(target, bytes, place, left, sums.A);
        if (columns > 1)
            Store(target, bytes, place + Side, left - Side, sums.B);
        if (columns > 2)
            Store(target, bytes, place + 2 * Side, left - 2 * Side, sums.C);
        if (columns > 3)
            Store(target, bytes, place + 3 * Side, left - 3 * Side, sums.D);
        if (columns > 4)
            Store(target, bytes, place + 4 * Side, left - 4 * Side, sums.E);
        if (columns > 5)
            Store(target, bytes, place + 5 * Side, left - 5 * Side, sums.F);
        if (columns > 6)
            Store(target, bytes, place + 6 * Side, left - 6 * Side, sums.G);
        if (columns > 7)
            Store(target, bytes, place + 7 * Side, left - 7 * Side, sums.H);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(ArrayView<byte> target, int bytes, long place, int left, GpuTensorSquare sums)
    {
        Float4 first = GpuGemmTensor.Exchange(sums.A), second = GpuGemmTensor.Exchange(sums.B);
        int form = bytes == 2 ? GpuAttentionTiles.Narrow : 0;
        GpuAttentionTiles.Write(target, form, place, left, first);
        GpuAttentionTiles.Write(target, form, place + 8, left - 8, second);
    }
}
