using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

// Which elements of a tile a thread has, and copies between global and shared memory.
internal static partial class GpuAttentionTiles
{
    /// <summary>The row block of a thread: four rows, and the four rows half a tile below.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int RowOf(int thread) => (thread >> 6) * 4 + (thread >> 4 & 1) * 2 + (thread & 1);

    /// <summary>The four columns of a thread.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int ColumnOf(int thread) => (thread >> 5 & 1) * 8 + (thread >> 1 & 7);

    /// <summary>The row of the <paramref name="index"/>-th vector that <see cref="LoadTransposed"/> copies. A warp takes two adjacent vectors of 16 rows: it reads whole sectors and writes 32 banks.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int RowOfLoad(int index) => (index & 15) + (index >> 5 & 3) * 16;

    /// <summary>The vector within that row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static int VectorOfLoad(int index) => (index >> 4 & 1) + (index >> 7) * 2;

    /// <summary>
    /// Copies a strip, the first 16 or 32 of <paramref name="columns"/> elements of 64 rows, into shared memory, transposed. Missing rows become zeros, and so does what
    /// is missing to four columns.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadTransposed(ArrayView<Float4> target, int form, ArrayView<byte> source, long start, int stride, int rows, int columns, float scale)
    {
        ArrayView<float> words = target.Cast<float>();
        int row = RowOfLoad(Group.IdxX), own = row < rows ? columns : 0, c = 4 * VectorOfLoad(Group.IdxX);
        long place = start + (long)row * stride;

        // Two loads before the first store, so that the second is in flight while the first is stored.
        Float4 a = Read(source, form, place + c, own - c), b = Read(source, form, place + c + 8, own - c - 8);
        if (c < columns)
            StoreColumn(words, c, row, a * scale);
        if (c + 8 < columns)
            StoreColumn(words, c + 8, row, b * scale);
        if (DepthOf(form) == 16)
            return;
        a = Read(source, form, place + c + 16, own - c - 16);
        b = Read(source, form, place + c + 24, own - c - 24);
        if (c + 16 < columns)
            StoreColumn(words, c + 16, row, a * scale);
        if (c + 24 < columns)
            StoreColumn(words, c + 24, row, b * scale);
    }

    /// <summary>Four adjacent elements, of which <paramref name="count"/> exist; the others are zeros.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Read(ArrayView<byte> source, int form, long place, int count)
    {
        Float4 result = default;
        if ((form & Words) != 0)
        {
            if (count > 0)
                result.A = Read(source, form, place);
            if (count > 1)
                result.B = Read(source, form, place + 1);
            if (count > 2)
                result.C = Read(source, form, place + 2);
            if (count > 3)
                result.D = Read(source, form, place + 3);
        }
        else if (count > 0 && (form & Narrow) != 0)
        {
            Bf16x4 four = source.Cast<Bf16x4>()[place >> 2];
            result = new Float4(Interop.IntAsFloat(four.Low << 16), Interop.IntAsFloat(four.Low & 0xFFFF0000), Interop.IntAsFloat(four.High << 16), Interop.IntAsFloat(four.High & 0xFFFF0000));
        }
        else if (count > 0)
        {
            result = source.Cast<Float4>()[place >> 2];
        }

        return result;
    }

    /// <summary>One element.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Read(ArrayView<byte> source, int form, long place) =>
        (form & Narrow) != 0 ? Interop.IntAsFloat((uint)source.Cast<ushort>()[place] << 16) : source.Cast<float>()[place];

    /// <summary>Stores four adjacent elements, of which <paramref name="count"/> exist.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Write(ArrayView<byte> target, int form, long place, int count, Float4 values)
    {
        if ((form & Words) != 0)
        {
            if (count > 0)
                Write(target, form, place, values.A);
            if (count > 1)
                Write(target, form, place + 1, values.B);
            if (count > 2)
                Write(target, form, place + 2, values.C);
            if (count > 3)
                Write(target, form, place + 3, values.D);
        }
        else if (count > 0 && (form & Narrow) != 0)
        {
            target.Cast<Bf16x4>()[place >> 2] = new Bf16x4(Bf16.Narrow(values.A) | (uint)Bf16.Narrow(values.B) << 16, Bf16.Narrow(values.C) | (uint)Bf16.Narrow(values.D) << 16);
        }
        else if (count > 0)
        {
            target.Cast<Float4>()[place >> 2] = values;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Write(ArrayView<byte> target, int form, long place, float value)
    {
        if ((form & Narrow) != 0)
            target.Cast<ushort>()[place] = Bf16.Narrow(value);
        else
            target.Cast<float>()[place] = value;
    }

    /// <summary>Four bf16 elements, which a GPU loads and stores at once.</summary>
    private struct Bf16x4(uint low, uint high)
    {
        public uint Low = low, High = high;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreColumn(ArrayView<float> words, int column, int row, Float4 four)
    {
        ArrayView<float> place = words.SubView(column * 4 * Pitch + row);
        place[0] = four.A;
        place[4 * Pitch] = four.B;
        place[8 * Pitch] = four.C;
        place[12 * Pitch] = four.D;
    }

    /// <summary>Copies 64 columns of 32 or 64 rows into shared memory. Missing elements become zeros.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadRows(ArrayView<Float4> target, int form, ArrayView<byte> source, long start, int stride, int rows, int height, int columns)
    {
        const int Step = Threads / RowPitch;
        int row = Group.IdxX / RowPitch, four = Group.IdxX & (RowPitch - 1), own = columns - 4 * four;
        long place = start + (long)row * stride + 4 * four;
        for (int r = row; r < height; r += 4 * Step)
        {
            Float4 a = Read(source, form, place, r < rows ? own : 0), b = Read(source, form, place + (long)stride * Step, r + Step < rows ? own : 0);
            Float4 c = Read(source, form, place + (long)stride * (2 * Step), r + 2 * Step < rows ? own : 0);
            Float4 d = Read(source, form, place + (long)stride * (3 * Step), r + 3 * Step < rows ? own : 0);
            ArrayView<Float4> line = target.SubView(r * RowPitch + four);
            line[0] = a;
            line[Step * RowPitch] = b;
            line[2 * Step * RowPitch] = c;
            line[3 * Step * RowPitch] = d;
            place += (long)stride * (4 * Step);
        }
    }

    /// <summary>Stores a thread's elements of a tile.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreTile(ArrayView<Float4> target, int i, int j, GpuHalfTile values)
    {
        ArrayView<Float4> place = target.SubView(4 * i * Pitch + j);
        place[0] = values.A;
        place[Pitch] = values.B;
        place[2 * Pitch] = values.C;
        place[3 * Pitch] = values.D;
        place[Half * Pitch] = values.E;
        place[(Half + 1) * Pitch] = values.F;
        place[(Half + 2) * Pitch] = values.G;
        place[(Half + 3) * Pitch] = values.H;
    }

    /// <summary>Stores a thread's elements of the transposed tile.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreTransposed(ArrayView<Float4> target, int i, int j, GpuHalfTile values)
    {
        StoreRows(target, 4 * j * Pitch + i, new Float4Pair(values.A.A, values.B.A, values.C.A, values.D.A, values.E.A, values.F.A, values.G.A, values.H.A));
        StoreRows(target, (4 * j + 1) * Pitch + i, new Float4Pair(values.A.B, values.B.B, values.C.B, values.D.B, values.E.B, values.F.B, values.G.B, values.H.B));
        StoreRows(target, (4 * j + 2) * Pitch + i, new Float4Pair(values.A.C, values.B.C, values.C.C, values.D.C, values.E.C, values.F.C, values.G.C, values.H.C));
        StoreRows(target, (4 * j + 3) * Pitch + i, new Float4Pair(values.A.D, values.B.D, values.C.D, values.D.D, values.E.D, values.F.D, values.G.D, values.H.D));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRows(ArrayView<Float4> target, int place, Float4Pair rows)
    {
        target[place] = new Float4(rows.A, rows.B, rows.C, rows.D);
        target[place + Half / 4] = new Float4(rows.E, rows.F, rows.G, rows.H);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4Pair Rows(ArrayView<Float4> source, int place) => Float4.Join(source[place], source[place + Half / 4]);

    /// <summary>Stores a thread's elements of the result.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(ArrayView<byte> target, int form, long start, int stride, int rows, int columns, int i, int j, GpuAttentionResult values)
    {
        Store(target, form, start, stride, rows, columns, i, j, values.A);
        if (TilesOf(form) > 1)
            Store(target, form, start + Tile, stride, rows, columns - Tile, i, j, values.B);
        if (TilesOf(form) > 2)
            Store(target, form, start + 2 * Tile, stride, rows, columns - 2 * Tile, i, j, values.C);
        if (TilesOf(form) > 3)
            Store(target, form, start + 3 * Tile, stride, rows, columns - 3 * Tile, i, j, values.D);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(ArrayView<byte> target, int form, long start, int stride, int rows, int columns, int i, int j, GpuHalfTile values)
    {
        int count = columns - 4 * j;
        StoreRow(target, form, start + 4 * j, stride, rows, count, 4 * i, values.A);
        StoreRow(target, form, start + 4 * j, stride, rows, count, 4 * i + 1, values.B);
        StoreRow(target, form, start + 4 * j, stride, rows, count, 4 * i + 2, values.C);
        StoreRow(target, form, start + 4 * j, stride, rows, count, 4 * i + 3, values.D);
        StoreRow(target, form, start + 4 * j, stride, rows, count, 4 * i + Half, values.E);
        StoreRow(target, form, start + 4 * j, stride, rows, count, 4 * i + Half + 1, values.F);
        StoreRow(target, form, start + 4 * j, stride, rows, count, 4 * i + Half + 2, values.G);
        StoreRow(target, form, start + 4 * j, stride, rows, count, 4 * i + Half + 3, values.H);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRow(ArrayView<byte> target, int form, long start, int stride, int rows, int count, int row, Float4 values)
    {
        if (row < rows)
            Write(target, form, start + (long)row * stride, count, values);
    }
}
