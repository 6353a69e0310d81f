using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// Attention on GPUs for heads of up to 64 elements, a multiple of four; <see cref="GpuAttentionKernels"/> computes the others and
/// documents the algorithm. Tiles are 64 × 64. A group has 128 threads, each with 8 × 4 elements of a tile: two blocks of four rows, half a tile apart.
/// Both factors of a product are stored with the summed dimension outermost, so that a step is three 16-byte reads for 32 multiply-adds. Results
/// stay in registers until the last tile.
/// </summary>
internal static partial class GpuAttentionTiles
{
    /// <summary>Threads of a group, and the largest head size.</summary>
    public const int Threads = 128, LongestHead = 64;

    /// <summary>The specialization constants of these kernels.</summary>
    public const int Forms =
        GpuAttentionKernels.HasBias | GpuAttentionKernels.Drops | GpuAttentionKernels.Bounded | GpuAttentionKernels.Ranged | GpuAttentionKernels.Caps | GpuAttentionKernels.HasDistances;

    /// <summary>Vectors from one row to the next: of transposed tiles, padded by one, and of others.</summary>
    internal const int Pitch = Tile / 4 + 1, RowPitch = LongestHead / 4;

    private const int Tile = GpuAttentionKernels.Tile, Half = Tile / 2, ColumnParts = Tile / 4;

    /// <summary>One group for each block of queries, head and sequence.</summary>
    public static void Forward(GpuAttentionArguments x, SpecializedValue<int> form)
    {
        ArrayView<Float4> queries = SharedMemory.Allocate<Float4>(Tile * Pitch), keys = SharedMemory.Allocate<Float4>(Tile * Pitch);
        ArrayView<Float4> values = SharedMemory.Allocate<Float4>(Half * RowPitch), tops = SharedMemory.Allocate<Float4>(ColumnParts * Pitch);
        int i = RowOf(Group.IdxX), j = ColumnOf(Group.IdxX), size = x.HeadSize;

        // Later queries have more keys, so they start first.
        int block = x.Blocks - 1 - Grid.IdxX % x.Blocks, head = Grid.IdxX / x.Blocks % x.Heads, batch = Grid.IdxX / x.Blocks / x.Heads;
        var tile = new GpuAttentionTile { Batch = batch };
        int q0 = block * Tile;
        tile.OfQueries(x, head, q0);
        LoadTransposed(queries, x.Query, tile.Query, x.QueryStride, tile.QueryCount, size, x.Scale);
        GpuHalfTile output = default;
        Float4Pair largest = Float4Pair.Splat(float.NegativeInfinity), total = default;

        // At least once: queries without keys get results too.
        int end = GpuAttentionKernels.EndKey(x, form.Value, batch, q0 + tile.QueryCount - 1), k0 = GpuAttentionKernels.FirstTile(x, form.Value, batch, q0);
        do
        {
            tile.OfKeys(x, head / (x.Heads / x.KeyHeads), k0);
            LoadTransposed(keys, x.Key, tile.Key, x.KeyStride, tile.KeyCount, size, 1);
            Group.Barrier();
            GpuHalfTile scores = default;
            Product(ref scores, queries, i, keys, Pitch, j, size);
            if ((form.Value & GpuAttentionKernels.Caps) != 0)
                scores.Cap(x.SoftCap);
            Bias(x, form.Value, tile, i, j, ref scores);
            if (tile.NeedsMask(x, form.Value))
                Mask(x, form.Value, tile, i, j, float.NegativeInfinity, ref scores);
            StoreRows(tops, j * Pitch + i, scores.Largest());
            Group.Barrier();

            // The maximum of a query without keys so far is not finite.
            Float4Pair top = largest;
            for (int part = 0; part < ColumnParts; part++)
                top = Float4Pair.Max(top, Rows(tops, part * Pitch + i));
            Float4Pair shift = top.Finite(), factors = Float4Pair.Exp(largest - shift);
            largest = top;
            Exponentials(ref scores, shift);
            total = total * factors + scores.Sums();
            output.Scale(factors);
            if ((form.Value & GpuAttentionKernels.Drops) != 0)
                Drop(x, tile, i, j, ref scores);
            StoreTransposed(keys, i, j, scores);
            for (int half = 0; half < 2; half++)
            {
                LoadRows(values, x.Value, tile.Key + (long)half * Half * x.KeyStride, x.KeyStride, tile.KeyCount - half * Half, Half, size);
                Group.Barrier();
                Product(ref output, keys.SubView(half * Half * Pitch), i, values, RowPitch, j, Half);
                Group.Barrier();
            }

            k0 += Tile;
        }
        while (k0 < end);

        StoreRows(tops, j * Pitch + i, total);
        Group.Barrier();
        total = default;
        for (int part = 0; part < ColumnParts; part++)
            total += Rows(tops, part * Pitch + i);
        output.Scale(new Float4Pair(
            GpuAttentionKernels.Inverse(total.A), GpuAttentionKernels.Inverse(total.B), GpuAttentionKernels.Inverse(total.C), GpuAttentionKernels.Inverse(total.D),
            GpuAttentionKernels.Inverse(total.E), GpuAttentionKernels.Inverse(total.F), GpuAttentionKernels.Inverse(total.G), GpuAttentionKernels.Inverse(total.H)));
        Store(x.Output, tile.Output, x.OutputStride, tile.QueryCount, size, i, j, output);
        if (j == 0 && x.KeepsLogSumExp != 0)
        {
            KeepSum(x, tile, 4 * i, largest.A, total.A);
            KeepSum(x, tile, 4 * i + 1, largest.B, total.B);
            KeepSum(x, tile, 4 * i + 2, largest.C, total.C);
            KeepSum(x, tile, 4 * i + 3, largest.D, total.D);
            KeepSum(x, tile, 4 * i + Half, largest.E, total.E);
            KeepSum(x, tile, 4 * i + Half + 1, largest.F, total.F);
            KeepSum(x, tile, 4 * i + Half + 2, largest.G, total.G);
            KeepSum(x, tile, 4 * i + Half + 3, largest.H, total.H);
        }
    }

    /// <summary>The gradients of keys and values: one group for each block of keys, key head and sequence.</summary>
    public static void BackwardOfKeys(GpuAttentionArguments x, SpecializedValue<int> form)
    {
        ArrayView<Float4> strips = SharedMemory.Allocate<Float4>(Tile * Pitch), factors = SharedMemory.Allocate<Float4>(Tile * Pitch);
        int i = RowOf(Group.IdxX), j = ColumnOf(Group.IdxX), size = x.HeadSize;
        int block = Grid.IdxX % x.Blocks, head = Grid.IdxX / x.Blocks % x.KeyHeads, shared = x.Heads / x.KeyHeads, k0 = block * Tile;
        var tile = new GpuAttentionTile { Batch = Grid.IdxX / x.Blocks / x.KeyHeads };
        tile.OfKeys(x, head, k0);
        GpuHalfTile keyGradient = default, valueGradient = default;

        // The blocks of queries that attend to a key of the block.
        int first = GpuAttentionKernels.FirstBlock(x, form.Value, tile.Batch, k0), end = GpuAttentionKernels.EndBlock(x, form.Value, tile.Batch, first, k0 + tile.KeyCount);
        for (int h = head * shared; h < (head + 1) * shared; h++)
        {
            for (int q0 = first; q0 < end; q0 += Tile)
            {
                tile.OfQueries(x, h, q0);
                GpuHalfTile derivatives = default, weights = Weights(x, form.Value, tile, i, j, strips, ref derivatives), applied = weights;
                if ((form.Value & GpuAttentionKernels.Drops) != 0)
                    Drop(x, tile, i, j, ref applied);
                StoreTile(factors, i, j, applied);
                LoadRows(strips, x.OutputGradient, tile.Output, x.OutputStride, tile.QueryCount, Tile, size);
                Group.Barrier();
                Product(ref valueGradient, factors, i, strips, RowPitch, j, Tile);
                Group.Barrier();
                GpuHalfTile gradients = OutputDots(x, tile, i, j, strips);

                // Without dropout the weights are read back from shared memory, which saves registers.
                if ((form.Value & GpuAttentionKernels.Drops) == 0)
                    weights = LoadTile(factors, i, j);
                ScoreGradient(x, form.Value, tile, i, j, weights, derivatives, ref gradients);
                StoreTile(factors, i, j, gradients);
                LoadRows(strips, x.Query, tile.Query, x.QueryStride, tile.QueryCount, Tile, size);
                Group.Barrier();
                Product(ref keyGradient, factors, i, strips, RowPitch, j, Tile);
                Group.Barrier();
            }
        }

        keyGradient.Scale(Float4Pair.Splat(x.Scale));
        Store(x.KeyGradient, tile.Key, x.KeyStride, tile.KeyCount, size, i, j, keyGradient);
        Store(x.ValueGradient, tile.Key, x.KeyStride, tile.KeyCount, size, i, j, valueGradient);
    }

    /// <summary>The gradient of the queries: one group for each block of queries, head and sequence.</summary>
    public static void BackwardOfQueries(GpuAttentionArguments x, SpecializedValue<int> form)
    {
        ArrayView<Float4> strips = SharedMemory.Allocate<Float4>(Tile * Pitch), factors = SharedMemory.Allocate<Float4>(Tile * Pitch);
        int i = RowOf(Group.IdxX), j = ColumnOf(Group.IdxX), size = x.HeadSize;
        int block = x.Blocks - 1 - Grid.IdxX % x.Blocks, head = Grid.IdxX / x.Blocks % x.Heads, q0 = block * Tile;
        var tile = new GpuAttentionTile { Batch = Grid.IdxX / x.Blocks / x.Heads };
        tile.OfQueries(x, head, q0);
        GpuHalfTile gradient = default;
        int end = GpuAttentionKernels.EndKey(x, form.Value, tile.Batch, q0 + tile.QueryCount - 1);
        for (int k0 = GpuAttentionKernels.FirstTile(x, form.Value, tile.Batch, q0); k0 < end; k0 += Tile)
        {
            tile.OfKeys(x, head / (x.Heads / x.KeyHeads), k0);
            GpuHalfTile derivatives = default, weights = Weights(x, form.Value, tile, i, j, strips, ref derivatives);
            GpuHalfTile gradients = OutputDots(x, tile, i, j, strips);
            ScoreGradient(x, form.Value, tile, i, j, weights, derivatives, ref gradients);
            StoreTransposed(factors, i, j, gradients);
            LoadRows(strips, x.Key, tile.Key, x.KeyStride, tile.KeyCount, Tile, size);
            Group.Barrier();
            Product(ref gradient, factors, i, strips, RowPitch, j, Tile);
            Group.Barrier();
        }

        gradient.Scale(Float4Pair.Splat(x.Scale));
        Store(x.QueryGradient, tile.Query, x.QueryStride, tile.QueryCount, size, i, j, gradient);
    }

    /// <summary>
    /// exp(score + biases - log-sum-exp), 0 where the query does not attend to the key, and the derivatives of the soft cap. Ends with a barrier.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static GpuHalfTile Weights(GpuAttentionArguments x, int form, GpuAttentionTile tile, int i, int j, ArrayView<Float4> strips, ref GpuHalfTile derivatives)
    {
        GpuHalfTile scores = Dots(
            x.Query, tile.Query, x.QueryStride, tile.QueryCount, x.Key, tile.Key, x.KeyStride, tile.KeyCount, x.HeadSize, x.Scale, i, j, strips);
        if ((form & GpuAttentionKernels.Caps) != 0)
        {
            scores.Cap(x.SoftCap);
            derivatives = scores.CapDerivatives(x.SoftCap);
        }

        Bias(x, form, tile, i, j, ref scores);
        Exponentials(ref scores, OfRows(x.LogSumExp, tile, i));
        if (tile.NeedsMask(x, form))
            Mask(x, form, tile, i, j, 0, ref scores);
        return scores;
    }

    /// <summary>dO Vᵀ. Ends with a barrier.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static GpuHalfTile OutputDots(GpuAttentionArguments x, GpuAttentionTile tile, int i, int j, ArrayView<Float4> strips) => Dots(
        x.OutputGradient, tile.Output, x.OutputStride, tile.QueryCount, x.Value, tile.Key, x.KeyStride, tile.KeyCount, x.HeadSize, 1, i, j, strips);

    /// <summary>Replaces dO Vᵀ by the gradient of the scores, weights ∘ (dO Vᵀ - Σ dO·O), with dropout applied to dO Vᵀ.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void ScoreGradient(GpuAttentionArguments x, int form, GpuAttentionTile tile, int i, int j, GpuHalfTile weights, GpuHalfTile derivatives, ref GpuHalfTile gradients)
    {
        if ((form & GpuAttentionKernels.Drops) != 0)
            Drop(x, tile, i, j, ref gradients);
        Float4Pair dots = OfRows(x.Dots, tile, i);
        gradients.A = weights.A * (gradients.A - dots.A);
        gradients.B = weights.B * (gradients.B - dots.B);
        gradients.C = weights.C * (gradients.C - dots.C);
        gradients.D = weights.D * (gradients.D - dots.D);
        gradients.E = weights.E * (gradients.E - dots.E);
        gradients.F = weights.F * (gradients.F - dots.F);
        gradients.G = weights.G * (gradients.G - dots.G);
        gradients.H = weights.H * (gradients.H - dots.H);
        if ((form & GpuAttentionKernels.Caps) != 0)
            gradients.Multiply(derivatives);
        if (tile.NeedsMask(x, form))
            Mask(x, form, tile, i, j, 0, ref gradients);
    }

    /// <summary>A thread's part of left · rightᵀ, in two halves of the head.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static GpuHalfTile Dots(
        ArrayView<float> left, long leftStart, int leftStride, int leftRows, ArrayView<float> right, long rightStart, int rightStride, int rightRows, int size, float scale,
        int i, int j, ArrayView<Float4> strips)
    {
        ArrayView<Float4> second = strips.SubView(Half * Pitch);
        GpuHalfTile sum = default;
        for (int c = 0; c < size; c += Half)
        {
            int depth = IntrinsicMath.Min(Half, size - c);
            LoadTransposed(strips, left, leftStart + c, leftStride, leftRows, depth, scale);
            LoadTransposed(second, right, rightStart + c, rightStride, rightRows, depth, 1);
            Group.Barrier();
            Product(ref sum, strips, i, second, Pitch, j, depth);
            Group.Barrier();
        }

        return sum;
    }

    /// <summary>Adds Σ over <paramref name="depth"/> steps s, a multiple of four, of left[s, rows] · right[s, columns].</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Product(ref GpuHalfTile sum, ArrayView<Float4> left, int i, ArrayView<Float4> right, int rightPitch, int j, int depth)
    {
        for (int s = 0; s < depth; s += 4)
        {
            ArrayView<Float4> a = left.SubView(s * Pitch + i), b = right.SubView(s * rightPitch + j);
            sum.Add(b[0], Float4.Join(a[0], a[Half / 4]));
            sum.Add(b[rightPitch], Float4.Join(a[Pitch], a[Pitch + Half / 4]));
            sum.Add(b[2 * rightPitch], Float4.Join(a[2 * Pitch], a[2 * Pitch + Half / 4]));
            sum.Add(b[3 * rightPitch], Float4.Join(a[3 * Pitch], a[3 * Pitch + Half / 4]));
        }
    }

    /// <summary>One value for each of a thread's rows; 0 for missing rows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4Pair OfRows(ArrayView<float> source, GpuAttentionTile tile, int i) => new(
        OfRow(source, tile, 4 * i), OfRow(source, tile, 4 * i + 1), OfRow(source, tile, 4 * i + 2), OfRow(source, tile, 4 * i + 3),
        OfRow(source, tile, 4 * i + Half), OfRow(source, tile, 4 * i + Half + 1), OfRow(source, tile, 4 * i + Half + 2), OfRow(source, tile, 4 * i + Half + 3));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float OfRow(ArrayView<float> source, GpuAttentionTile tile, int row) => row < tile.QueryCount ? source[tile.Row + row] : 0;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Exponentials(ref GpuHalfTile scores, Float4Pair shift)
    {
        scores.A = Float4.Exp(scores.A - shift.A);
        scores.B = Float4.Exp(scores.B - shift.B);
        scores.C = Float4.Exp(scores.C - shift.C);
        scores.D = Float4.Exp(scores.D - shift.D);
        scores.E = Float4.Exp(scores.E - shift.E);
        scores.F = Float4.Exp(scores.F - shift.F);
        scores.G = Float4.Exp(scores.G - shift.G);
        scores.H = Float4.Exp(scores.H - shift.H);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Drop(GpuAttentionArguments x, GpuAttentionTile tile, int i, int j, ref GpuHalfTile values)
    {
        values.A *= Keep(x, tile, 4 * i, j);
        values.B *= Keep(x, tile, 4 * i + 1, j);
        values.C *= Keep(x, tile, 4 * i + 2, j);
        values.D *= Keep(x, tile, 4 * i + 3, j);
        values.E *= Keep(x, tile, 4 * i + Half, j);
        values.F *= Keep(x, tile, 4 * i + Half + 1, j);
        values.G *= Keep(x, tile, 4 * i + Half + 2, j);
        values.H *= Keep(x, tile, 4 * i + Half + 3, j);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Keep(GpuAttentionArguments x, GpuAttentionTile tile, int row, int j)
    {
        long line = tile.Row + row;
        int key = tile.FirstKey + 4 * j;
        return new Float4(
            GpuAttentionKernels.Keep(x, line, key), GpuAttentionKernels.Keep(x, line, key + 1), GpuAttentionKernels.Keep(x, line, key + 2), GpuAttentionKernels.Keep(x, line, key + 3));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void KeepSum(GpuAttentionArguments x, GpuAttentionTile tile, int row, float largest, float sum)
    {
        if (row < tile.QueryCount)
            x.LogSumExp[tile.Row + row] = GpuAttentionKernels.LogSumExp(largest, sum);
    }
}
