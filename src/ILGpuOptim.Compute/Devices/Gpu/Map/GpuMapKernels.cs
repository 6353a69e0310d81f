using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>Maps: one thread per element; adjacent threads take adjacent elements, so that every access is coalesced.</summary>
internal static class GpuMapKernels
{
    /// <summary>Threads of a group: along a single row; else along columns and rows.</summary>
    public const int FlatWidth = 256, Width = 64, Height = 4;

    /// <summary>Edge of the square tile that a group of <see cref="TileThreads"/> threads sums.</summary>
    public const int Tile = 32, TileThreads = 256;

    /// <summary>A map without sums.</summary>
    public static void Map<R>(GpuArguments x, R rule, SpecializedValue<ulong> formats) where R : unmanaged, IMap6
    {
        long row = 0, column;
        if (GpuFormats.IsFlat(formats.Value))
        {
            column = (long)Grid.IdxX * FlatWidth + Group.IdxX;
        }
        else
        {
            int down = Grid.IdxX / x.Across;
            row = (long)down * Height + Group.IdxY;
            column = (long)(Grid.IdxX - down * x.Across) * Width + Group.IdxX;
        }

        if (row < x.Rows && column < x.Columns)
        {
            F1 a = default, b = default, c = default, d = default, e = default, f = default;
            Element(x, rule, formats.Value, row, column, ref a, ref b, ref c, ref d, ref e, ref f);
        }
    }

    /// <summary>Maps over many small blocks of one buffer: a group finds its block in the table.</summary>
    public static void MapMany<R>(ArrayView<byte> slab, ArrayView<int> entries, ArrayView<int> groups, R rule, SpecializedValue<ulong> formats) where R : unmanaged, IMap6
    {
        int entry = groups[Grid.IdxX] * GpuPendingMaps.EntryLength, length = entries[entry + GpuPendingMaps.Length];
        int column = (Grid.IdxX - entries[entry + GpuPendingMaps.FirstGroup]) * FlatWidth + Group.IdxX;
        if (column >= length)
            return;
        GpuArguments x = default;
        x.A = Entry(slab, entries, entry);
        x.B = Entry(slab, entries, entry + 1);
        x.C = Entry(slab, entries, entry + 2);
        x.D = Entry(slab, entries, entry + 3);
        x.E = Entry(slab, entries, entry + 4);
        x.F = Entry(slab, entries, entry + 5);
        F1 a = default, b = default, c = default, d = default, e = default, f = default;
        Element(x, rule, formats.Value, 0, column, ref a, ref b, ref c, ref d, ref e, ref f);
    }

    /// <summary>A map that stores 8-bit elements: one group per block of elements that share a scale.</summary>
    public static void MapQuantized<R>(GpuArguments x, R rule, SpecializedValue<ulong> formats) where R : unmanaged, IMap6
    {
        ArrayView<float> shared = SharedMemory.Allocate<float>(DTypes.QuantizedBlock);
        long row = Grid.IdxX / x.Across;
        long column = (long)(Grid.IdxX - (int)row * x.Across) * DTypes.QuantizedBlock + Group.IdxX;
        F1 a = default, b = default, c = default, d = default, e = default, f = default;
        bool inside = column < x.Columns;
        if (inside)
            Element(x, rule, formats.Value, row, column, ref a, ref b, ref c, ref d, ref e, ref f);
        Quantize<R>(x.A, 0, formats.Value, row, column, inside, a, shared);
        Quantize<R>(x.B, 1, formats.Value, row, column, inside, b, shared);
        Quantize<R>(x.C, 2, formats.Value, row, column, inside, c, shared);
        Quantize<R>(x.D, 3, formats.Value, row, column, inside, d, shared);
        Quantize<R>(x.E, 4, formats.Value, row, column, inside, e, shared);
        Quantize<R>(x.F, 5, formats.Value, row, column, inside, f, shared);
    }

    /// <summary>
    /// A map with sums: a group computes a square tile, keeps its terms in shared memory (rows padded by one word, so
    /// that sums along both axes have no bank conflicts) and stores one partial sum per row and per column.
    /// </summary>
    public static void MapSums<R>(GpuArguments x, R rule, SpecializedValue<ulong> formats) where R : unmanaged, IMap6
    {
        int tileRow = Grid.IdxX / x.Across, tileColumn = Grid.IdxX - tileRow * x.Across;
        ArrayView<float> a = TermsOf<R>(0), b = TermsOf<R>(1), c = TermsOf<R>(2), d = TermsOf<R>(3), e = TermsOf<R>(4), f = TermsOf<R>(5);
        int j = Group.IdxX & (Tile - 1);
        for (int i = Group.IdxX / Tile; i < Tile; i += TileThreads / Tile)
        {
            long row = 0, column;
            if (GpuFormats.IsFlat(formats.Value))
            {
                column = ((long)tileRow * Tile + i) * Tile + j;
            }
            else
            {
                row = (long)tileRow * Tile + i;
                column = (long)tileColumn * Tile + j;
            }

            F1 va = Start<R>(0), vb = Start<R>(1), vc = Start<R>(2), vd = Start<R>(3), ve = Start<R>(4), vf = Start<R>(5);
            if (row < x.Rows && column < x.Columns)
                Element(x, rule, formats.Value, row, column, ref va, ref vb, ref vc, ref vd, ref ve, ref vf);
            Keep<R>(0, a, i, j, va);
            Keep<R>(1, b, i, j, vb);
            Keep<R>(2, c, i, j, vc);
            Keep<R>(3, d, i, j, vd);
            Keep<R>(4, e, i, j, ve);
            Keep<R>(5, f, i, j, vf);
        }

        Group.Barrier();
        Collect<R>(x, x.A, 0, a, formats.Value, tileRow, tileColumn);
        Collect<R>(x, x.B, 1, b, formats.Value, tileRow, tileColumn);
        Collect<R>(x, x.C, 2, c, formats.Value, tileRow, tileColumn);
        Collect<R>(x, x.D, 3, d, formats.Value, tileRow, tileColumn);
        Collect<R>(x, x.E, 4, e, formats.Value, tileRow, tileColumn);
        Collect<R>(x, x.F, 5, f, formats.Value, tileRow, tileColumn);
    }

    /// <summary>Adds up partial sums: target[i] = Σ partials[t · count + i], one thread of the first row of a group for each i.</summary>
    public static void Fold(ArrayView<float> partials, ArrayView<float> target, int count, int tiles, SpecializedValue<int> largest)
    {
        ArrayView<float> shared = SharedMemory.Allocate<float>(Width * Height);
        int i = Grid.IdxX * Width + Group.IdxX;
        float total = largest.Value != 0 ? float.NegativeInfinity : 0;
        if (i < count)
        {
            for (int t = Group.IdxY; t < tiles; t += Height)
                total = Join(largest.Value != 0, total, partials[(long)t * count + i]);
        }

        int local = Group.IdxY * Width + Group.IdxX;
        shared[local] = total;
        Group.Barrier();
        if (Group.IdxY == 0 && i < count)
        {
            for (int y = 1; y < Height; y++)
                total = Join(largest.Value != 0, total, shared[y * Width + Group.IdxX]);
            target[i] = total;
        }
    }

    /// <summary>Adds up many partial sums of one number with one group.</summary>
    public static void FoldScalar(ArrayView<float> partials, ArrayView<float> target, int tiles, SpecializedValue<int> largest)
    {
        ArrayView<float> shared = SharedMemory.Allocate<float>(TileThreads);
        float total = largest.Value != 0 ? float.NegativeInfinity : 0;
        for (int t = Group.IdxX; t < tiles; t += TileThreads)
            total = Join(largest.Value != 0, total, partials[t]);
        total = GpuRowKernels.Reduce(shared, total, TileThreads, largest.Value != 0);
        if (Group.IdxX == 0)
            target[0] = total;
    }

    /// <summary>The larger number, as the lanes define it, or the sum.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Join(bool largest, float total, float value)
    {
        if (largest)
            return value > total ? value : total;
        return total + value;
    }

    /// <summary>Loads what the rule reads, applies it, and stores what it writes (8-bit storage is left to the caller).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Element<R>(
        GpuArguments x, R rule, ulong formats, long row, long column, ref F1 a, ref F1 b, ref F1 c, ref F1 d, ref F1 e, ref F1 f)
        where R : unmanaged, IMap6
    {
        if (R.Access.Reads(0))
            a = GpuOperand.Load(x.A, GpuFormats.At(formats, 0), row, column);
        if (R.Access.Reads(1))
            b = GpuOperand.Load(x.B, GpuFormats.At(formats, 1), row, column);
        if (R.Access.Reads(2))
            c = GpuOperand.Load(x.C, GpuFormats.At(formats, 2), row, column);
        if (R.Access.Reads(3))
            d = GpuOperand.Load(x.D, GpuFormats.At(formats, 3), row, column);
        if (R.Access.Reads(4))
            e = GpuOperand.Load(x.E, GpuFormats.At(formats, 4), row, column);
        if (R.Access.Reads(5))
            f = GpuOperand.Load(x.F, GpuFormats.At(formats, 5), row, column);
        rule.Apply(ref a, ref b, ref c, ref d, ref e, ref f);
        if (R.Access.Writes(0))
            GpuOperand.Store(x.A, GpuFormats.At(formats, 0), row, column, a);
        if (R.Access.Writes(1))
            GpuOperand.Store(x.B, GpuFormats.At(formats, 1), row, column, b);
        if (R.Access.Writes(2))
            GpuOperand.Store(x.C, GpuFormats.At(formats, 2), row, column, c);
        if (R.Access.Writes(3))
            GpuOperand.Store(x.D, GpuFormats.At(formats, 3), row, column, d);
        if (R.Access.Writes(4))
            GpuOperand.Store(x.E, GpuFormats.At(formats, 4), row, column, e);
        if (R.Access.Writes(5))
            GpuOperand.Store(x.F, GpuFormats.At(formats, 5), row, column, f);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static GpuOperand Entry(ArrayView<byte> slab, ArrayView<int> entries, int place)
    {
        GpuOperand result = default;
        result.Data = slab.SubView(4L * entries[place]);
        result.Factor = slab.Cast<float>().SubView(entries[place + GpuPendingMaps.Factors]);
        result.Seed = (uint)entries[place + GpuPendingMaps.Seeds];
        return result;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Quantize<R>(GpuOperand x, int k, ulong formats, long row, long column, bool inside, F1 value, ArrayView<float> shared)
        where R : unmanaged, IRule
    {
        uint format = GpuFormats.At(formats, k);
        DType type = GpuFormats.TypeOf(format);
        if (!R.Access.Writes(k) || (type != DType.I8 && type != DType.Float8 && type != DType.UnsignedFloat8))
            return;
        float largest = GpuRowKernels.Reduce(shared, inside ? Float8.Magnitude(value.Value) : 0, DTypes.QuantizedBlock, true);
        if (!inside)
            return;
        if (type != DType.I8)
        {
            long index = row * x.Stride + column;
            uint random = GpuFormats.IsStochastic(format) ? Rounding.Bits(x.Seed, index) : Rounding.Half;
            x.Data[index] = (byte)Float8.Encode(value.Value * Float8.Inverse(largest), type == DType.Float8, random);
            if (Group.IdxX == 0)
                x.Data.Cast<float>()[x.Scales + index / DTypes.QuantizedBlock] = Float8.Scale(largest);
            return;
        }

        float scaled = value.Value * Quantized.Inverse(largest);
        long place = row * x.Stride + column;
        if (GpuFormats.IsStochastic(format))
        {
            x.Data.Cast<sbyte>()[place] = (sbyte)Quantized.Code(scaled, Rounding.Bits(x.Seed, place));
        }
        else
        {
            float rounded = MathF.Round(scaled);
            rounded = rounded > 127f ? 127f : rounded > -127f ? rounded : -127f;
            x.Data.Cast<sbyte>()[place] = (sbyte)(int)rounded;
        }

        if (Group.IdxX == 0)
            x.Data.Cast<float>()[x.Scales + row * x.ScaleStride + column / DTypes.QuantizedBlock] = Quantized.Scale(largest);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static F1 Start<R>(int k) where R : unmanaged, IRule => new(R.Access.At(k) == Slot.Max ? float.NegativeInfinity : 0f);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static ArrayView<float> TermsOf<R>(int k) where R : unmanaged, IRule =>
        R.Access.Reduces(k) ? SharedMemory.Allocate<float>(Tile * (Tile + 1)) : default;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Keep<R>(int k, ArrayView<float> terms, int i, int j, F1 value) where R : unmanaged, IRule
    {
        if (R.Access.Reduces(k))
            terms[i * (Tile + 1) + j] = value.Value;
    }

    /// <summary>The sums of a tile: the first 32 threads add along the rows, the next 32 along the columns.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Collect<R>(GpuArguments x, GpuOperand sums, int k, ArrayView<float> terms, ulong formats, int tileRow, int tileColumn)
        where R : unmanaged, IRule
    {
        if (!R.Access.Reduces(k))
            return;
        Layout layout = GpuFormats.LayoutOf(GpuFormats.At(formats, k));
        bool largest = R.Access.At(k) == Slot.Max;
        int lane = Group.IdxX & (Tile - 1), part = Group.IdxX / Tile;
        if (part == 0 && layout != Layout.PerColumn)
        {
            float total = terms[lane * (Tile + 1)];
            for (int j = 1; j < Tile; j++)
                total = Join(largest, total, terms[lane * (Tile + 1) + j]);
            long row = (long)tileRow * Tile + lane;
            if (layout == Layout.Scalar)
                terms[lane * (Tile + 1)] = total;
            else if (row < x.Rows)
                sums.Data.Cast<float>()[tileColumn * x.Rows + row] = total;
        }

        if (part == 1 && (layout == Layout.PerColumn || layout == Layout.RowsAndColumns))
        {
            float total = terms[lane];
            for (int i = 1; i < Tile; i++)
                total = Join(largest, total, terms[i * (Tile + 1) + lane]);
            long column = (long)tileColumn * Tile + lane;
            if (column < x.Columns)
                sums.Factor[tileRow * x.Columns + column] = total;
        }

        if (layout == Layout.Scalar)
        {
            Group.Barrier();
            if (Group.IdxX == 0)
            {
                float total = terms[0];
                for (int i = 1; i < Tile; i++)
                    total = Join(largest, total, terms[i * (Tile + 1)]);
                sums.Data.Cast<float>()[Grid.IdxX] = total;
            }
        }
    }
}
