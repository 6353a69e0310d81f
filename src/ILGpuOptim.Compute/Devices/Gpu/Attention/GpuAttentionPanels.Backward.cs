using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

// The gradients. Weights are recomputed from the log-sum-exp, queries × keys. With P the weights, M the dropout mask and
// D = Σ dO·O of a query: dV = (P∘M)ᵀ dO, dS = P∘((dO Vᵀ)∘M - D), dQ = scale · dS K, dK = scale · dSᵀ Q.
// A group takes a whole key head if there are enough of them; then five products per tile suffice, else seven.
internal static partial class GpuAttentionPanels
{
    /// <summary>Σ dO·O of each query and head, of <see cref="GpuAttention.Tile"/> of them.</summary>
    public static void Dot(GpuAttentionArguments x, int count, SpecializedValue<int> form)
    {
        int size = x.HeadSize, end = IntrinsicMath.Min((Grid.IdxX + 1) * Tile, count);
        for (int t = Grid.IdxX * Tile; t < end; t++)
        {
            long start = GpuAttention.OutputOf(x, t);
            Float4Pair sums = default;
            int d = 0;
            float total = 0;
            for (; d <= size - 8; d += 8)
                sums += Float4Pair.Load(x.OutputGradient.Cast<float>(), start + d, 1) * Float4Pair.Load(x.Output.Cast<float>(), start + d, 1);
            for (; d < size; d++)
                total = MathF.FusedMultiplyAdd(x.OutputGradient.Cast<float>()[start + d], x.Output.Cast<float>()[start + d], total);
            x.Dots[t] = total + sums.Sum();
        }
    }

    /// <summary>
    /// With <see cref="GpuAttention.Keys"/> the gradients of keys and values, one group for each block of keys, key head and sequence; with
    /// <see cref="GpuAttention.Queries"/> the gradient of the queries, one group for each block of queries, head and sequence; with both,
    /// all three, one group for each key head and sequence.
    /// </summary>
    public static void Backward(GpuAttentionArguments x, SpecializedValue<int> form)
    {
        int size = x.HeadSize;
        bool ofKeys = (form.Value & GpuAttention.Keys) != 0, ofQueries = (form.Value & GpuAttention.Queries) != 0;
        ArrayView<float> tiles = SharedMemory.Allocate<float>(2 * Tile * Pitch);
        ArrayView<float> weights = SharedMemory.Allocate<float>(Tile * Pitch), gradients = SharedMemory.Allocate<float>(Tile * Pitch);
        int block = Grid.IdxX % x.Blocks, heads = ofKeys ? x.KeyHeads : x.Heads, head = Grid.IdxX / x.Blocks % heads, batch = Grid.IdxX / x.Blocks / heads;
        int shared = x.Heads / x.KeyHeads, keyHead = ofKeys ? head : head / shared, h0 = ofKeys ? head * shared : head, h1 = ofKeys ? h0 + shared : head + 1;
        int qFirst = ofKeys ? 0 : block * Tile, qEnd = ofKeys ? x.QueryLength : IntrinsicMath.Min(qFirst + Tile, x.QueryLength);
        int kFirst = ofQueries ? 0 : block * Tile, kEnd = x.KeyLength;
        if (ofKeys && !ofQueries)
            kEnd = IntrinsicMath.Min(kFirst + Tile, x.KeyLength);
        if (!ofKeys)
        {
            kFirst = GpuAttention.FirstTile(x, form.Value, batch, qFirst);
            kEnd = GpuAttention.EndKey(x, form.Value, batch, qEnd - 1);
        }

        // Queries without keys.
        for (int h = h0; h < h1 && ofQueries; h++)
            ClearBlind(x, form.Value, batch, h, qFirst, qEnd);
        for (int k0 = kFirst; k0 < kEnd; k0 += Tile)
        {
            var tile = new GpuAttentionTile { Batch = batch };
            tile.OfKeys(x, keyHead, k0);

            // The blocks of queries that attend to a key of the block.
            int q = qFirst, end = qEnd;
            if (ofKeys)
            {
                q = GpuAttention.FirstBlock(x, form.Value, batch, k0);
                end = GpuAttention.EndBlock(x, form.Value, batch, q, k0 + tile.KeyCount);
            }

            bool first = true, fresh = true;
            for (int h = h0; h < h1; h++)
            {
                for (int q0 = q; q0 < end; q0 += Tile)
                {
                    tile.OfQueries(x, h, q0);
                    ScoreGradients(x, form.Value, tile, fresh, tiles, weights, gradients);
                    if (ofKeys)
                    {
                        Sum(x, form.Value, tile, Over.Weights, first, tiles, weights);
                        Sum(x, form.Value, tile, Over.Queries, first, tiles, gradients);
                    }

                    if (ofQueries)
                        Sum(x, form.Value, tile, Over.Keys, k0 == GpuAttention.FirstTile(x, form.Value, batch, q0), tiles, gradients);
                    first = false;
                    fresh = (form.Value & GpuAttention.Direct) == 0 || Tile < size;
                }
            }

            if (ofKeys && first)
            {
                Clear(x.KeyGradient.Cast<float>(), tile.Key, x.KeyStride, tile.KeyCount, size);
                Clear(x.ValueGradient.Cast<float>(), tile.Key, x.KeyStride, tile.KeyCount, size);
            }
        }
    }

    /// <summary>Clears the gradients of a head's queries without keys, in blocks that have no pair at all.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void ClearBlind(GpuAttentionArguments x, int form, int batch, int head, int qFirst, int qEnd)
    {
        long start = (long)batch * x.QueryLength * x.QueryStride + head * x.QueryHeadStep;
        if ((form & GpuAttention.Bounded) == 0)
        {
            int blind = IntrinsicMath.Clamp(-x.Offset, 0, x.QueryLength);
            blind = x.KeyLength == 0 ? qEnd : IntrinsicMath.Min(blind / Tile * Tile, qEnd);
            Clear(x.QueryGradient.Cast<float>(), start + (long)qFirst * x.QueryStride, x.QueryStride, blind - qFirst, x.HeadSize);
            return;
        }

        for (int q0 = qFirst; q0 < qEnd; q0 += Tile)
        {
            int end = IntrinsicMath.Min(q0 + Tile, qEnd);
            if (GpuAttention.FirstKey(x, form, batch, q0) >= GpuAttention.EndKey(x, form, batch, end - 1))
                Clear(x.QueryGradient.Cast<float>(), start + (long)q0 * x.QueryStride, x.QueryStride, end - q0, x.HeadSize);
        }
    }

    private static class Over
    {
        public const int Weights = 0, Queries = 1, Keys = 2;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Clear(ArrayView<float> target, long start, int stride, int rows, int size)
    {
        for (int t = 0; t < rows * size; t++)
            target[start + (long)(t / size) * stride + t % size] = 0;
    }

    /// <summary>Computes P∘M into <paramref name="weights"/> and dS into <paramref name="gradients"/>, and ends with a barrier.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void ScoreGradients(
        GpuAttentionArguments x, int form, GpuAttentionTile tile, bool fresh, ArrayView<float> tiles, ArrayView<float> weights, ArrayView<float> gradients)
    {
        int size = x.HeadSize;
        bool direct = (form & GpuAttention.Direct) != 0;
        ArrayView<float> right = tiles.SubView(Tile * Pitch, Tile * Pitch);
        for (int c = 0; c < size; c += Tile)
        {
            if (fresh)
                LoadTransposed(tiles, x.Key.Cast<float>(), tile.Key + c, x.KeyStride, tile.KeyCount, size - c, x.Scale);
            if (!direct)
                LoadTransposed(right, x.Query.Cast<float>(), tile.Query + c, x.QueryStride, tile.QueryCount, size - c, 1);
            Group.Barrier();
            ArrayView<float> rows = direct ? x.Query.Cast<float>().SubView(tile.Query + c) : right;
            for (int p = 0; p < Parts * Parts; p++)
            {
                var at = new GpuAttentionPart(p);
                GpuTile scores = default;
                if (tile.Sees(at))
                {
                    if (c > 0)
                        scores = at.Load(weights);
                    scores = at.Product(
                        scores, tiles, Pitch, rows, direct ? at.Rows(tile.QueryCount, x.QueryStride) : at.Rows(Tile, 1), direct ? 1 : Pitch, 0, IntrinsicMath.Min(Tile, size - c));
                    if (c + Tile >= size)
                        scores = (form & GpuAttention.Caps) != 0 ? Cap(scores, x.SoftCap) : Weights(x, form, tile, at, scores);
                }

                at.Store(scores, weights);
            }

            Group.Barrier();
        }

        for (int c = 0; c < size; c += Tile)
        {
            if (fresh)
                LoadTransposed(direct ? right : tiles, x.Value.Cast<float>(), tile.Key + c, x.KeyStride, tile.KeyCount, size - c, 1);
            if (!direct)
                LoadTransposed(right, x.OutputGradient.Cast<float>(), tile.Output + c, x.OutputStride, tile.QueryCount, size - c, 1);
            Group.Barrier();
            ArrayView<float> rows = direct ? x.OutputGradient.Cast<float>().SubView(tile.Output + c) : right;
            for (int p = 0; p < Parts * Parts; p++)
            {
                var at = new GpuAttentionPart(p);
                GpuTile products = default;
                if (tile.Sees(at))
                {
                    if (c > 0)
                        products = at.Load(gradients);
                    products = at.Product(
                        products, direct ? right : tiles, Pitch, rows, direct ? at.Rows(tile.QueryCount, x.OutputStride) : at.Rows(Tile, 1), direct ? 1 : Pitch,
                        0, IntrinsicMath.Min(Tile, size - c));
                }

                if (c + Tile >= size)
                {
                    ScoreGradient(x, form, tile, at, 0, ref products.A, weights);
                    ScoreGradient(x, form, tile, at, 1, ref products.B, weights);
                    ScoreGradient(x, form, tile, at, 2, ref products.C, weights);
                    ScoreGradient(x, form, tile, at, 3, ref products.D, weights);
                    ScoreGradient(x, form, tile, at, 4, ref products.E, weights);
                    ScoreGradient(x, form, tile, at, 5, ref products.F, weights);
                    ScoreGradient(x, form, tile, at, 6, ref products.G, weights);
                    ScoreGradient(x, form, tile, at, 7, ref products.H, weights);
                }

                at.Store(products, gradients);
            }

            Group.Barrier();
        }
    }

    /// <summary>exp(score + biases - log-sum-exp), 0 where the query does not attend to the key.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static GpuTile Weights(GpuAttentionArguments x, int form, GpuAttentionTile tile, GpuAttentionPart at, GpuTile scores)
    {
        Float4Pair bias = KeyBiases(x, form, tile, at);
        return new GpuTile
        {
            A = Weight(x, form, tile, at, 0, scores.A + bias),
            B = Weight(x, form, tile, at, 1, scores.B + bias),
            C = Weight(x, form, tile, at, 2, scores.C + bias),
            D = Weight(x, form, tile, at, 3, scores.D + bias),
            E = Weight(x, form, tile, at, 4, scores.E + bias),
            F = Weight(x, form, tile, at, 5, scores.F + bias),
            G = Weight(x, form, tile, at, 6, scores.G + bias),
            H = Weight(x, form, tile, at, 7, scores.H + bias),
        };
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4Pair KeyBiases(GpuAttentionArguments x, int form, GpuAttentionTile tile, GpuAttentionPart at)
    {
        if ((form & GpuAttention.HasBias) == 0)
            return default;
        long start = (long)tile.Batch * x.KeyLength + tile.FirstKey;
        int key = at.X, end = tile.KeyCount - 1;
        return new Float4Pair(
            x.KeyBias[start + IntrinsicMath.Min(key, end)], x.KeyBias[start + IntrinsicMath.Min(key + 1, end)],
            x.KeyBias[start + IntrinsicMath.Min(key + 2, end)], x.KeyBias[start + IntrinsicMath.Min(key + 3, end)],
            x.KeyBias[start + IntrinsicMath.Min(key + 4, end)], x.KeyBias[start + IntrinsicMath.Min(key + 5, end)],
            x.KeyBias[start + IntrinsicMath.Min(key + 6, end)], x.KeyBias[start + IntrinsicMath.Min(key + 7, end)]);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4Pair Weight(GpuAttentionArguments x, int form, GpuAttentionTile tile, GpuAttentionPart at, int j, Float4Pair scores)
    {
        int row = at.Y + j;
        if (row >= tile.QueryCount)
            return default;
        if ((form & GpuAttention.HasDistances) != 0)
        {
            int query = tile.FirstQuery + row, key = tile.FirstKey + at.X;
            scores += new Float4Pair(
                GpuAttention.Distance(x, tile.Head, query, key), GpuAttention.Distance(x, tile.Head, query, key + 1), GpuAttention.Distance(x, tile.Head, query, key + 2), GpuAttention.Distance(x, tile.Head, query, key + 3),
                GpuAttention.Distance(x, tile.Head, query, key + 4), GpuAttention.Distance(x, tile.Head, query, key + 5), GpuAttention.Distance(x, tile.Head, query, key + 6), GpuAttention.Distance(x, tile.Head, query, key + 7));
        }

        return tile.Visible(x, form, at, row, Float4Pair.Exp(scores - Float4Pair.Splat(x.LogSumExp[tile.Row + row])));
    }

    /// <summary>
    /// Replaces row <paramref name="j"/> of dO Vᵀ by dS, and the weights by those after dropout. With a soft cap, <paramref name="weights"/> holds
    /// capped scores instead, from which the weights and the cap's derivative, 1 - (score / cap)², are computed here.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void ScoreGradient(GpuAttentionArguments x, int form, GpuAttentionTile tile, GpuAttentionPart at, int j, ref Float4Pair products, ArrayView<float> weights)
    {
        int row = at.Y + j, place = row * Pitch + at.X;
        if (row >= tile.QueryCount || !tile.Sees(at))
        {
            products = default;
            return;
        }

        Float4Pair weight = Float4Pair.Load(weights, place, 1), derivative = default;
        if ((form & GpuAttention.Caps) != 0)
        {
            Float4Pair tangent = weight * (1 / x.SoftCap);
            derivative = Float4Pair.Splat(1) - tangent * tangent;
            weight = Weight(x, form, tile, at, j, weight + KeyBiases(x, form, tile, at));
            if ((form & GpuAttention.Drops) == 0)
                weight.Store(weights, place, 1);
        }

        if ((form & GpuAttention.Drops) != 0)
        {
            long line = tile.Row + row;
            int key = tile.FirstKey + at.X;
            var keep = new Float4Pair(
                GpuAttention.Keep(x, line, key), GpuAttention.Keep(x, line, key + 1), GpuAttention.Keep(x, line, key + 2), GpuAttention.Keep(x, line, key + 3),
                GpuAttention.Keep(x, line, key + 4), GpuAttention.Keep(x, line, key + 5), GpuAttention.Keep(x, line, key + 6), GpuAttention.Keep(x, line, key + 7));
            (weight * keep).Store(weights, place, 1);
            products *= keep;
        }

        Float4Pair gradient = weight * (products - Float4Pair.Splat(x.Dots[tile.Row + row]));
        if ((form & GpuAttention.Caps) != 0 && (form & GpuAttention.OfDistances) == 0)
            gradient *= derivative;
        products = tile.Visible(x, form, at, row, gradient);
    }

    /// <summary>Adds one of the three products to its gradient: (P∘M)ᵀ dO, dSᵀ Q or dS K.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Sum(GpuAttentionArguments x, int form, GpuAttentionTile tile, int what, bool first, ArrayView<float> tiles, ArrayView<float> factors)
    {
        int size = x.HeadSize;
        bool direct = (form & GpuAttention.Direct) != 0;
        ArrayView<float> source = what == Over.Weights ? x.OutputGradient.Cast<float>() : what == Over.Queries ? x.Query.Cast<float>() : x.Key.Cast<float>();
        ArrayView<float> target = what == Over.Weights ? x.ValueGradient.Cast<float>() : what == Over.Queries ? x.KeyGradient.Cast<float>() : x.QueryGradient.Cast<float>();
        long from = what == Over.Weights ? tile.Output : what == Over.Queries ? tile.Query : tile.Key, to = what == Over.Keys ? tile.Query : tile.Key;
        int stride = what == Over.Weights ? x.OutputStride : what == Over.Queries ? x.QueryStride : x.KeyStride, targetStride = what == Over.Keys ? x.QueryStride : x.KeyStride;
        int depth = what == Over.Keys ? tile.KeyCount : tile.QueryCount, rows = what == Over.Keys ? tile.QueryCount : tile.KeyCount;
        float scale = what == Over.Weights ? 1 : x.Scale;
        for (int c = 0; c < size; c += Tile)
        {
            if (!direct)
                LoadRows(tiles, source, from + c, stride, depth, size - c);
            Group.Barrier();
            ArrayView<float> columns = direct ? source.SubView(from + c) : tiles;
            for (int p = 0; p < Parts * Parts; p++)
            {
                var at = new GpuAttentionPart(p);
                if (at.X >= size - c || at.Y >= rows)
                    continue;
                int begin = what == Over.Keys ? 0 : IntrinsicMath.Clamp(at.Y - tile.Diagonal, 0, depth);
                int end = what == Over.Keys ? IntrinsicMath.Clamp(at.LastY + tile.Diagonal + 1, 0, depth) : depth;
                GpuTile sums = at.Product(
                    default, columns, direct ? stride : Tile, factors, at.Rows(Tile, what == Over.Keys ? Pitch : 1), what == Over.Keys ? 1 : Pitch, begin, end);
                Row(form, target, to + c, targetStride, at, 0, rows, size - c, sums.A, first, scale);
                Row(form, target, to + c, targetStride, at, 1, rows, size - c, sums.B, first, scale);
                Row(form, target, to + c, targetStride, at, 2, rows, size - c, sums.C, first, scale);
                Row(form, target, to + c, targetStride, at, 3, rows, size - c, sums.D, first, scale);
                Row(form, target, to + c, targetStride, at, 4, rows, size - c, sums.E, first, scale);
                Row(form, target, to + c, targetStride, at, 5, rows, size - c, sums.F, first, scale);
                Row(form, target, to + c, targetStride, at, 6, rows, size - c, sums.G, first, scale);
                Row(form, target, to + c, targetStride, at, 7, rows, size - c, sums.H, first, scale);
            }

            Group.Barrier();
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Row(
        int form, ArrayView<float> target, long start, int stride, GpuAttentionPart at, int j, int rows, int columns, Float4Pair sum, bool first, float scale)
    {
        int row = at.Y + j;
        if (row < rows)
            Accumulate(target, start + (long)row * stride, at, columns, form, sum, first, 1, scale);
    }
}
