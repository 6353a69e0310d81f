using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

// The gradients; see GpuAttentionTiles.Backward for the equations. A group keeps its own rows in shared memory, keys and values or queries and gradients of the output, and steps through
// 16 rows of the others at a time. No element is written by two groups.
internal static partial class GpuAttentionTensor
{
    /// <summary>Shared memory that kernels may allocate statically.</summary>
    private const int MostShared = 48 << 10;

    /// <summary>The warps of a group: four if the rows of their two operands and a step of the others fit in shared memory, else two.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int WarpsOf(int bytes, int columns) => (4 + 1) * 2 * Side * GpuTensorRows<GpuBf16Factor>.PitchOf(bytes, columns) <= MostShared ? 4 : 2;

    /// <summary>Steps in shared memory: two if they fit, so that one is copied while the other is multiplied.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int StagesOf(int bytes, int columns) => (WarpsOf(bytes, columns) + 2) * 2 * Side * GpuTensorRows<GpuBf16Factor>.PitchOf(bytes, columns) <= MostShared ? 2 : 1;

    /// <summary>Bytes of shared memory of the gradients' kernels.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int SharedBytes(int bytes, int columns) => (WarpsOf(bytes, columns) + StagesOf(bytes, columns)) * 2 * Side * GpuTensorRows<GpuBf16Factor>.PitchOf(bytes, columns);

    /// <summary>The gradients of keys and values: one group for each block of keys, key head and sequence. Rows of the scores are keys, columns are queries.</summary>
    [TensorCores]
    public static void BackwardOfKeys<P>(GpuAttentionArguments x, SpecializedValue<int> form) where P : struct, IGpuFactor
    {
        int columns = ColumnsOf(form.Value), warps = WarpsOf(P.Bytes, columns), own = Side * warps, stages = StagesOf(P.Bytes, columns);
        var rows = new GpuTensorRows<P>(columns);
        int shared = GpuTensorCores.SharedAddress(ref SharedMemory.Allocate<Float4>(SharedBytes(P.Bytes, columns) / 16)[0]), values = shared + own * rows.Pitch, half = Side * rows.Pitch, stage = values + own * rows.Pitch;
        int rest = Grid.IdxX / x.Blocks, head = rest % x.KeyHeads, batch = rest / x.KeyHeads, k0 = Grid.IdxX % x.Blocks * own, endHead = (head + 1) * (x.Heads / x.KeyHeads), h = endHead - x.Heads / x.KeyHeads;
        var tile = new GpuAttentionTile { Batch = batch };
        var next = new GpuAttentionTile { Batch = batch };
        tile.OfKeys(x, head, k0);
        rows.Copy(shared, x.Key, tile.Key, x.KeyStride, own, tile.KeyCount, x.HeadSize, 32 * warps);
        rows.Copy(values, x.Value, tile.Key, x.KeyStride, own, tile.KeyCount, x.HeadSize, 32 * warps);

        // The blocks of queries that attend to a key of the block.
        int first = GpuAttention.FirstBlock(x, form.Value, batch, k0), end = GpuAttention.EndBlock(x, form.Value, batch, first, k0 + tile.KeyCount), q0 = first;
        next.OfQueries(x, h, q0);
        CopyQueries(x, rows, next, stage, half, 32 * warps);
        GpuTensorCores.Commit();
        int warpRow = (Group.IdxX >> 5) * Side, row = warpRow + ((Group.IdxX & 31) >> 2), column = 2 * (Group.IdxX & 3), warpKeys = shared + warpRow * rows.Pitch, warpValues = values + warpRow * rows.Pitch;
        int flip = stages == 2 ? stage + stage + 2 * half : 0;
        GpuTensorSums keyGradient = default, valueGradient = default;
        while (q0 < end)
        {
            GpuTensorCores.Wait(0);
            Group.Barrier();
            tile.OfQueries(x, h, q0);
            int query = q0 + Side;
            if (query >= end)
            {
                query = first;
                h++;
            }

            bool more = h < endHead;
            next.OfQueries(x, h, query);
            int current = stage;
            if (stages == 2)
            {
                stage = flip - stage;
                if (more)
                    CopyQueries(x, rows, next, stage, half, 32 * warps);
                GpuTensorCores.Commit();
            }

            GpuTensorSquare scores = default, products = default;
            Multiply(rows, warpKeys, warpValues, current, half, ref scores, ref products);
            bool masks = tile.NeedsMask(x, form.Value);
            GpuTensorSquare keep = default;
            if ((form.Value & GpuAttention.Drops) != 0)
            {
                keep = GpuTensorDropout.OfKeys(x, tile, row, column);
                products *= keep;
            }

            GradientsOfKeys(x, form.Value, tile, row, column, masks, ref scores.A, ref products.A);
            GradientsOfKeys(x, form.Value, tile, row, column + 8, masks, ref scores.B, ref products.B);
            if ((form.Value & GpuAttention.Drops) != 0)
                scores *= keep;
            valueGradient.Add(rows, P.Left(scores), current + half, columns);
            keyGradient.Add(rows, P.Left(products), current, columns);
            if (stages == 1)
            {
                // All warps have multiplied the step.
                Group.Barrier();
                if (more)
                    CopyQueries(x, rows, next, stage, half, 32 * warps);
                GpuTensorCores.Commit();
            }

            q0 = more ? query : end;
        }

        keyGradient.Scale(x.Scale, x.Scale, columns);
        Store(x.KeyGradient, P.Bytes, tile.Key, x.KeyStride, tile.KeyCount, x.HeadSize, row, keyGradient, columns);
        Store(x.ValueGradient, P.Bytes, tile.Key, x.KeyStride, tile.KeyCount, x.HeadSize, row, valueGradient, columns);
    }

    /// <summary>The gradient of the queries: one group for each block of queries, head and sequence.</summary>
    [TensorCores]
    public static void BackwardOfQueries<P>(GpuAttentionArguments x, SpecializedValue<int> form) where P : struct, IGpuFactor
    {
        int columns = ColumnsOf(form.Value), warps = WarpsOf(P.Bytes, columns), own = Side * warps, stages = StagesOf(P.Bytes, columns);
        var rows = new GpuTensorRows<P>(columns);
        int shared = GpuTensorCores.SharedAddress(ref SharedMemory.Allocate<Float4>(SharedBytes(P.Bytes, columns) / 16)[0]), outputs = shared + own * rows.Pitch, half = Side * rows.Pitch, stage = outputs + own * rows.Pitch;
        int rest = Grid.IdxX / x.Blocks, head = rest % x.Heads, batch = rest / x.Heads, q0 = (x.Blocks - 1 - Grid.IdxX % x.Blocks) * own, keyHead = head / (x.Heads / x.KeyHeads);
        var tile = new GpuAttentionTile { Batch = batch };
        tile.OfQueries(x, head, q0);
        rows.Copy(shared, x.Query, tile.Query, x.QueryStride, own, tile.QueryCount, x.HeadSize, 32 * warps);
        rows.Copy(outputs, x.OutputGradient, tile.Output, x.OutputStride, own, tile.QueryCount, x.HeadSize, 32 * warps);
        int end = GpuAttention.EndKey(x, form.Value, batch, q0 + IntrinsicMath.Min(own, tile.QueryCount) - 1), k0 = GpuAttention.FirstTile(x, form.Value, batch, q0);
        tile.OfKeys(x, keyHead, k0);
        CopyKeys(x, rows, tile, stage, half, 32 * warps);
        GpuTensorCores.Commit();
        int warpRow = (Group.IdxX >> 5) * Side, row = warpRow + ((Group.IdxX & 31) >> 2), column = 2 * (Group.IdxX & 3), warpQueries = shared + warpRow * rows.Pitch, warpOutputs = outputs + warpRow * rows.Pitch;
        int flip = stages == 2 ? stage + stage + 2 * half : 0;
        float upperSum = GpuAttentionTiles.OfRow(x.LogSumExp, tile, row), lowerSum = GpuAttentionTiles.OfRow(x.LogSumExp, tile, row + 8);
        float upperDot = GpuAttentionTiles.OfRow(x.Dots, tile, row), lowerDot = GpuAttentionTiles.OfRow(x.Dots, tile, row + 8);
        GpuTensorSums gradient = default;
        while (k0 < end)
        {
            GpuTensorCores.Wait(0);
            Group.Barrier();
            int current = stage;
            if (stages == 2)
            {
                stage = flip - stage;
                if (k0 + Side < end)
                {
                    tile.OfKeys(x, keyHead, k0 + Side);
                    CopyKeys(x, rows, tile, stage, half, 32 * warps);
                }

                GpuTensorCores.Commit();
            }

            tile.OfKeys(x, keyHead, k0);
            GpuTensorSquare scores = default, products = default;
            Multiply(rows, warpQueries, warpOutputs, current, half, ref scores, ref products);
            bool masks = tile.NeedsMask(x, form.Value);
            if ((form.Value & GpuAttention.Drops) != 0)
                products *= GpuTensorDropout.OfQueries(x, tile, row, column);
            products.A = GradientsOfQueries(x, form.Value, tile, row, column, masks, upperSum, lowerSum, upperDot, lowerDot, scores.A, products.A);
            products.B = GradientsOfQueries(x, form.Value, tile, row, column + 8, masks, upperSum, lowerSum, upperDot, lowerDot, scores.B, products.B);
            gradient.Add(rows, P.Left(products), current, columns);
            k0 += Side;
            if (stages == 1)
            {
                // All warps have multiplied the step.
                Group.Barrier();
                if (k0 < end)
                {
                    tile.OfKeys(x, keyHead, k0);
                    CopyKeys(x, rows, tile, stage, half, 32 * warps);
                }

                GpuTensorCores.Commit();
            }
        }

        gradient.Scale(x.Scale, x.Scale, columns);
        Store(x.QueryGradient, P.Bytes, tile.Query, x.QueryStride, tile.QueryCount, x.HeadSize, row, gradient, columns);
    }

    /// <summary>Starts to copy 16 rows of queries and of the output's gradient.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void CopyQueries<P>(GpuAttentionArguments x, GpuTensorRows<P> rows, GpuAttentionTile tile, int stage, int half, int threads) where P : struct, IGpuFactor
    {
        rows.Copy(stage, x.Query, tile.Query, x.QueryStride, Side, tile.QueryCount, x.HeadSize, threads);
        rows.Copy(stage + half, x.OutputGradient, tile.Output, x.OutputStride, Side, tile.QueryCount, x.HeadSize, threads);
    }

    /// <summary>Starts to copy 16 rows of keys and of values.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void CopyKeys<P>(GpuAttentionArguments x, GpuTensorRows<P> rows, GpuAttentionTile tile, int stage, int half, int threads) where P : struct, IGpuFactor
    {
        rows.Copy(stage, x.Key, tile.Key, x.KeyStride, Side, tile.KeyCount, x.HeadSize, threads);
        rows.Copy(stage + half, x.Value, tile.Key, x.KeyStride, Side, tile.KeyCount, x.HeadSize, threads);
    }

    /// <summary>The products of a warp's rows with those of a step: of the first operands and of the second.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Multiply<P>(GpuTensorRows<P> rows, int first, int second, int stage, int half, ref GpuTensorSquare scores, ref GpuTensorSquare products) where P : struct, IGpuFactor
    {
        for (int step = 0; step < rows.Steps; step++)
        {
            scores.Add<P>(rows.Left(first, step), rows.Right(stage, step));
            products.Add<P>(rows.Left(second, step), rows.Right(stage + half, step));
        }
    }

    /// <summary>Replaces a lane's scores by weights and dO Vᵀ by the gradients of the scores; rows are keys.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void GradientsOfKeys(GpuAttentionArguments x, int form, GpuAttentionTile tile, int row, int column, bool masks, ref Float4 scores, ref Float4 products)
    {
        float sum = GpuAttentionTiles.OfRow(x.LogSumExp, tile, column), nextSum = GpuAttentionTiles.OfRow(x.LogSumExp, tile, column + 1);
        float dot = GpuAttentionTiles.OfRow(x.Dots, tile, column), nextDot = GpuAttentionTiles.OfRow(x.Dots, tile, column + 1);
        GpuScoreGradient a = Gradient(x, form, tile, column, row, masks, sum, dot, scores.A, products.A), b = Gradient(x, form, tile, column + 1, row, masks, nextSum, nextDot, scores.B, products.B);
        GpuScoreGradient c = Gradient(x, form, tile, column, row + 8, masks, sum, dot, scores.C, products.C), d = Gradient(x, form, tile, column + 1, row + 8, masks, nextSum, nextDot, scores.D, products.D);
        scores = new Float4(a.Weight, b.Weight, c.Weight, d.Weight);
        products = new Float4(a.Gradient, b.Gradient, c.Gradient, d.Gradient);
    }

    /// <summary>The gradients of a lane's scores, from dO Vᵀ; rows are queries.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 GradientsOfQueries(
        GpuAttentionArguments x, int form, GpuAttentionTile tile, int row, int column, bool masks, float upperSum, float lowerSum, float upperDot, float lowerDot, Float4 scores, Float4 products) => new(
        Gradient(x, form, tile, row, column, masks, upperSum, upperDot, scores.A, products.A).Gradient, Gradient(x, form, tile, row, column + 1, masks, upperSum, upperDot, scores.B, products.B).Gradient,
        Gradient(x, form, tile, row + 8, column, masks, lowerSum, lowerDot, scores.C, products.C).Gradient, Gradient(x, form, tile, row + 8, column + 1, masks, lowerSum, lowerDot, scores.D, products.D).Gradient);

    /// <summary>The weight of a query and a key of the tile, and the gradient of their score, from q·k and dO·v.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static GpuScoreGradient Gradient(GpuAttentionArguments x, int form, GpuAttentionTile tile, int query, int key, bool masks, float sum, float dot, float product, float slope)
    {
        float score = Score(x, form, product), weight = Exp(Bias(x, form, tile, query, key, score) - sum), gradient = weight * (slope - dot);
        if ((form & GpuAttention.Caps) != 0)
        {
            float tangent = score * (1 / x.SoftCap);
            gradient *= 1 - tangent * tangent;
        }

        if (masks && !(query < tile.QueryCount && key >= tile.Begin(x, form, IntrinsicMath.Min(query, tile.QueryCount - 1)) && key < tile.End(x, form, IntrinsicMath.Min(query, tile.QueryCount - 1))))
            weight = gradient = 0;
        return new GpuScoreGradient { Weight = weight, Gradient = gradient };
    }

    /// <summary>A weight, and the gradient of its score.</summary>
    private struct GpuScoreGradient
    {
        public float Weight, Gradient;
    }
}
