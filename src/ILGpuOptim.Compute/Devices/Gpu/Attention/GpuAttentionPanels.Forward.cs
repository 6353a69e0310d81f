using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

// Forward. Scores are transposed, keys × queries, so that the maximum and sum of a query's scores are taken over a part's rows and
// never across vector lanes.
internal static partial class GpuAttentionPanels
{
    /// <summary>One group for each block of queries, head and sequence.</summary>
    public static void Forward(GpuAttentionArguments x, SpecializedValue<int> form)
    {
        int size = x.HeadSize;
        bool direct = (form.Value & GpuAttention.Direct) != 0;
        ArrayView<float> tiles = SharedMemory.Allocate<float>(2 * Tile * Pitch), weights = SharedMemory.Allocate<float>(Tile * Pitch);
        ArrayView<float> parts = SharedMemory.Allocate<float>(Parts * Tile), sumParts = SharedMemory.Allocate<float>(Parts * Tile);
        ArrayView<float> largest = SharedMemory.Allocate<float>(Tile), tops = SharedMemory.Allocate<float>(Tile), sums = SharedMemory.Allocate<float>(Tile);
        ArrayView<float> factors = SharedMemory.Allocate<float>(Tile), inverses = SharedMemory.Allocate<float>(Tile);
        ArrayView<float> right = tiles.SubView(Tile * Pitch, Tile * Pitch);

        // Later queries have more keys, so they start first.
        int block = x.Blocks - 1 - Grid.IdxX % x.Blocks, head = Grid.IdxX / x.Blocks % x.Heads, batch = Grid.IdxX / x.Blocks / x.Heads;
        int keyHead = head / (x.Heads / x.KeyHeads), q0 = block * Tile, queries = IntrinsicMath.Min(Tile, x.QueryLength - q0);
        long query = ((long)batch * x.QueryLength + q0) * x.QueryStride + head * x.QueryHeadStep, output = ((long)batch * x.QueryLength + q0) * x.OutputStride + head * size;
        long row0 = ((long)batch * x.Heads + head) * x.QueryLength + q0;
        for (int r = 0; r < Tile; r++)
        {
            largest[r] = float.NegativeInfinity;
            sums[r] = 0;
        }

        // At least once: queries without keys get results too.
        int begin = GpuAttention.FirstTile(x, form.Value, batch, q0), end = GpuAttention.EndKey(x, form.Value, batch, q0 + queries - 1), k0 = begin;
        do
        {
            int keys = IntrinsicMath.Min(Tile, x.KeyLength - k0), diagonal = q0 + x.Offset - k0;
            long key = ((long)batch * x.KeyCapacity + k0) * x.KeyStride + keyHead * x.KeyHeadStep;
            bool first = k0 == begin;
            bool last = k0 + Tile >= end;
            for (int c = 0; c < size; c += Tile)
            {
                if (!direct || Tile < size || first)
                    LoadTransposed(tiles, x.Query.Cast<float>(), query + c, x.QueryStride, queries, size - c, x.Scale);
                if (!direct)
                    LoadTransposed(right, x.Key.Cast<float>(), key + c, x.KeyStride, keys, size - c, 1);
                Group.Barrier();
                ArrayView<float> keyRows = direct ? x.Key.Cast<float>().SubView(key + c) : right;
                for (int p = 0; p < Parts * Parts; p++)
                {
                    var at = new GpuAttentionPart(p);
                    GpuTile scores = default;
                    if (at.Y <= at.LastX + diagonal && at.X < queries && at.Y < keys)
                    {
                        if (c > 0)
                            scores = at.Load(weights);
                        scores = at.Product(
                            scores, tiles, Pitch, keyRows, direct ? at.Rows(keys, x.KeyStride) : at.Rows(Tile, 1), direct ? 1 : Pitch, 0, IntrinsicMath.Min(Tile, size - c));
                    }

                    if (c + Tile >= size)
                    {
                        var top = Float4Pair.Splat(float.NegativeInfinity);
                        if ((form.Value & GpuAttention.Caps) != 0)
                            scores = Cap(scores, x.SoftCap);
                        Float4Pair firstKeys = default, endKeys = default;
                        if ((form.Value & GpuAttention.Bounded) != 0)
                        {
                            firstKeys = FirstKeys(x, form.Value, batch, q0, queries, k0, at);
                            endKeys = EndKeys(x, form.Value, batch, q0, queries, k0, at);
                        }

                        Mask(x, form.Value, at, batch, head, q0, k0, keys, diagonal, firstKeys, endKeys, 0, ref scores.A, ref top);
                        Mask(x, form.Value, at, batch, head, q0, k0, keys, diagonal, firstKeys, endKeys, 1, ref scores.B, ref top);
                        Mask(x, form.Value, at, batch, head, q0, k0, keys, diagonal, firstKeys, endKeys, 2, ref scores.C, ref top);
                        Mask(x, form.Value, at, batch, head, q0, k0, keys, diagonal, firstKeys, endKeys, 3, ref scores.D, ref top);
                        Mask(x, form.Value, at, batch, head, q0, k0, keys, diagonal, firstKeys, endKeys, 4, ref scores.E, ref top);
                        Mask(x, form.Value, at, batch, head, q0, k0, keys, diagonal, firstKeys, endKeys, 5, ref scores.F, ref top);
                        Mask(x, form.Value, at, batch, head, q0, k0, keys, diagonal, firstKeys, endKeys, 6, ref scores.G, ref top);
                        Mask(x, form.Value, at, batch, head, q0, k0, keys, diagonal, firstKeys, endKeys, 7, ref scores.H, ref top);
                        top.Store(parts, at.Line * Tile + at.X, 1);
                    }

                    at.Store(scores, weights);
                }

                Group.Barrier();
            }

            for (int p = 0; p < Parts * Parts; p++)
                Weigh(x, form.Value, new GpuAttentionPart(p), row0, k0, queries, keys, diagonal, weights, parts, sumParts, largest, tops, factors);
            Group.Barrier();

            // Rescales the sums so far to the new maximum; after the last keys, divides by the sum.
            for (int r = 0; r < Tile; r++)
            {
                float sum = sums[r] * factors[r];
                for (int y = 0; y < Parts; y++)
                    sum += sumParts[y * Tile + r];
                float inverse = last ? GpuAttention.Inverse(sum) : 1;
                sums[r] = sum;
                largest[r] = tops[r];
                inverses[r] = inverse;
                factors[r] *= inverse;
                if (last && x.KeepsLogSumExp != 0 && r < queries)
                    x.LogSumExp[row0 + r] = GpuAttention.LogSumExp(tops[r], sum);
            }

            for (int c = 0; c < size; c += Tile)
            {
                if (!direct)
                    LoadRows(tiles, x.Value.Cast<float>(), key + c, x.KeyStride, keys, size - c);
                Group.Barrier();
                ArrayView<float> values = direct ? x.Value.Cast<float>().SubView(key + c) : tiles;
                for (int p = 0; p < Parts * Parts; p++)
                {
                    var at = new GpuAttentionPart(p);
                    if (at.X >= size - c || at.Y >= queries)
                        continue;
                    GpuTile products = at.Product(
                        default, values, direct ? x.KeyStride : Tile, weights, at.Rows(Tile, 1), Pitch, 0, IntrinsicMath.Clamp(at.LastY + diagonal + 1, 0, keys));
                    Output(x, form.Value, products.A, at.Y, queries, output + c, at, size - c, first, factors, inverses);
                    Output(x, form.Value, products.B, (at.Y + 1), queries, output + c, at, size - c, first, factors, inverses);
                    Output(x, form.Value, products.C, (at.Y + 2), queries, output + c, at, size - c, first, factors, inverses);
                    Output(x, form.Value, products.D, (at.Y + 3), queries, output + c, at, size - c, first, factors, inverses);
                    Output(x, form.Value, products.E, (at.Y + 4), queries, output + c, at, size - c, first, factors, inverses);
                    Output(x, form.Value, products.F, (at.Y + 5), queries, output + c, at, size - c, first, factors, inverses);
                    Output(x, form.Value, products.G, (at.Y + 6), queries, output + c, at, size - c, first, factors, inverses);
                    Output(x, form.Value, products.H, (at.Y + 7), queries, output + c, at, size - c, first, factors, inverses);
                }

                Group.Barrier();
            }

            k0 += Tile;
        }
        while (k0 < end);
    }

    /// <summary>Adds the biases of the key of row <paramref name="j"/>, masks it for queries that do not attend to it, and updates the maximum.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Mask(
        GpuAttentionArguments x, int form, GpuAttentionPart at, int batch, int head, int q0, int k0, int keys, int diagonal, Float4Pair firstKeys, Float4Pair endKeys, int j,
        ref Float4Pair scores, ref Float4Pair top)
    {
        int key = (at.Y + j);
        if ((form & GpuAttention.HasDistances) != 0 && key < keys)
        {
            int place = k0 + key, query = q0 + at.X;
            scores += new Float4Pair(
                GpuAttention.Distance(x, head, query, place), GpuAttention.Distance(x, head, query + 1, place), GpuAttention.Distance(x, head, query + 2, place), GpuAttention.Distance(x, head, query + 3, place),
                GpuAttention.Distance(x, head, query + 4, place), GpuAttention.Distance(x, head, query + 5, place), GpuAttention.Distance(x, head, query + 6, place), GpuAttention.Distance(x, head, query + 7, place));
        }

        if ((form & GpuAttention.HasBias) != 0 && key < keys)
            scores += Float4Pair.Splat(x.KeyBias[(long)batch * x.KeyLength + k0 + key]);
        if ((form & GpuAttention.Bounded) != 0)
            scores = scores.Between(key, firstKeys, endKeys, float.NegativeInfinity);
        else if (key >= keys || key > at.X + diagonal)
            scores = scores.Within(key < keys ? key - diagonal : 4 * Tile, 4 * Tile, at.X, 1, float.NegativeInfinity);
        top = Float4Pair.Max(top, scores);
    }

    /// <summary>The first key, relative to the tile, of the queries of a part's columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4Pair FirstKeys(GpuAttentionArguments x, int form, int batch, int q0, int queries, int k0, GpuAttentionPart at) => new(
        GpuAttention.FirstKey(x, form, batch, Column(q0, queries, at, 0)) - k0, GpuAttention.FirstKey(x, form, batch, Column(q0, queries, at, 1)) - k0,
        GpuAttention.FirstKey(x, form, batch, Column(q0, queries, at, 2)) - k0, GpuAttention.FirstKey(x, form, batch, Column(q0, queries, at, 3)) - k0,
        GpuAttention.FirstKey(x, form, batch, Column(q0, queries, at, 4)) - k0, GpuAttention.FirstKey(x, form, batch, Column(q0, queries, at, 5)) - k0,
        GpuAttention.FirstKey(x, form, batch, Column(q0, queries, at, 6)) - k0, GpuAttention.FirstKey(x, form, batch, Column(q0, queries, at, 7)) - k0);

    /// <summary>The end of their keys.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4Pair EndKeys(GpuAttentionArguments x, int form, int batch, int q0, int queries, int k0, GpuAttentionPart at) => new(
        GpuAttention.EndKey(x, form, batch, Column(q0, queries, at, 0)) - k0, GpuAttention.EndKey(x, form, batch, Column(q0, queries, at, 1)) - k0,
        GpuAttention.EndKey(x, form, batch, Column(q0, queries, at, 2)) - k0, GpuAttention.EndKey(x, form, batch, Column(q0, queries, at, 3)) - k0,
        GpuAttention.EndKey(x, form, batch, Column(q0, queries, at, 4)) - k0, GpuAttention.EndKey(x, form, batch, Column(q0, queries, at, 5)) - k0,
        GpuAttention.EndKey(x, form, batch, Column(q0, queries, at, 6)) - k0, GpuAttention.EndKey(x, form, batch, Column(q0, queries, at, 7)) - k0);

    /// <summary>The query of a part's column; the last one if it is missing.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Column(int q0, int queries, GpuAttentionPart at, int column) => q0 + IntrinsicMath.Min(at.X + column, queries - 1);

    /// <summary>Replaces a part's scores by exp(score - maximum so far), after dropout, and stores their sums.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Weigh(
        GpuAttentionArguments x, int form, GpuAttentionPart at, long row0, int k0, int queries, int keys, int diagonal, ArrayView<float> weights,
        ArrayView<float> parts, ArrayView<float> sumParts, ArrayView<float> largest, ArrayView<float> tops, ArrayView<float> factors)
    {
        Float4Pair old = Float4Pair.Load(largest, at.X, 1), top = old;
        for (int y = 0; y < Parts; y++)
            top = Float4Pair.Max(top, Float4Pair.Load(parts, y * Tile + at.X, 1));

        // The maximum of a query without keys so far is not finite.
        Float4Pair shift = top.Finite(), total = default;
        if (at.Line == 0)
        {
            top.Store(tops, at.X, 1);
            Float4Pair.Exp(old - shift).Store(factors, at.X, 1);
        }

        bool visible = at.Y <= at.LastX + diagonal && at.X < queries && at.Y < keys;
        for (int j = 0; j < 8; j++)
        {
            int place = (at.Y + j) * Pitch + at.X, key = k0 + (at.Y + j);
            Float4Pair weight = default;
            if (visible)
                weight = Float4Pair.Exp(Float4Pair.Load(weights, place, 1) - shift);
            total += weight;
            if ((form & GpuAttention.Drops) != 0 && visible)
            {
                long row = row0 + at.X;
                weight *= new Float4Pair(
                    GpuAttention.Keep(x, row, key), GpuAttention.Keep(x, row + 1, key), GpuAttention.Keep(x, row + 2, key), GpuAttention.Keep(x, row + 3, key),
                    GpuAttention.Keep(x, row + 4, key), GpuAttention.Keep(x, row + 5, key), GpuAttention.Keep(x, row + 6, key), GpuAttention.Keep(x, row + 7, key));
            }

            weight.Store(weights, place, 1);
        }

        total.Store(sumParts, at.Line * Tile + at.X, 1);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Output(
        GpuAttentionArguments x, int form, Float4Pair sum, int row, int queries, long start, GpuAttentionPart at, int columns, bool first,
        ArrayView<float> factors, ArrayView<float> inverses)
    {
        if (row < queries)
            Accumulate(x.Output.Cast<float>(), start + (long)row * x.OutputStride, at, columns, form, sum, first, factors[row], inverses[row]);
    }
}
