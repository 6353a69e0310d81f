using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>
/// The small products of attention. Scores are transposed, keys × queries, so that maxima and sums over keys are taken between
/// vectors and never within one. Scratch is padded to whole register tiles of <see cref="Rows"/> rows.
/// </summary>
internal static unsafe class CpuAttentionTile<L> where L : struct, IVectorLane<L>
{
    /// <summary>Queries, and keys, of a block; also the distance from one row of scores to the next.</summary>
    public const int Block = 64;

    /// <summary>Rows of a register tile: eight rows of two vectors keep the multipliers of AVX-512 busy and divide a block.</summary>
    public const int Rows = 8;

    /// <summary>Adjacent queries that share one interval of keys until single weights are masked.</summary>
    public static int Columns => Math.Max(Rows, L.Count);

    /// <summary>The elements of a row, rounded up to whole vectors.</summary>
    public static int Padded(int size) => (size + L.Count - 1) / L.Count * L.Count;

    /// <summary>Queries rounded up to whole <see cref="Columns"/>.</summary>
    public static int PaddedColumns(int queries) => (queries + Columns - 1) / Columns * Columns;

    /// <summary>Keys rounded up to whole <see cref="Rows"/>.</summary>
    public static int PaddedRows(int keys) => (keys + Rows - 1) / Rows * Rows;

    /// <summary>
    /// scores[key, query] = keys · queries, where the pair is unmasked for some adjacent query. Keys are rows of <paramref name="width"/>, queries columns
    /// of <see cref="Block"/>.
    /// </summary>
    public static void Scores(float* keys, int width, float* queriesAcross, float* scores, int size, in CpuAttentionIntervals seen)
    {
        int begin = 0, end = 0;
        for (int key = 0; key < seen.Keys; key += Rows)
        {
            begin = seen.FirstQuery(begin, key);
            end = seen.EndQuery(end, key + Rows);
            int first = begin / Columns * Columns;
            if (begin < end)
                Multiply(keys + key * width, width, 1, queriesAcross + first, Block, size, scores + key * Block + first, Block, PaddedColumns(end) - first, false);
        }
    }

    /// <summary>target[query] += Σ weights[key, query] · keys[key] over the keys of the query.</summary>
    public static void SumOverKeys(float* weights, float* keys, float* target, int width, in CpuAttentionIntervals seen, bool add)
    {
        for (int query = 0; query < seen.Queries; query += Rows)
        {
            int begin = seen.FirstKey(query), depth = Math.Max(seen.EndKey(query + Rows - 1) - begin, 0);
            Multiply(weights + begin * Block + query, 1, Block, keys + begin * width, width, depth, target + query * width, width, width, add);
        }
    }

    /// <summary>target[key] += Σ over the queries that see it of weights[key, query] · queries[query].</summary>
    public static void SumOverQueries(float* weights, float* queries, float* target, int width, in CpuAttentionIntervals seen)
    {
        int begin = 0, end = 0;
        for (int key = 0; key < seen.Keys; key += Rows)
        {
            begin = seen.FirstQuery(begin, key);
            end = seen.EndQuery(end, key + Rows);
            if (begin < end)
                Multiply(weights + key * Block + begin, Block, 1, queries + begin * width, width, end - begin, target + key * width, width, width, true);
        }
    }

    /// <summary>Copies rows into scratch, times a factor, each padded with zeros to whole vectors; rows up to a whole register tile are zero.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Load(AttentionRows from, int rows, int size, float factor, float* target, int width)
    {
        L factors = L.Splat(factor);
        float* source = from.Floats;
        ushort* halves = from.Halves;
        nint stride = from.Stride;
        for (int row = 0; row < rows; row++, source += stride, halves += stride, target += width)
        {
            if (from.IsNarrow)
            {
                // Widened where they are multiplied.
                Bf16.Widen(new ReadOnlySpan<ushort>(halves, size), new Span<float>(target, size));
                source = target;
            }

            int i = 0;
            for (; i <= size - L.Count; i += L.Count)
                L.Store(L.Load(source + i) * factors, target + i);
            for (; i < size; i++)
                target[i] = source[i] * factor;
            for (; i < width; i++)
                target[i] = 0;
        }

        new Span<float>(target, (PaddedRows(rows) - rows) * width).Clear();
    }

    /// <summary>Copies rows into scratch as columns: target[i · Block + row]; columns up to whole <see cref="Columns"/> are zero.</summary>
    public static void LoadTransposed(AttentionRows source, int rows, int size, float* target)
    {
        if (source.IsNarrow)
            source.Factor.Pack(target, Block, 0, rows, 0, size, along: false);
        else
            LoadTransposed(source.Floats, source.Stride, rows, size, target);
    }

    private static void LoadTransposed(float* source, nint stride, int rows, int size, float* target)
    {
        CpuTranspose.Run(source, stride, rows, size, target, Block);
        int columns = PaddedColumns(rows);
        for (int i = 0; i < size && rows < columns; i++)
            new Span<float>(target + i * Block + rows, columns - rows).Clear();
    }

    /// <summary>Generates the dropout mask of a tile, keys × queries. Undefined where no adjacent query attends to a key.</summary>
    public static void Mask(in CpuAttentionArguments a, int b, int head, int q0, int k0, in CpuAttentionIntervals seen, float* mask)
    {
        if (!Avx512F.IsSupported || a.KeyLength % 4 != 0)
        {
            MaskByRows(a, b, head, q0, k0, seen, mask);
            return;
        }

        // Four adjacent keys of a query are one counter, and eight queries are computed together, so that the mask needs no transposition.
        ulong step = (ulong)a.KeyLength / 4;
        for (int i = 0; i < seen.Queries; i += 8)
        {
            (int begin, int end) = seen.Rows<L>(i);
            ulong first = ((ulong)a.Row(b, q0 + i, head) * step) + (ulong)(k0 + begin) / 4;
            CpuPhilox.Keep(a.Seed, a.Stream, first, step, (end - begin) / 4, 1 - a.Dropout, mask + begin * Block + i, Block);
        }
    }

    private static void MaskByRows(in CpuAttentionArguments a, int b, int head, int q0, int k0, in CpuAttentionIntervals seen, float* mask)
    {
        float* rows = stackalloc float[Block * Block];
        for (int i = 0; i < seen.Queries; i++)
        {
            float* row = rows + i * Block;
            int first = seen.FirstKey(i), end = Math.Max(seen.EndKey(i), first);
            new Span<float>(row, first).Clear();
            a.Keep(b, head, q0 + i, k0 + first, end - first, row + first);
            new Span<float>(row + end, Block - end).Clear();
        }

        LoadTransposed(rows, Block, seen.Queries, seen.Keys, mask);
    }

    /// <summary>Adds, or stores, a row of scratch to memory, times a factor.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(float* source, int size, float factor, float* target, bool add)
    {
        L factors = L.Splat(factor);
        int i = 0;
        for (; i <= size - L.Count; i += L.Count)
        {
            L value = L.Load(source + i) * factors;
            L.Store(add ? L.Load(target + i) + value : value, target + i);
        }

        for (; i < size; i++)
            target[i] = add ? target[i] + source[i] * factor : source[i] * factor;
    }

    /// <summary>Stores a row of scratch to memory, times a factor.</summary>
    public static void Store(float* source, int size, float factor, AttentionRows target)
    {
        if (target.IsNarrow)
        {
            Store(source, size, factor, source, add: false);
            Bf16.Narrow(new ReadOnlySpan<float>(source, size), new Span<ushort>(target.Halves, size));
        }
        else
        {
            Store(source, size, factor, target.Floats, add: false);
        }
    }

    /// <summary>Adds, or stores, rows of scratch to memory; bf16 is stored only.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Store(float* source, int width, int rows, int size, AttentionRows target, bool add)
    {
        for (int row = 0; row < rows; row++)
        {
            if (target.IsNarrow)
                Bf16.Narrow(new ReadOnlySpan<float>(source + row * width, size), new Span<ushort>(target.Halves + row * target.Stride, size));
            else
                Store(source + row * width, size, 1, target.Floats + row * target.Stride, add);
        }
    }

    /// <summary>Eight rows of a product: c = a · b, or c += a · b. Element (row, k) of a is at a[row · rowStride + k · step].</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Multiply(float* a, nint rowStride, nint step, float* b, nint strideB, int depth, float* c, nint strideC, int columns, bool add)
    {
        int column = 0;
        for (; column <= columns - 2 * L.Count; column += 2 * L.Count)
        {
            if (L.Count == 16)
            {
                Multiply8x2(a, rowStride, step, b + column, strideB, depth, c + column, strideC, add);
            }
            else
            {
                Multiply4x2(a, rowStride, step, b + column, strideB, depth, c + column, strideC, add);
                Multiply4x2(a + 4 * rowStride, rowStride, step, b + column, strideB, depth, c + 4 * strideC + column, strideC, add);
            }
        }

        if (column < columns)
            Multiply8x1(a, rowStride, step, b + column, strideB, depth, c + column, strideC, add);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Multiply8x2(float* a, nint rowStride, nint step, float* b, nint strideB, int depth, float* c, nint strideC, bool add)
    {
        float* a4 = a + 4 * rowStride;
        nint row3 = 3 * rowStride;
        L c00 = default, c01 = default, c10 = default, c11 = default, c20 = default, c21 = default, c30 = default, c31 = default;
        L c40 = default, c41 = default, c50 = default, c51 = default, c60 = default, c61 = default, c70 = default, c71 = default;
        for (; depth > 0; depth--)
        {
            L b0 = L.Load(b), b1 = L.Load(b + L.Count);
            L x = L.Splat(*a);
            c00 = L.Fma(x, b0, c00);
            c01 = L.Fma(x, b1, c01);
            x = L.Splat(a[rowStride]);
            c10 = L.Fma(x, b0, c10);
            c11 = L.Fma(x, b1, c11);
            x = L.Splat(a[rowStride * 2]);
            c20 = L.Fma(x, b0, c20);
            c21 = L.Fma(x, b1, c21);
            x = L.Splat(a[row3]);
            c30 = L.Fma(x, b0, c30);
            c31 = L.Fma(x, b1, c31);
            x = L.Splat(*a4);
            c40 = L.Fma(x, b0, c40);
            c41 = L.Fma(x, b1, c41);
            x = L.Splat(a4[rowStride]);
            c50 = L.Fma(x, b0, c50);
            c51 = L.Fma(x, b1, c51);
            x = L.Splat(a4[rowStride * 2]);
            c60 = L.Fma(x, b0, c60);
            c61 = L.Fma(x, b1, c61);
            x = L.Splat(a4[row3]);
            c70 = L.Fma(x, b0, c70);
            c71 = L.Fma(x, b1, c71);
            a += step;
            a4 += step;
            b += strideB;
        }

        Put(c, c00, c01, add);
        Put(c + strideC, c10, c11, add);
        Put(c + 2 * strideC, c20, c21, add);
        Put(c + 3 * strideC, c30, c31, add);
        c += 4 * strideC;
        Put(c, c40, c41, add);
        Put(c + strideC, c50, c51, add);
        Put(c + 2 * strideC, c60, c61, add);
        Put(c + 3 * strideC, c70, c71, add);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Multiply8x1(float* a, nint rowStride, nint step, float* b, nint strideB, int depth, float* c, nint strideC, bool add)
    {
        float* a4 = a + 4 * rowStride;
        nint row3 = 3 * rowStride;
        L c0 = default, c1 = default, c2 = default, c3 = default, c4 = default, c5 = default, c6 = default, c7 = default;
        for (; depth > 0; depth--)
        {
            L b0 = L.Load(b);
            c0 = L.Fma(L.Splat(*a), b0, c0);
            c1 = L.Fma(L.Splat(a[rowStride]), b0, c1);
            c2 = L.Fma(L.Splat(a[rowStride * 2]), b0, c2);
            c3 = L.Fma(L.Splat(a[row3]), b0, c3);
            c4 = L.Fma(L.Splat(*a4), b0, c4);
            c5 = L.Fma(L.Splat(a4[rowStride]), b0, c5);
            c6 = L.Fma(L.Splat(a4[rowStride * 2]), b0, c6);
            c7 = L.Fma(L.Splat(a4[row3]), b0, c7);
            a += step;
            a4 += step;
            b += strideB;
        }

        Put(c, c0, add);
        Put(c + strideC, c1, add);
        Put(c + 2 * strideC, c2, add);
        Put(c + 3 * strideC, c3, add);
        c += 4 * strideC;
        Put(c, c4, add);
        Put(c + strideC, c5, add);
        Put(c + 2 * strideC, c6, add);
        Put(c + 3 * strideC, c7, add);
    }

    /// <summary>Half of the rows, for processors with 16 vector registers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Multiply4x2(float* a, nint rowStride, nint step, float* b, nint strideB, int depth, float* c, nint strideC, bool add)
    {
        nint row3 = 3 * rowStride;
        L c00 = default, c01 = default, c10 = default, c11 = default, c20 = default, c21 = default, c30 = default, c31 = default;
        for (; depth > 0; depth--)
        {
            L b0 = L.Load(b), b1 = L.Load(b + L.Count);
            L x = L.Splat(*a);
            c00 = L.Fma(x, b0, c00);
            c01 = L.Fma(x, b1, c01);
            x = L.Splat(a[rowStride]);
            c10 = L.Fma(x, b0, c10);
            c11 = L.Fma(x, b1, c11);
            x = L.Splat(a[rowStride * 2]);
            c20 = L.Fma(x, b0, c20);
            c21 = L.Fma(x, b1, c21);
            x = L.Splat(a[row3]);
            c30 = L.Fma(x, b0, c30);
            c31 = L.Fma(x, b1, c31);
            a += step;
            b += strideB;
        }

        Put(c, c00, c01, add);
        Put(c + strideC, c10, c11, add);
        Put(c + 2 * strideC, c20, c21, add);
        Put(c + 3 * strideC, c30, c31, add);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put(float* c, L x, bool add) => L.Store(add ? L.Load(c) + x : x, c);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Put(float* c, L x, L y, bool add)
    {
        Put(c, x, add);
        Put(c + L.Count, y, add);
    }
}
