using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// Products of few rows, as in decoding: the time is that of reading B once. Threads load 16 adjacent bytes of B each, in its storage type, and multiply in f32. k is split over
/// groups until all multiprocessors are busy. A group computes up to four rows of C; groups of the same columns run next to each other, so that B comes from the cache after the first.
/// </summary>
internal static class GpuGemmRows
{
    /// <summary>Threads of a group, and rows of C that it computes.</summary>
    public const int Threads = 256, Rows = 4;

    /// <summary>The most rows of a product for which these kernels are used.</summary>
    public const int MostRows = 8;

    /// <summary>The length of a part of k is a multiple of this.</summary>
    public const int PartUnit = 64;

    /// <summary>Specialization constants beside <see cref="GpuGemmKernels.Formats"/>: C has at least two or three rows.</summary>
    public const ulong TwoRows = 1UL << 48, FourRows = 1UL << 49;

    /// <summary>Columns of B (or rows, if it is transposed) that a group reads together in <see cref="Dots"/>: each is read by 32 threads, four at a time.</summary>
    public const int Columns = 32;

    /// <summary>Steps of k that a group reads together in <see cref="Sums"/>, each by 32 threads.</summary>
    private const int Steps = 8;

    private const int Lanes = 32;

    /// <summary>Elements of B in 16 bytes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int UnitOf(DType type) => type == DType.I8 ? 16 : type == DType.BF16 ? 8 : 4;

    /// <summary>Columns of C of a group.</summary>
    public static int ColumnsOf(bool transposeB, DType type) => transposeB ? Columns : Lanes * UnitOf(type);

    /// <summary>True if B can be read in units of 16 bytes: its rows start at multiples of them, and if k is not the adjacent axis, they also end there.</summary>
    public static bool HasUnits(in Block b, bool transposeB, int n, int stride, int batch, long batchStride)
    {
        int unit = UnitOf(b.Type);
        return GpuOperand.IsAligned(b) && stride % unit == 0 && (batch == 1 || batchStride % unit == 0) && (transposeB || n % unit == 0);
    }

    /// <summary>Adjacent elements of B differ in k. 32 threads read four columns of C, one unit along k after the other; single elements if B has no units.</summary>
    public static void Dots<R>(GpuGemmArguments x, R epilogue, SpecializedValue<ulong> formats) where R : unmanaged, IMap6
    {
        ArrayView<Float4> shared = SharedMemory.Allocate<Float4>(Threads);
        ulong format = formats.Value;
        var type = GpuGemmKernels.TypeOfB(format);
        var group = new GpuRowGroup(x, Columns);
        int lane = Group.IdxX % Lanes, team = Group.IdxX / Lanes, unit = UnitOf(type), column = group.Left + team * 4, last = x.N - 1;
        var b = new GpuRowOperand(x.B, group.Batch * x.BatchStrideB, type, x.StrideB, x.N);
        int whole = (format & GpuGemmTiles.VectorsB) == 0 ? group.Begin : group.Begin + (group.End - group.Begin) / unit * unit;
        int row0 = IntrinsicMath.Min(column, last), row1 = IntrinsicMath.Min(column + 1, last), row2 = IntrinsicMath.Min(column + 2, last), row3 = IntrinsicMath.Min(column + 3, last);

        Float4 a = default, c = default, d = default, e = default;
        for (int k = group.Begin + lane * unit; k < whole; k += Lanes * unit)
        {
            var units = new GpuUnits(b.Load(row0, k), b.Load(row1, k), b.Load(row2, k), b.Load(row3, k), b.Scale(row0, k), b.Scale(row1, k), b.Scale(row2, k), b.Scale(row3, k));
            Add(x, format, group, b, ref a, ref c, ref d, ref e, k, units, 0);
            if (unit > 4)
                Add(x, format, group, b, ref a, ref c, ref d, ref e, k, units, 1);
            if (unit > 8)
            {
                Add(x, format, group, b, ref a, ref c, ref d, ref e, k, units, 2);
                Add(x, format, group, b, ref a, ref c, ref d, ref e, k, units, 3);
            }
        }

        // With units, the last elements, fewer than one.
        for (int rest = whole + lane; rest < group.End; rest += Lanes)
        {
            var p = new Float4(b.Read(row0, rest), b.Read(row1, rest), b.Read(row2, rest), b.Read(row3, rest));
            a = a.Plus(p, ReadA(x, format, group, 0, rest));
            c = c.Plus(p, ReadA(x, format, group, 1, rest));
            d = d.Plus(p, ReadA(x, format, group, 2, rest));
            e = e.Plus(p, ReadA(x, format, group, 3, rest));
        }

        FinishDots(x, epilogue, format, group, shared, 0, column, a);
        if ((format & (TwoRows | FourRows)) != 0)
            FinishDots(x, epilogue, format, group, shared, 1, column, c);
        if ((format & FourRows) == 0)
            return;
        FinishDots(x, epilogue, format, group, shared, 2, column, d);
        FinishDots(x, epilogue, format, group, shared, 3, column, e);
    }

    /// <summary>Adjacent elements of B differ in the column. A thread has a unit of columns and every eighth step of k.</summary>
    public static void Sums<R>(GpuGemmArguments x, R epilogue, SpecializedValue<ulong> formats) where R : unmanaged, IMap6
    {
        ArrayView<Float4> shared = SharedMemory.Allocate<Float4>(Threads);
        ulong format = formats.Value;
        var type = GpuGemmKernels.TypeOfB(format);
        int unit = UnitOf(type);
        var group = new GpuRowGroup(x, Lanes * unit);
        int column = group.Left + Group.IdxX % Lanes * unit, step = Group.IdxX / Lanes;
        var b = new GpuRowOperand(x.B, group.Batch * x.BatchStrideB, type, x.StrideB, x.K);
        GpuUnitSums a = default, c = default, d = default, e = default;
        if (column < x.N)
        {
            int k = group.Begin + step;
            for (; k + 3 * Steps < group.End; k += 4 * Steps)
            {
                Float4 first = b.Load(k, column), second = b.Load(k + Steps, column), third = b.Load(k + 2 * Steps, column), fourth = b.Load(k + 3 * Steps, column);
                Add(x, format, group, b, ref a, ref c, ref d, ref e, k, column, first);
                Add(x, format, group, b, ref a, ref c, ref d, ref e, k + Steps, column, second);
                Add(x, format, group, b, ref a, ref c, ref d, ref e, k + 2 * Steps, column, third);
                Add(x, format, group, b, ref a, ref c, ref d, ref e, k + 3 * Steps, column, fourth);
            }

            for (; k < group.End; k += Steps)
                Add(x, format, group, b, ref a, ref c, ref d, ref e, k, column, b.Load(k, column));
        }

        FinishSums(x, epilogue, format, group, shared, 0, unit, a);
        if ((format & (TwoRows | FourRows)) != 0)
            FinishSums(x, epilogue, format, group, shared, 1, unit, c);
        if ((format & FourRows) == 0)
            return;
        FinishSums(x, epilogue, format, group, shared, 2, unit, d);
        FinishSums(x, epilogue, format, group, shared, 3, unit, e);
    }

    /// <summary>Adds the products of four steps of k and four columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add(GpuGemmArguments x, ulong format, GpuRowGroup group, GpuRowOperand b, ref Float4 first, ref Float4 second, ref Float4 third, ref Float4 fourth, int k, GpuUnits units, int quad)
    {
        Float4 p = b.Quad(units.A, quad, units.ScaleA), q = b.Quad(units.B, quad, units.ScaleB), r = b.Quad(units.C, quad, units.ScaleC), s = b.Quad(units.D, quad, units.ScaleD);
        first = Dot(first, LoadA(x, format, group, 0, k + quad * 4), p, q, r, s);
        if ((format & (TwoRows | FourRows)) != 0)
            second = Dot(second, LoadA(x, format, group, 1, k + quad * 4), p, q, r, s);
        if ((format & FourRows) == 0)
            return;
        third = Dot(third, LoadA(x, format, group, 2, k + quad * 4), p, q, r, s);
        fourth = Dot(fourth, LoadA(x, format, group, 3, k + quad * 4), p, q, r, s);
    }

    /// <summary>Adds the products of a step of k and a unit of columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add(GpuGemmArguments x, ulong format, GpuRowGroup group, GpuRowOperand b, ref GpuUnitSums first, ref GpuUnitSums second, ref GpuUnitSums third, ref GpuUnitSums fourth, int k, int column, Float4 unit)
    {
        float scale = b.Scale(k, column);
        first.Add(b, unit, ReadA(x, format, group, 0, k) * scale);
        if ((format & (TwoRows | FourRows)) != 0)
            second.Add(b, unit, ReadA(x, format, group, 1, k) * scale);
        if ((format & FourRows) == 0)
            return;
        third.Add(b, unit, ReadA(x, format, group, 2, k) * scale);
        fourth.Add(b, unit, ReadA(x, format, group, 3, k) * scale);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Dot(Float4 sums, Float4 a, Float4 p, Float4 q, Float4 r, Float4 s) => new(Dot(sums.A, a, p), Dot(sums.B, a, q), Dot(sums.C, a, r), Dot(sums.D, a, s));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Dot(float sum, Float4 a, Float4 b) =>
        MathF.FusedMultiplyAdd(a.D, b.D, MathF.FusedMultiplyAdd(a.C, b.C, MathF.FusedMultiplyAdd(a.B, b.B, MathF.FusedMultiplyAdd(a.A, b.A, sum))));

    /// <summary>Four elements of a row of A; zeros for a row outside. The steps are inside.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 LoadA(GpuGemmArguments x, ulong format, GpuRowGroup group, int row, int k)
    {
        if ((format & GpuGemmTiles.VectorsA) == 0)
            return new Float4(ReadA(x, format, group, row, k), ReadA(x, format, group, row, k + 1), ReadA(x, format, group, row, k + 2), ReadA(x, format, group, row, k + 3));
        return group.Top + row < x.M ? x.A.Cast<Float4>()[(group.Batch * x.BatchStrideA + (long)(group.Top + row) * x.StrideA + k) >> 2] : default;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float ReadA(GpuGemmArguments x, ulong format, GpuRowGroup group, int row, int k) =>
        GpuGemmKernels.Read(x.A, (DType)(format >> 2 & 7), group.Batch * x.BatchStrideA, (format & 1) != 0, group.Top + row, k, x.M, x.K, x.StrideA);

    /// <summary>Adds the sums of 32 threads, and stores four columns of a row of C for each of the eight.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void FinishDots<R>(GpuGemmArguments x, R epilogue, ulong format, GpuRowGroup group, ArrayView<Float4> shared, int row, int column, Float4 sums) where R : unmanaged, IMap6
    {
        shared[Group.IdxX] = sums;
        Group.Barrier();
        if (Group.IdxX < Columns)
        {
            // Each team begins with another thread's sum, in another bank.
            ArrayView<float> words = shared.Cast<float>();
            int team = Group.IdxX / 4;
            float sum = 0;
            for (int i = 0; i < Lanes; i++)
                sum += words[(team * Lanes + (i + team) % Lanes) * 4 + Group.IdxX % 4];
            Store(x, epilogue, format, group, row, group.Left + Group.IdxX, sum);
        }

        Group.Barrier();
    }

    /// <summary>Adds the sums of the eight threads that have the same columns, and stores a row of C.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void FinishSums<R>(GpuGemmArguments x, R epilogue, ulong format, GpuRowGroup group, ArrayView<Float4> shared, int row, int unit, GpuUnitSums sums) where R : unmanaged, IMap6
    {
        FinishQuad(x, epilogue, format, group, shared, row, unit, 0, sums.A);
        if (unit > 4)
            FinishQuad(x, epilogue, format, group, shared, row, unit, 1, sums.B);
        if (unit <= 8)
            return;
        FinishQuad(x, epilogue, format, group, shared, row, unit, 2, sums.C);
        FinishQuad(x, epilogue, format, group, shared, row, unit, 3, sums.D);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void FinishQuad<R>(GpuGemmArguments x, R epilogue, ulong format, GpuRowGroup group, ArrayView<Float4> shared, int row, int unit, int quad, Float4 sums) where R : unmanaged, IMap6
    {
        shared[Group.IdxX] = sums;
        Group.Barrier();
        if (Group.IdxX < Lanes * 4)
        {
            ArrayView<float> words = shared.Cast<float>();
            float sum = 0;
            for (int i = 0; i < Steps; i++)
                sum += words[i * Lanes * 4 + Group.IdxX];
            Store(x, epilogue, format, group, row, group.Left + Group.IdxX / 4 * unit + quad * 4 + Group.IdxX % 4, sum);
        }

        Group.Barrier();
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<R>(GpuGemmArguments x, R epilogue, ulong format, GpuRowGroup group, int row, int column, float sum) where R : unmanaged, IMap6
    {
        if (group.Top + row >= x.M)
            return;
        if ((format & GpuGemmTiles.Splits) != 0)
            GpuGemmTiles.StorePart(x, group.Batch, group.Part, group.Top + row, column, sum);
        else
            GpuGemmKernels.Store(x, epilogue, format, group.Batch, group.Top + row, column, sum);
    }
}

/// <summary>The part of a product of few rows that a group computes.</summary>
internal readonly struct GpuRowGroup
{
    public readonly int Batch, Part, Top, Left, Begin, End;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public GpuRowGroup(GpuGemmArguments x, int columns)
    {
        int inSlice = x.TilesM * x.TilesN, slice = Grid.IdxX / inSlice, tile = Grid.IdxX - slice * inSlice;
        Batch = slice / x.Parts;
        Part = slice - Batch * x.Parts;
        Top = tile % x.TilesM * GpuGemmRows.Rows;
        Left = tile / x.TilesM * columns;
        Begin = Part * x.PartLength;
        End = IntrinsicMath.Min(Begin + x.PartLength, x.K);
    }
}

/// <summary>B as it is stored, read in units of 16 bytes along its rows.</summary>
internal readonly struct GpuRowOperand
{
    private readonly ArrayView<byte> data;
    private readonly long start, scales;
    private readonly DType type;
    private readonly int stride, lines, scalesOfLine;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public GpuRowOperand(ArrayView<byte> data, long start, DType type, int stride, int lines)
    {
        this.data = data;
        this.start = start;
        this.type = type;
        this.stride = stride;
        this.lines = lines;
        scalesOfLine = (stride + DTypes.QuantizedBlock - 1) / DTypes.QuantizedBlock;
        scales = ((long)lines * stride + 3) / 4;
    }

    /// <summary>The 16 bytes that begin with an element.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Float4 Load(int line, int place) => data.Cast<Float4>()[(start + (long)line * stride + place) / GpuGemmRows.UnitOf(type)];

    /// <summary>The scale of a unit.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public float Scale(int line, int place) => type == DType.I8 ? data.Cast<float>()[scales + (long)line * scalesOfLine + place / DTypes.QuantizedBlock] : 1;

    /// <summary>Four elements of a unit. Only bytes have a scale.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Float4 Quad(Float4 unit, int quad, float scale) => type == DType.I8 ? Quad(unit, quad) * scale : Quad(unit, quad);

    /// <summary>Four elements of a unit, without their scale.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Float4 Quad(Float4 unit, int quad)
    {
        if (type == DType.BF16)
        {
            uint low = Interop.FloatAsInt(quad == 0 ? unit.A : unit.C), high = Interop.FloatAsInt(quad == 0 ? unit.B : unit.D);
            return new Float4(Interop.IntAsFloat(low << 16), Interop.IntAsFloat(low & 0xFFFF0000), Interop.IntAsFloat(high << 16), Interop.IntAsFloat(high & 0xFFFF0000));
        }

        if (type == DType.I8)
        {
            int bytes = (int)Interop.FloatAsInt(quad == 0 ? unit.A : quad == 1 ? unit.B : quad == 2 ? unit.C : unit.D);
            return new Float4(bytes << 24 >> 24, bytes << 16 >> 24, bytes << 8 >> 24, bytes >> 24);
        }

        return unit;
    }

    /// <summary>One element.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public float Read(int line, int place) => GpuGemmKernels.Read(data, type, start, false, line, place, lines, stride, stride);

    /// <summary>Quads of a unit.</summary>
    public int Quads
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => GpuGemmRows.UnitOf(type) / 4;
    }
}

/// <summary>Units of four rows of B, with their scales.</summary>
internal readonly struct GpuUnits(Float4 a, Float4 b, Float4 c, Float4 d, float scaleA, float scaleB, float scaleC, float scaleD)
{
    public readonly Float4 A = a, B = b, C = c, D = d;
    public readonly float ScaleA = scaleA, ScaleB = scaleB, ScaleC = scaleC, ScaleD = scaleD;
}

/// <summary>The sums of up to sixteen columns.</summary>
internal struct GpuUnitSums
{
    public Float4 A, B, C, D;

    /// <summary>Adds a unit of B times a factor.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add(GpuRowOperand b, Float4 unit, float factor)
    {
        A = A.Plus(b.Quad(unit, 0), factor);
        if (b.Quads > 1)
            B = B.Plus(b.Quad(unit, 1), factor);
        if (b.Quads <= 2)
            return;
        C = C.Plus(b.Quad(unit, 2), factor);
        D = D.Plus(b.Quad(unit, 3), factor);
    }
}
