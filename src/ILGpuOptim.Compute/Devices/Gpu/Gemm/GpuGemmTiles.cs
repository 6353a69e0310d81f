using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// Matrix products on GPUs. A group computes a tile of C. Strips of A and B, eight steps of k deep, pass through shared memory: one
/// is read while the next is loaded into registers, with one barrier per strip. A thread has 8 × 8 results in four
/// blocks of 4 × 4, half a tile apart, and a warp covers 4 × 8 threads. A step of k is four 16-byte reads for 64 multiply-adds, without bank
/// conflicts; half a warp reads the same address at once. Global memory is accessed 16 bytes at a time where addresses and lengths allow it.
/// </summary>
internal static class GpuGemmTiles
{
    /// <summary>Steps of k in a strip.</summary>
    public const int Depth = 8;

    /// <summary>Specialization constants beside <see cref="GpuGemmKernels.Formats"/>: A, B or C can be accessed as 16-byte vectors; k is split; k is not a multiple of four.</summary>
    public const ulong VectorsA = 1UL << 58, VectorsB = 1UL << 59, VectorsC = 1UL << 60, Splits = 1UL << 61, Ragged = 1UL << 62;

    /// <summary>The threads of a group.</summary>
    public static int Threads<S>() where S : IGpuGemmShape => S.Rows * S.Columns / 64;

    public static void Run<R, S>(GpuGemmArguments x, R epilogue, SpecializedValue<ulong> formats)
        where R : unmanaged, IMap6
        where S : struct, IGpuGemmShape
    {
        ArrayView<Float4> strips = S.Strips();
        int pitchA = PitchOf(S.Rows), pitchB = PitchOf(S.Columns), sizeA = Depth * pitchA, sizeB = Depth * pitchB;
        var group = new GpuGemmGroup(x, S.Rows, S.Columns);
        int batch = group.Batch, part = group.Part, top = group.Top, left = group.Left, begin = group.Begin, end = group.End;
        var a = new GpuGemmOperand(x.A, batch * x.BatchStrideA, (formats.Value & 1) != 0, (DType)(formats.Value >> 2 & 7), (formats.Value & VectorsA) != 0, (formats.Value & Ragged) != 0, top, x.M, x.K, end, x.StrideA);
        var b = new GpuGemmOperand(x.B, batch * x.BatchStrideB, (formats.Value & 2) == 0, GpuGemmKernels.TypeOfB(formats.Value), (formats.Value & VectorsB) != 0, (formats.Value & Ragged) != 0, left, x.N, x.K, end, x.StrideB);
        int threads = S.Rows * S.Columns / 64, thread = Group.IdxX, second = thread + threads;
        bool twoA = S.Columns == 64, twoB = S.Rows == 64;
        int i = RowOf(thread, S.Columns), j = ColumnOf(thread, S.Columns);

        // A thread loads one or two vectors of each strip; the number is a constant of the kernel.
        long placeA0 = a.VectorOf(thread, S.Rows, begin), placeB0 = b.VectorOf(thread, S.Columns, begin), stepA = a.Step, stepB = b.Step;
        long placeA1 = twoA ? a.VectorOf(second, S.Rows, begin) : 0, placeB1 = twoB ? b.VectorOf(second, S.Columns, begin) : 0;
        Float4 a0 = a.Load(thread, S.Rows, begin, placeA0), a1 = default, b0 = b.Load(thread, S.Columns, begin, placeB0), b1 = default;
        if (twoA)
            a1 = a.Load(second, S.Rows, begin, placeA1);
        if (twoB)
            b1 = b.Load(second, S.Columns, begin, placeB1);
        ArrayView<float> words = strips.Cast<float>();
        a.Store(words, 0, 4 * pitchA, thread, S.Rows, begin, a0);
        b.Store(words, 8 * sizeA, 4 * pitchB, thread, S.Columns, begin, b0);
        if (twoA)
            a.Store(words, 0, 4 * pitchA, second, S.Rows, begin, a1);
        if (twoB)
            b.Store(words, 8 * sizeA, 4 * pitchB, second, S.Columns, begin, b1);
        Group.Barrier();

        GpuTile sum = default;
        int current = 0;
        for (int depth = begin; depth < end; depth += Depth)
        {
            int next = depth + Depth;
            if (next < end)
            {
                placeA0 += stepA;
                placeB0 += stepB;
                a0 = a.Load(thread, S.Rows, next, placeA0);
                b0 = b.Load(thread, S.Columns, next, placeB0);
                if (twoA)
                {
                    placeA1 += stepA;
                    a1 = a.Load(second, S.Rows, next, placeA1);
                }

                if (twoB)
                {
                    placeB1 += stepB;
                    b1 = b.Load(second, S.Columns, next, placeB1);
                }
            }

            // Unrolled here, because neither compiler unrolls it: reads of later steps overlap with the products of this one.
            ArrayView<Float4> lineA = strips.SubView(current * sizeA + i), lineB = strips.SubView(2 * sizeA + current * sizeB + j);
            Step<S>(ref sum, lineA, lineB, 0);
            Step<S>(ref sum, lineA, lineB, 1);
            Step<S>(ref sum, lineA, lineB, 2);
            Step<S>(ref sum, lineA, lineB, 3);
            Step<S>(ref sum, lineA, lineB, 4);
            Step<S>(ref sum, lineA, lineB, 5);
            Step<S>(ref sum, lineA, lineB, 6);
            Step<S>(ref sum, lineA, lineB, 7);

            current = 1 - current;
            if (next < end)
            {
                a.Store(words, current * 4 * sizeA, 4 * pitchA, thread, S.Rows, next, a0);
                b.Store(words, 8 * sizeA + current * 4 * sizeB, 4 * pitchB, thread, S.Columns, next, b0);
                if (twoA)
                    a.Store(words, current * 4 * sizeA, 4 * pitchA, second, S.Rows, next, a1);
                if (twoB)
                    b.Store(words, 8 * sizeA + current * 4 * sizeB, 4 * pitchB, second, S.Columns, next, b1);
            }

            Group.Barrier();
        }

        int row = top + i * 4, column = left + j * 4, half = S.Columns / 2;
        StoreRow(x, epilogue, formats.Value, batch, part, row, column, half, sum.A);
        StoreRow(x, epilogue, formats.Value, batch, part, row + 1, column, half, sum.B);
        StoreRow(x, epilogue, formats.Value, batch, part, row + 2, column, half, sum.C);
        StoreRow(x, epilogue, formats.Value, batch, part, row + 3, column, half, sum.D);
        row += S.Rows / 2;
        StoreRow(x, epilogue, formats.Value, batch, part, row, column, half, sum.E);
        StoreRow(x, epilogue, formats.Value, batch, part, row + 1, column, half, sum.F);
        StoreRow(x, epilogue, formats.Value, batch, part, row + 2, column, half, sum.G);
        StoreRow(x, epilogue, formats.Value, batch, part, row + 3, column, half, sum.H);
    }

    /// <summary>Adds the products of step <paramref name="k"/> of a strip.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Step<S>(ref GpuTile sum, ArrayView<Float4> a, ArrayView<Float4> b, int k) where S : struct, IGpuGemmShape =>
        sum.Add(
            Float4.Join(b[k * PitchOf(S.Columns)], b[k * PitchOf(S.Columns) + S.Columns / 8]),
            Float4.Join(a[k * PitchOf(S.Rows)], a[k * PitchOf(S.Rows) + S.Rows / 8]));

    /// <summary>Vectors from one step of k to the next in a strip, padded by one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int PitchOf(int rows) => rows / 4 + 1;

    /// <summary>The first row block of a thread, in units of four rows; the second is half a tile below.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int RowOf(int thread, int columns) => (thread >> 5 >> (columns / 64 - 1)) * 4 + (thread >> 4 & 1) * 2 + (thread & 1);

    /// <summary>The first column block of a thread, in units of four columns; the second is half a tile to the right.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int ColumnOf(int thread, int columns) => (thread >> 5 & (columns / 64 - 1)) * 8 + (thread >> 1 & 7);

    /// <summary>Adds the parts of k in order and stores the elements of C, one per thread.</summary>
    public static void Finish<R>(GpuGemmArguments x, R epilogue, SpecializedValue<ulong> formats) where R : unmanaged, IMap6
    {
        int across = (x.N + Group.DimX - 1) / Group.DimX;
        int line = Grid.IdxX / across, column = (Grid.IdxX - line * across) * Group.DimX + Group.IdxX;
        int batch = line / x.M, row = line - batch * x.M;
        if (column >= x.N)
            return;
        float product = 0;
        for (int part = 0; part < x.Parts; part++)
            product += x.Partials[((long)(batch * x.Parts + part) * x.M + row) * x.N + column];
        GpuGemmKernels.Store(x, epilogue, formats.Value, batch, row, column, product);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRow<R>(GpuGemmArguments x, R epilogue, ulong formats, int batch, int part, int row, int column, int half, Float4Pair line)
        where R : unmanaged, IMap6
    {
        if (row >= x.M)
            return;
        StoreVector(x, epilogue, formats, batch, part, row, column, new Float4(line.A, line.B, line.C, line.D));
        StoreVector(x, epilogue, formats, batch, part, row, column + half, new Float4(line.E, line.F, line.G, line.H));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void StoreVector<R>(GpuGemmArguments x, R epilogue, ulong formats, int batch, int part, int row, int column, Float4 products)
        where R : unmanaged, IMap6
    {
        if ((formats & Splits) != 0)
        {
            StorePart(x, batch, part, row, column, products.A);
            StorePart(x, batch, part, row, column + 1, products.B);
            StorePart(x, batch, part, row, column + 2, products.C);
            StorePart(x, batch, part, row, column + 3, products.D);
        }
        else if ((formats & VectorsC) != 0)
        {
            if (column < x.N)
                GpuGemmKernels.StoreFour(x, epilogue, formats, batch, row, column, products);
        }
        else
        {
            GpuGemmKernels.Store(x, epilogue, formats, batch, row, column, products.A);
            GpuGemmKernels.Store(x, epilogue, formats, batch, row, column + 1, products.B);
            GpuGemmKernels.Store(x, epilogue, formats, batch, row, column + 2, products.C);
            GpuGemmKernels.Store(x, epilogue, formats, batch, row, column + 3, products.D);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void StorePart(GpuGemmArguments x, int batch, int part, int row, int column, float product)
    {
        if (column < x.N)
            x.Partials[((long)(batch * x.Parts + part) * x.M + row) * x.N + column] = product;
    }
}

/// <summary>The part of a product that a group computes.</summary>
internal readonly struct GpuGemmGroup
{
    /// <summary>Rows of tiles that run together, so that their part of B stays in the cache.</summary>
    private const int Band = 8;

    /// <summary>The matrix of the batch and the part of k.</summary>
    public readonly int Batch, Part;

    /// <summary>The first row and column of the tile.</summary>
    public readonly int Top, Left;

    /// <summary>The first step of k, and the end.</summary>
    public readonly int Begin, End;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public GpuGemmGroup(GpuGemmArguments x, int rows, int columns)
    {
        int tiles = x.TilesM * x.TilesN, slice = Grid.IdxX / tiles, tile = Grid.IdxX - slice * tiles;
        Batch = slice / x.Parts;
        Part = slice - Batch * x.Parts;
        int band = tile / (Band * x.TilesN), inBand = tile - band * Band * x.TilesN, bandRows = IntrinsicMath.Min(Band, x.TilesM - band * Band);
        Top = (band * Band + inBand % bandRows) * rows;
        Left = inBand / bandRows * columns;
        Begin = Part * x.PartLength;
        End = IntrinsicMath.Min(Begin + x.PartLength, x.K);
    }
}

/// <summary>One factor of a product in the view outer × k, restricted to the rows of a group's tile.</summary>
internal readonly struct GpuGemmOperand
{
    private readonly ArrayView<byte> data;
    private readonly long start;
    private readonly bool alongOuter, vectors, ragged;
    private readonly DType type;
    private readonly int first, outerSize, depth, end, stride;

    /// <param name="data">The stored factor.</param>
    /// <param name="start">The first element.</param>
    /// <param name="alongOuter">True if adjacent elements in memory differ in outer, not in k.</param>
    /// <param name="type">The storage type.</param>
    /// <param name="vectors">True if four adjacent elements can be loaded as one 16-byte vector; the last may reach outside.</param>
    /// <param name="ragged">True if k is not a multiple of four.</param>
    /// <param name="first">The tile's first row.</param>
    /// <param name="outerSize">Rows of the factor.</param>
    /// <param name="depth">Steps of k.</param>
    /// <param name="end">The end of the group's part of k.</param>
    /// <param name="stride">Elements from one stored row to the next.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public GpuGemmOperand(ArrayView<byte> data, long start, bool alongOuter, DType type, bool vectors, bool ragged, int first, int outerSize, int depth, int end, int stride)
    {
        this.data = data;
        this.start = start;
        this.alongOuter = alongOuter;
        this.type = type;
        this.vectors = vectors;
        this.ragged = ragged && vectors && !alongOuter;
        this.first = first;
        this.outerSize = outerSize;
        this.depth = depth;
        this.end = end;
        this.stride = stride;
    }

    /// <summary>The increment of <see cref="VectorOf"/> from one strip to the next.</summary>
    public long Step
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => alongOuter ? (long)stride * (GpuGemmTiles.Depth / 4) : GpuGemmTiles.Depth / 4;
    }

    /// <summary>The index in memory, in vectors, of vector <paramref name="index"/> of the strip that starts at step <paramref name="from"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public long VectorOf(int index, int rows, int from)
    {
        int outer = first + OuterOf(index, rows, alongOuter), k = from + StepOf(index, rows, alongOuter);
        return (start + (alongOuter ? (long)k * stride + outer : (long)outer * stride + k)) >> 2;
    }

    /// <summary>Loads vector <paramref name="index"/> of the strip that starts at step <paramref name="from"/>; zeros outside.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Float4 Load(int index, int rows, int from, long place)
    {
        int outer = first + OuterOf(index, rows, alongOuter), k = from + StepOf(index, rows, alongOuter);
        if (vectors)
        {
            if (outer >= outerSize || k >= end)
                return default;
            return data.Cast<Float4>()[place];
        }

        int stepOuter = alongOuter ? 1 : 0, stepK = 1 - stepOuter;
        return new Float4(Read(outer, k), Read(outer + stepOuter, k + stepK), Read(outer + 2 * stepOuter, k + 2 * stepK), Read(outer + 3 * stepOuter, k + 3 * stepK));
    }

    /// <summary>Stores a vector in the strip at word <paramref name="strip"/>, whose steps of k are <paramref name="pitch"/> words apart.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Store(ArrayView<float> words, int strip, int pitch, int index, int rows, int from, Float4 four)
    {
        // Masked here and not after the load, which would wait for it.
        if (ragged)
            four = four.Before(end - from - StepOf(index, rows, alongOuter), 0);
        ArrayView<float> place = words.SubView(strip + StepOf(index, rows, alongOuter) * pitch + OuterOf(index, rows, alongOuter));
        if (alongOuter)
        {
            place.Cast<Float4>()[0] = four;
        }
        else
        {
            place[0] = four.A;
            place[pitch] = four.B;
            place[2 * pitch] = four.C;
            place[3 * pitch] = four.D;
        }
    }

    /// <summary>The first row of vector <paramref name="index"/> of a strip. Adjacent threads take adjacent vectors in memory.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int OuterOf(int index, int rows, bool alongOuter) => alongOuter ? (index & (rows / 4 - 1)) * 4 : index / (GpuGemmTiles.Depth / 4);

    /// <summary>The first step of k of that vector.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int StepOf(int index, int rows, bool alongOuter) => alongOuter ? index / (rows / 4) : (index & (GpuGemmTiles.Depth / 4 - 1)) * 4;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private float Read(int outer, int k) => k < end ? GpuGemmKernels.Read(data, type, start, alongOuter, outer, k, outerSize, depth, stride) : 0;
}
