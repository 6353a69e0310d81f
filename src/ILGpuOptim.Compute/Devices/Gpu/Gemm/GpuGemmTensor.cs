using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>The type of the factors that tensor cores multiply.</summary>
internal interface IGpuFactor
{
    /// <summary>Bytes of an element in memory.</summary>
    static abstract int Bytes { get; }

    /// <summary>sum + a · b, where a has 16 rows, b has 8 columns, and both have 32 bytes of k.</summary>
    static abstract Float4 Multiply(Float4 sum, Words4 a, uint b0, uint b1);

    /// <summary>The nearest factors to stored elements.</summary>
    static abstract Words4 Rounded(Words4 words);

    /// <summary>Rounds 16 × 16 sums to factors and makes them a left factor.</summary>
    static abstract GpuTensorLeft Left(GpuTensorSquare sums);
}

/// <summary>bf16: products are exact, sums are f32.</summary>
internal readonly struct GpuBf16Factor : IGpuFactor
{
    public static int Bytes => 2;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Multiply(Float4 sum, Words4 a, uint b0, uint b1) => GpuTensorCores.MultiplyBf16(sum, a, b0, b1);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Words4 Rounded(Words4 words) => words;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static GpuTensorLeft Left(GpuTensorSquare sums) => new()
    {
        A = new Words4(
            GpuTensorCores.RoundToBf16(sums.A.A, sums.A.B), GpuTensorCores.RoundToBf16(sums.A.C, sums.A.D),
            GpuTensorCores.RoundToBf16(sums.B.A, sums.B.B), GpuTensorCores.RoundToBf16(sums.B.C, sums.B.D)),
    };
}

/// <summary>tf32, the nearest to each f32: 8 exponent bits, 10 fraction bits. Sums are f32.</summary>
internal readonly struct GpuTf32Factor : IGpuFactor
{
    public static int Bytes => 4;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Float4 Multiply(Float4 sum, Words4 a, uint b0, uint b1) => GpuTensorCores.MultiplyTf32(sum, a, b0, b1);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static Words4 Rounded(Words4 words) =>
        new(GpuTensorCores.RoundToTf32(words.A), GpuTensorCores.RoundToTf32(words.B), GpuTensorCores.RoundToTf32(words.C), GpuTensorCores.RoundToTf32(words.D));

    /// <inheritdoc/>
    /// <remarks>A lane's sums of columns 2t and 2t + 1 take the places of columns t and t + 4.</remarks>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static GpuTensorLeft Left(GpuTensorSquare sums) => new() { A = Left(sums.A), B = Left(sums.B) };

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Words4 Left(Float4 sums) =>
        Rounded(new Words4(Interop.FloatAsInt(sums.A), Interop.FloatAsInt(sums.C), Interop.FloatAsInt(sums.B), Interop.FloatAsInt(sums.D)));
}

/// <summary>
/// Matrix products on tensor cores. A group computes a tile of C with a warp for each 64 × 32 of it, or 64 × 64 in the largest tile: a warp then reads a third less
/// shared memory for a product. Strips of A and B, 64 bytes of k deep, are copied
/// asynchronously to shared memory; while one is multiplied, the next two are under way, with one barrier per strip. Both factors are stored in the type
/// that is multiplied, and their rows start at multiples of 16 bytes (<see cref="GpuGemmPacking"/> sees to it). Sizes are arbitrary: what is outside is copied as zeros.
/// </summary>
internal static class GpuGemmTensor
{
    /// <summary>Bytes of k in a strip, and strips in shared memory.</summary>
    public const int StripBytes = 64, Stages = 3;

    /// <summary>The rows of C of a warp.</summary>
    private const int WarpRows = 64;

    /// <summary>The columns of C of a warp.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int WarpColumns(int rows, int columns) => rows == 128 && columns == 128 ? 64 : 32;

    /// <summary>The threads of a group.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Threads(int rows, int columns) => 32 * (rows / WarpRows) * (columns / WarpColumns(rows, columns));

    [TensorCores]
    public static void Run<R, S, P>(GpuGemmArguments x, R epilogue, SpecializedValue<ulong> formats)
        where R : unmanaged, IMap6
        where S : struct, IGpuGemmShape
        where P : struct, IGpuFactor
    {
        int depth = StripBytes / P.Bytes, stripA = S.Rows * StripBytes, stage = stripA + S.Columns * StripBytes;
        var group = new GpuGemmGroup(x, S.Rows, S.Columns);
        int shared = GpuTensorCores.SharedAddress(ref S.Stages()[0]), warp = Group.IdxX >> 5;
        int warpColumns = WarpColumns(S.Rows, S.Columns), threads = Threads(S.Rows, S.Columns), warpRow = warp / (S.Columns / warpColumns) * WarpRows, warpColumn = warp % (S.Columns / warpColumns) * warpColumns;
        var a = new GpuTensorOperand(x.A, group.Batch * x.BatchStrideA, P.Bytes, false, (formats.Value & 1) != 0, S.Rows, threads, shared, warpRow, group.Top, x.M, group.Begin, group.End, x.StrideA);
        var b = new GpuTensorOperand(x.B, group.Batch * x.BatchStrideB, P.Bytes, true, (formats.Value & 2) == 0, S.Columns, threads, shared + stripA, warpColumn, group.Left, x.N, group.Begin, group.End, x.StrideB);

        for (int ahead = 0; ahead < Stages - 1; ahead++)
        {
            if (group.Begin + ahead * depth < group.End)
            {
                a.Copy(ahead, group.Begin + ahead * depth, ahead * stage);
                b.Copy(ahead, group.Begin + ahead * depth, ahead * stage);
            }

            GpuTensorCores.Commit();
        }

        GpuTensorTile left = default, right = default;
        int current = 0, free = (Stages - 1) * stage, strip = Stages - 1;
        for (int k = group.Begin; k < group.End; k += depth)
        {
            // The strip that comes next takes the place of the one that all warps have multiplied before this barrier.
            GpuTensorCores.Wait(Stages - 2);
            Group.Barrier();
            int next = k + (Stages - 1) * depth;
            if (next < group.End)
            {
                a.Copy(strip, next, free);
                b.Copy(strip, next, free);
            }

            GpuTensorCores.Commit();
            Step<P>(ref left, ref right, a, b, current, 0, warpColumns);
            Step<P>(ref left, ref right, a, b, current, 1, warpColumns);
            strip++;
            current = current + stage == Stages * stage ? 0 : current + stage;
            free = free + stage == Stages * stage ? 0 : free + stage;
        }

        int lane = Group.IdxX & 31, row = group.Top + warpRow + (lane >> 2) + (lane & 1) * 8, column = group.Left + warpColumn + (lane & 2) * 2;
        Store(x, epilogue, formats.Value, group, row, column, left);
        if (warpColumns == 64)
            Store(x, epilogue, formats.Value, group, row, column + 32, right);
    }

    /// <summary>Adds the products of one half of a strip.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Step<P>(ref GpuTensorTile left, ref GpuTensorTile right, GpuTensorOperand a, GpuTensorOperand b, int strip, int half, int columns) where P : struct, IGpuFactor
    {
        Words4 first = b.Load(strip, half, 0), second = b.Load(strip, half, 1), third = default, fourth = default;
        if (columns == 64)
        {
            third = b.Load(strip, half, 2);
            fourth = b.Load(strip, half, 3);
        }

        Add<P>(ref left.A, ref right.A, a.Load(strip, half, 0), first, second, third, fourth, columns);
        Add<P>(ref left.B, ref right.B, a.Load(strip, half, 1), first, second, third, fourth, columns);
        Add<P>(ref left.C, ref right.C, a.Load(strip, half, 2), first, second, third, fourth, columns);
        Add<P>(ref left.D, ref right.D, a.Load(strip, half, 3), first, second, third, fourth, columns);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Add<P>(ref GpuTensorRow left, ref GpuTensorRow right, Words4 a, Words4 first, Words4 second, Words4 third, Words4 fourth, int columns) where P : struct, IGpuFactor
    {
        left.Add<P>(a, first, second);
        if (columns == 64)
            right.Add<P>(a, third, fourth);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<R>(GpuGemmArguments x, R epilogue, ulong formats, GpuGemmGroup group, int row, int column, GpuTensorTile sums) where R : unmanaged, IMap6
    {
        Store(x, epilogue, formats, group, row, column, sums.A);
        Store(x, epilogue, formats, group, row + 16, column, sums.B);
        Store(x, epilogue, formats, group, row + 32, column, sums.C);
        Store(x, epilogue, formats, group, row + 48, column, sums.D);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store<R>(GpuGemmArguments x, R epilogue, ulong formats, GpuGemmGroup group, int row, int column, GpuTensorRow sums) where R : unmanaged, IMap6
    {
        // Pairs of lanes exchange sums, so that each has four adjacent columns.
        Float4 first = Exchange(sums.A), second = Exchange(sums.B), third = Exchange(sums.C), fourth = Exchange(sums.D);
        if (row >= x.M)
            return;
        GpuGemmTiles.StoreVector(x, epilogue, formats, group.Batch, group.Part, row, column, first);
        GpuGemmTiles.StoreVector(x, epilogue, formats, group.Batch, group.Part, row, column + 8, second);
        GpuGemmTiles.StoreVector(x, epilogue, formats, group.Batch, group.Part, row, column + 16, third);
        GpuGemmTiles.StoreVector(x, epilogue, formats, group.Batch, group.Part, row, column + 24, fourth);
    }

    /// <summary>From two columns of rows g and g + 8 to four columns of row g (even lanes) or g + 8 (odd lanes).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Float4 Exchange(Float4 sums)
    {
        bool odd = (Group.IdxX & 1) != 0;
        float first = Warp.ShuffleXor(odd ? sums.A : sums.C, 1), second = Warp.ShuffleXor(odd ? sums.B : sums.D, 1);
        return new Float4(odd ? first : sums.A, odd ? second : sums.B, odd ? sums.C : first, odd ? sums.D : second);
    }
}

/// <summary>The sums of 64 × 32 in one lane: rows 0, 16, 32 and 48.</summary>
internal struct GpuTensorTile
{
    public GpuTensorRow A, B, C, D;
}

/// <summary>The sums of 16 × 32 in one lane: columns 0, 8, 16 and 24.</summary>
internal struct GpuTensorRow
{
    public Float4 A, B, C, D;

    /// <summary>Adds the products of 16 rows of A and 32 columns of B.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add<P>(Words4 a, Words4 left, Words4 right) where P : struct, IGpuFactor
    {
        A = P.Multiply(A, a, left.A, left.B);
        B = P.Multiply(B, a, left.C, left.D);
        C = P.Multiply(C, a, right.A, right.B);
        D = P.Multiply(D, a, right.C, right.D);
    }
}

/// <summary>
/// One factor of a product on tensor cores, in the view outer × k: copying a thread's part of a strip to shared memory, and loading a lane's fragments.
/// <para>
/// If adjacent elements in memory differ in k, a row of a strip is 64 bytes of one outer index: four units of 16 bytes, unit u of row r at place u ^ (r / 2 mod 4). If they differ in
/// outer, a row is one step of k of the tile's outer indices: unit u of row r lies at u ^ (r mod 8) for bf16, u ^ 2 (r mod 4) for tf32. Then no access of a warp has a bank conflict.
/// </para>
/// </summary>
internal readonly struct GpuTensorOperand
{
    private readonly bool alongOuter, isRight;
    private readonly int bytes, rows, threads, target, source, firstOuter, firstStep, outerSize, end;
    private readonly long address, copyStep, stripStep;

    /// <param name="data">The stored factor.</param>
    /// <param name="start">Its first element.</param>
    /// <param name="bytes">Bytes of an element.</param>
    /// <param name="isRight">True for B.</param>
    /// <param name="alongOuter">True if adjacent elements in memory differ in outer, not in k.</param>
    /// <param name="rows">Outer indices of the tile.</param>
    /// <param name="threads">Threads of a group.</param>
    /// <param name="shared">The address of the first strip in shared memory.</param>
    /// <param name="warpFirst">The first outer index of the warp in the tile.</param>
    /// <param name="first">The tile's first outer index.</param>
    /// <param name="outerSize">Outer indices of the factor.</param>
    /// <param name="begin">The start of the group's part of k.</param>
    /// <param name="end">Its end.</param>
    /// <param name="stride">Elements from one stored row to the next.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public GpuTensorOperand(ArrayView<byte> data, long start, int bytes, bool isRight, bool alongOuter, int rows, int threads, int shared, int warpFirst, int first, int outerSize, int begin, int end, int stride)
    {
        this.alongOuter = alongOuter;
        this.isRight = isRight;
        this.bytes = bytes;
        this.rows = rows;
        this.threads = threads;
        this.outerSize = outerSize;
        this.end = end;
        int row = RowOf(Group.IdxX, bytes, alongOuter, rows), unit = UnitOf(Group.IdxX, bytes, alongOuter, rows);
        target = shared + PlaceOf(row, unit, bytes, alongOuter, rows);
        firstOuter = first + (alongOuter ? unit * (16 / bytes) : row);
        firstStep = alongOuter ? row : unit * (16 / bytes);
        int k = begin + firstStep;
        address = GpuTensorCores.GlobalAddress(ref data[0]) + (start + (alongOuter ? (long)k * stride + firstOuter : (long)firstOuter * stride + k)) * bytes;
        copyStep = (long)stride * bytes * RowsOfCopy(bytes, alongOuter, rows, threads);
        stripStep = alongOuter ? (long)stride * GpuGemmTensor.StripBytes : GpuGemmTensor.StripBytes;
        source = shared + LaneOf(Group.IdxX & 31, bytes, isRight, alongOuter, rows, warpFirst);
    }

    /// <summary>Starts to copy this thread's part of a strip, the one that starts at step <paramref name="from"/>, to the stage at byte <paramref name="stage"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Copy(int strip, int from, int stage)
    {
        long place = address + strip * stripStep;
        CopyUnit(place, from, stage, 0);
        CopyUnit(place, from, stage, 1);
        if (rows * GpuGemmTensor.StripBytes / 16 == 2 * threads)
            return;
        CopyUnit(place, from, stage, 2);
        CopyUnit(place, from, stage, 3);
    }

    /// <summary>
    /// Loads the fragments of 16 outer indices for one half of a strip: of A the four words of one fragment, of B two words each of two. tf32 is rounded here.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public Words4 Load(int stage, int half, int index)
    {
        int pitch = rows * bytes;
        if (!alongOuter)
            return Rounded(GpuTensorCores.LoadMatrices((source ^ half * 32) + stage + index * 16 * GpuGemmTensor.StripBytes));
        if (bytes == 2)
            return GpuTensorCores.LoadTransposed((source ^ index * 32) + stage + half * 16 * pitch);
        int low = stage + (index >> 1) * 128 + half * 8 * pitch, high = low + 4 * pitch, here = source ^ (index & 1) * 64, there = here ^ 32;
        uint a = GpuTensorCores.LoadShared(here + low), b = GpuTensorCores.LoadShared(there + low), c = GpuTensorCores.LoadShared(here + high), d = GpuTensorCores.LoadShared(there + high);
        return Rounded(isRight ? new Words4(a, c, b, d) : new Words4(a, b, c, d));
    }

    /// <summary>The stored row of a thread's first unit.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int RowOf(int thread, int bytes, bool alongOuter, int rows) => thread / UnitsOfRow(bytes, alongOuter, rows);

    /// <summary>The 16-byte unit of that row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int UnitOf(int thread, int bytes, bool alongOuter, int rows) => thread % UnitsOfRow(bytes, alongOuter, rows);

    /// <summary>Rows between two units that a thread copies.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int RowsOfCopy(int bytes, bool alongOuter, int rows, int threads) => threads / UnitsOfRow(bytes, alongOuter, rows);

    /// <summary>The byte of a unit in the strip. A unit that lies <see cref="RowsOfCopy"/> rows further is 16 · threads bytes further.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int PlaceOf(int row, int unit, int bytes, bool alongOuter, int rows) =>
        alongOuter ? row * rows * bytes + (unit ^ (bytes == 2 ? row & 7 : (row & 3) * 2)) * 16 : row * GpuGemmTensor.StripBytes + (unit ^ row >> 1 & 3) * 16;

    /// <summary>The byte that a lane reads first in a strip.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int LaneOf(int lane, int bytes, bool isRight, bool alongOuter, int rows, int warpFirst)
    {
        // Matrices of ldmatrix: A has its four in the order outer, k; B in the order k, outer.
        int line = lane & 7, one = lane >> 3 & 1, other = lane >> 4, outerHalf = isRight ? other : one, depthHalf = isRight ? one : other;
        if (!alongOuter)
            return PlaceOf(warpFirst + outerHalf * 8 + line, depthHalf, bytes, false, rows);
        if (bytes == 2)
            return PlaceOf(depthHalf * 8 + line, warpFirst / 8 + outerHalf, bytes, true, rows);
        return PlaceOf(lane & 3, warpFirst / 4 + (lane >> 4), bytes, true, rows) + (lane >> 2 & 3) * 4;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int UnitsOfRow(int bytes, bool alongOuter, int rows) => alongOuter ? rows * bytes / 16 : GpuGemmTensor.StripBytes / 16;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void CopyUnit(long place, int from, int stage, int index)
    {
        int further = index * RowsOfCopy(bytes, alongOuter, rows, threads), outer = firstOuter + (alongOuter ? 0 : further), k = from + firstStep + (alongOuter ? further : 0);
        int inside = alongOuter ? k < end ? outerSize - outer : 0 : outer < outerSize ? end - k : 0;
        GpuTensorCores.CopyAsync(target + stage + index * 16 * threads, place + index * copyStep, IntrinsicMath.Clamp(inside * bytes, 0, 16));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private Words4 Rounded(Words4 words) => bytes == 2 ? words
        : new Words4(GpuTensorCores.RoundToTf32(words.A), GpuTensorCores.RoundToTf32(words.B), GpuTensorCores.RoundToTf32(words.C), GpuTensorCores.RoundToTf32(words.D));
}
