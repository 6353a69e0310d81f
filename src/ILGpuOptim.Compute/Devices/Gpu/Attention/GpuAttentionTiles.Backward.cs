using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

// The gradients. Weights are recomputed from the log-sum-exp, queries × keys. With P the weights, M the dropout mask and
// D = Σ dO·O of a query: dV = (P∘M)ᵀ dO, dS = P∘((dO Vᵀ)∘M - D), dQ = scale · dS K, dK = scale · dSᵀ Q.
// One launch sums over queries and one over keys, seven products per tile, so that no element is written by two groups.
internal static partial class GpuAttentionTiles
{
    /// <summary>Queries per group of <see cref="Dot"/>, and the threads of each.</summary>
    public const int DotRows = Threads / DotLanes;

    private const int DotLanes = 8;

    /// <summary>Σ dO·O of each query and head.</summary>
    public static void Dot(GpuAttentionArguments x, int count, SpecializedValue<int> form)
    {
        ArrayView<float> parts = SharedMemory.Allocate<float>(Threads);
        int row = Grid.IdxX * DotRows + Group.IdxX / DotLanes;
        float total = 0;
        if (row < count)
        {
            long start = GpuAttention.OutputOf(x, row);
            for (int d = Group.IdxX % DotLanes; d < x.HeadSize; d += DotLanes)
                total = MathF.FusedMultiplyAdd(Read(x.OutputGradient, form.Value, start + d), Read(x.Output, form.Value, start + d), total);
        }

        parts[Group.IdxX] = total;
        Group.Barrier();
        int own = Grid.IdxX * DotRows + Group.IdxX;
        if (Group.IdxX < DotRows && own < count)
            x.Dots[own] = Float4Pair.Load(parts, Group.IdxX * DotLanes, 1).Sum();
    }

    /// <summary>The gradients of keys and values: one group for each block of keys, key head, sequence and part of the columns.</summary>
    public static void BackwardOfKeys(GpuAttentionArguments x, SpecializedValue<int> form)
    {
        ArrayView<Float4> strips = SharedMemory.Allocate<Float4>((64 >> (form.Value >> 11 & 1)) * Pitch), factors = SharedMemory.Allocate<Float4>(Tile * Pitch);
        int i = RowOf(Group.IdxX), j = ColumnOf(Group.IdxX), tiles = TilesOf(form.Value);
        int rest = Grid.IdxX / x.Blocks, head = rest % x.KeyHeads, batch = rest / x.KeyHeads % x.Batch, column = rest / x.KeyHeads / x.Batch * tiles * Tile;
        int shared = x.Heads / x.KeyHeads, k0 = Grid.IdxX % x.Blocks * Tile, columns = x.HeadSize - column;
        var tile = new GpuAttentionTile { Batch = batch };
        tile.OfKeys(x, head, k0);
        GpuAttentionResult keyGradient = default, valueGradient = default;

        // The blocks of queries that attend to a key of the block.
        int first = GpuAttention.FirstBlock(x, form.Value, batch, k0), end = GpuAttention.EndBlock(x, form.Value, batch, first, k0 + tile.KeyCount);
        for (int h = head * shared; h < (head + 1) * shared; h++)
        {
            for (int q0 = first; q0 < end; q0 += Tile)
            {
                tile.OfQueries(x, h, q0);
                GpuHalfTile gradients = ScoreGradients(x, form.Value, tile, i, j, strips, factors, keepsWeights: true);
                Accumulate(ref valueGradient, form.Value, factors, i, j, strips, x.OutputGradient, tile.Output + column, x.OutputStride, tile.QueryCount, columns);
                StoreTile(factors, i, j, gradients);
                Accumulate(ref keyGradient, form.Value, factors, i, j, strips, x.Query, tile.Query + column, x.QueryStride, tile.QueryCount, columns);
            }
        }

        keyGradient.Scale(Float4Pair.Splat(x.Scale), tiles);
        Store(x.KeyGradient, form.Value, tile.Key + column, x.KeyStride, tile.KeyCount, columns, i, j, keyGradient);
        Store(x.ValueGradient, form.Value, tile.Key + column, x.KeyStride, tile.KeyCount, columns, i, j, valueGradient);
    }

    /// <summary>The gradient of the queries: one group for each block of queries, head, sequence and part of the columns.</summary>
    public static void BackwardOfQueries(GpuAttentionArguments x, SpecializedValue<int> form)
    {
        ArrayView<Float4> strips = SharedMemory.Allocate<Float4>((64 >> (form.Value >> 11 & 1)) * Pitch), factors = SharedMemory.Allocate<Float4>(Tile * Pitch);
        int i = RowOf(Group.IdxX), j = ColumnOf(Group.IdxX), tiles = TilesOf(form.Value);
        int rest = Grid.IdxX / x.Blocks, head = rest % x.Heads, batch = rest / x.Heads % x.Batch, column = rest / x.Heads / x.Batch * tiles * Tile;
        int q0 = (x.Blocks - 1 - Grid.IdxX % x.Blocks) * Tile, columns = x.HeadSize - column;
        var tile = new GpuAttentionTile { Batch = batch };
        tile.OfQueries(x, head, q0);
        GpuAttentionResult gradient = default;
        int end = GpuAttention.EndKey(x, form.Value, batch, q0 + tile.QueryCount - 1);
        for (int k0 = GpuAttention.FirstTile(x, form.Value, batch, q0); k0 < end; k0 += Tile)
        {
            tile.OfKeys(x, head / (x.Heads / x.KeyHeads), k0);
            GpuHalfTile gradients = ScoreGradients(x, form.Value, tile, i, j, strips, factors, keepsWeights: false);

            // Other threads' elements are overwritten.
            Group.Barrier();
            StoreTransposed(factors, i, j, gradients);
            Accumulate(ref gradient, form.Value, factors, i, j, strips, x.Key, tile.Key + column, x.KeyStride, tile.KeyCount, columns);
        }

        gradient.Scale(Float4Pair.Splat(x.Scale), tiles);
        Store(x.QueryGradient, form.Value, tile.Query + column, x.QueryStride, tile.QueryCount, columns, i, j, gradient);
    }

    /// <summary>
    /// The gradient of distance biases: score gradients, summed along the diagonals of the tiles. One group for each head and each 64 distances (key - query)
    /// that start at a multiple of 64. It visits two diagonals of tiles in all sequences, in a fixed order, so that no element is written by two groups.
    /// </summary>
    public static void Distances(GpuAttentionArguments x, SpecializedValue<int> form)
    {
        ArrayView<Float4> strips = SharedMemory.Allocate<Float4>((64 >> (form.Value >> 11 & 1)) * Pitch), factors = SharedMemory.Allocate<Float4>(Tile * Pitch);
        int i = RowOf(Group.IdxX), j = ColumnOf(Group.IdxX), queryBlocks = (x.QueryLength + Tile - 1) / Tile, keyBlocks = (x.KeyLength + Tile - 1) / Tile;
        int head = Grid.IdxX / x.Blocks, diagonal = Grid.IdxX % x.Blocks - queryBlocks;
        float sum = 0;

        // Distances that are masked everywhere need no work.
        bool seen = diagonal * Tile <= x.Offset && diagonal * Tile + Tile - 1 >= x.Lower;
        for (int side = 0; side < 2; side++)
        {
            // A tile of this diagonal covers the distances from 63 below to 63 above it.
            int between = diagonal + side, first = IntrinsicMath.Max(0, -between), end = seen ? IntrinsicMath.Min(queryBlocks, keyBlocks - between) : 0;
            for (int batch = 0; batch < x.Batch; batch++)
            {
                for (int block = first; block < end; block++)
                {
                    var tile = new GpuAttentionTile { Batch = batch };
                    tile.OfKeys(x, head / (x.Heads / x.KeyHeads), (block + between) * Tile);
                    tile.OfQueries(x, head, block * Tile);
                    StoreTile(factors, i, j, ScoreGradients(x, form.Value, tile, i, j, strips, factors, keepsWeights: false));
                    Group.Barrier();
                    if (Group.IdxX < Tile)
                        sum += GpuAttention.SumDiagonal(factors.Cast<float>(), 4 * Pitch, Group.IdxX - side * Tile);
                    Group.Barrier();
                }
            }
        }

        int row = diagonal * Tile + Group.IdxX + x.QueryLength - 1;
        if (Group.IdxX < Tile && row >= 0 && row < x.QueryLength + x.KeyLength - 1)
            x.DistanceGradient[(long)row * x.Heads + head] = sum;
    }

    /// <summary>
    /// The gradient of the scores, and in a thread's elements of <paramref name="factors"/>, if <paramref name="keepsWeights"/>, the weights after dropout.
    /// Its last barrier is before a thread's own elements are read and written.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static GpuHalfTile ScoreGradients(
        GpuAttentionArguments x, int form, GpuAttentionTile tile, int i, int j, ArrayView<Float4> strips, ArrayView<Float4> factors, bool keepsWeights)
    {
        // Scores wait in shared memory, which saves registers.
        StoreTile(factors, i, j, Scores(x, form, tile, i, j, strips));
        GpuHalfTile products = Dots(
            form, x.OutputGradient, tile.Output, x.OutputStride, tile.QueryCount, x.Value, tile.Key, x.KeyStride, tile.KeyCount, x.HeadSize, 1, i, j, strips);
        ArrayView<Float4> place = factors.SubView(4 * i * Pitch + j);
        Float4 bias = KeyBiases(x, form, tile, j);
        bool masks = tile.NeedsMask(x, form);
        products.A = ScoreGradient(x, form, tile, 4 * i, j, bias, masks, products.A, place, keepsWeights);
        products.B = ScoreGradient(x, form, tile, 4 * i + 1, j, bias, masks, products.B, place.SubView(Pitch), keepsWeights);
        products.C = ScoreGradient(x, form, tile, 4 * i + 2, j, bias, masks, products.C, place.SubView(2 * Pitch), keepsWeights);
        products.D = ScoreGradient(x, form, tile, 4 * i + 3, j, bias, masks, products.D, place.SubView(3 * Pitch), keepsWeights);
        products.E = ScoreGradient(x, form, tile, 4 * i + Half, j, bias, masks, products.E, place.SubView(Half * Pitch), keepsWeights);
        products.F = ScoreGradient(x, form, tile, 4 * i + Half + 1, j, bias, masks, products.F, place.SubView((Half + 1) * Pitch), keepsWeights);
        products.G = ScoreGradient(x, form, tile, 4 * i + Half + 2, j, bias, masks, products.G, place.SubView((Half + 2) * Pitch), keepsWeights);
        products.H = ScoreGradient(x, form, tile, 4 * i + Half + 3, j, bias, masks, products.H, place.SubView((Half + 3) * Pitch), keepsWeights);
        return products;
    }

    /// <summary>
    /// A row of <see cref="ScoreGradients"/> from dO Vᵀ and the capped scores. With a soft cap c, its derivative is 1 - (score / c)²; biases come after the cap, so
    /// their gradient is without it.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 ScoreGradient(
        GpuAttentionArguments x, int form, GpuAttentionTile tile, int row, int j, Float4 bias, bool masks, Float4 products, ArrayView<Float4> place, bool keepsWeights)
    {
        Float4 scores = place[0], weights = scores;
        if ((form & GpuAttention.HasDistances) != 0)
            weights += Distances(x, tile, row, j);
        if ((form & GpuAttention.HasBias) != 0)
            weights += bias;
        weights = Float4.Exp(weights - OfRow(x.LogSumExp, tile, row));
        if (masks)
            weights = Mask(x, form, tile, row, j, 0, weights);
        if ((form & GpuAttention.Drops) != 0)
        {
            Float4 keep = Keep(x, tile, row, j);
            products *= keep;
            if (keepsWeights)
                place[0] = weights * keep;
        }
        else if (keepsWeights)
        {
            place[0] = weights;
        }

        Float4 gradients = weights * (products - OfRow(x.Dots, tile, row));
        if ((form & GpuAttention.Caps) != 0 && (form & GpuAttention.OfDistances) == 0)
            gradients *= scores.CapDerivative(x.SoftCap);
        return masks ? Mask(x, form, tile, row, j, 0, gradients) : gradients;
    }

    /// <summary>A query's element; 0 for missing queries.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float OfRow(ArrayView<float> source, GpuAttentionTile tile, int row) => row < tile.QueryCount ? source[tile.Row + row] : 0;
}
