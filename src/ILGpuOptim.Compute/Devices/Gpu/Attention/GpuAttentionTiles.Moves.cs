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

    /// <summary>Copies the first elements of 64 rows into shared memory, transposed. Missing rows become zeros.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadTransposed(ArrayView<Float4> target, ArrayView<float> source, long start, int stride, int rows, int columns, float scale)
    {
        ArrayView<float> words = target.Cast<float>();
        int row = RowOfLoad(Group.IdxX), four = VectorOfLoad(Group.IdxX);
        long place = (start + (long)row * stride) >> 2;
        for (int c = 4 * four; c < columns; c += 16)
        {
            // Two loads before the first store, so that the second is in flight while the first is stored.
            Float4 a = default, b = default;
            if (row < rows)
            {
                a = source.Cast<Float4>()[place + c / 4];
                if (c + 8 < columns)
                    b = source.Cast<Float4>()[place + c / 4 + 2];
            }

            StoreColumn(words, c, row, a * scale);
            if (c + 8 < columns)
                StoreColumn(words, c + 8, row, b * scale);
        }
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

    /// <summary>Copies 32 or 64 rows into shared memory. Missing elements become zeros.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void LoadRows(ArrayView<Float4> target, ArrayView<float> source, long start, int stride, int rows, int height, int columns)
    {
        int row = Group.IdxX / RowPitch, four = Group.IdxX & (RowPitch - 1);
        long place = ((start + (long)row * stride) >> 2) + four;
        bool inside = 4 * four < columns;
        for (int r = row; r < height; r += 4 * Threads / RowPitch)
        {
            const int Step = Threads / RowPitch;
            Float4 a = default, b = default, c = default, d = default;
            if (inside && r < rows)
                a = source.Cast<Float4>()[place];
            if (inside && r + Step < rows)
                b = source.Cast<Float4>()[place + (long)stride * (Step / 4)];
            if (inside && r + 2 * Step < rows)
                c = source.Cast<Float4>()[place + (long)stride * (2 * Step / 4)];
            if (inside && r + 3 * Step < rows)
                d = source.Cast<Float4>()[place + (long)stride * (3 * Step / 4)];
            ArrayView<Float4> line = target.SubView(r * RowPitch + four);
            line[0] = a;
            line[Step * RowPitch] = b;
            line[2 * Step * RowPitch] = c;
            line[3 * Step * RowPitch] = d;
            place += (long)stride * Step;
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

    /// <summary>Loads what <see cref="StoreTile"/> stored.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static GpuHalfTile LoadTile(ArrayView<Float4> source, int i, int j)
    {
        ArrayView<Float4> place = source.SubView(4 * i * Pitch + j);
        return new GpuHalfTile
        {
            A = place[0],
            B = place[Pitch],
            C = place[2 * Pitch],
            D = place[3 * Pitch],
            E = place[Half * Pitch],
            F = place[(Half + 1) * Pitch],
            G = place[(Half + 2) * Pitch],
            H = place[(Half + 3) * Pitch],
        };
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
    private static void Store(ArrayView<float> target, long start, int stride, int rows, int columns, int i, int j, GpuHalfTile values)
    {
        if (4 * j >= columns)
            return;
        StoreRow(target, start + 4 * j, stride, rows, 4 * i, values.A);
        StoreRow(target, start + 4 * j, stride, rows, 4 * i + 1, values.B);
        StoreRow(target, start + 4 * j, stride, rows, 4 * i + 2, values.C);
        StoreRow(target, start + 4 * j, stride, rows, 4 * i + 3, values.D);
        StoreRow(target, start + 4 * j, stride, rows, 4 * i + Half, values.E);
        StoreRow(target, start + 4 * j, stride, rows, 4 * i + Half + 1, values.F);
        StoreRow(target, start + 4 * j, stride, rows, 4 * i + Half + 2, values.G);
        StoreRow(target, start + 4 * j, stride, rows, 4 * i + Half + 3, values.H);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreRow(ArrayView<float> target, long start, int stride, int rows, int row, Float4 values)
    {
        if (row < rows)
            target.Cast<Float4>()[(start + (long)row * stride) >> 2] = values;
    }
}
