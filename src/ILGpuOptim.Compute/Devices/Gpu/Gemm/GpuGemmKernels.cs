using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>The arguments of a product's kernel, except its epilogue.</summary>
internal struct GpuGemmArguments
{
    public ArrayView<byte> A, B, C;

    /// <summary>The epilogue's operands after C.</summary>
    public GpuOperand Second, Third, Fourth, Fifth, Sixth;
    public int M, N, K, StrideA, StrideB, StrideC, TilesN, TilesM;
    public long BatchStrideA, BatchStrideB, BatchStrideC;
    public float Alpha, Beta;

    /// <summary>The number of parts of k that different groups sum, their length, and the partial sums, [batch][part][M][N].</summary>
    public int Parts, PartLength;

    /// <inheritdoc cref="Parts"/>
    public ArrayView<float> Partials;
}

/// <summary>Eight bytes that a GPU stores as one vector.</summary>
internal struct Float2(float a, float b)
{
    public float A = a, B = b;
}

/// <summary>Common to all product kernels: reading factors of any storage type, and computing an element of C from a product.</summary>
internal static class GpuGemmKernels
{
    private const ulong BetaBit = 1UL << 57;

    /// <summary>The bits of <see cref="Formats"/> that hold the types of A and B.</summary>
    public const ulong FactorTypes = 0xFC | LongType;

    /// <summary>The bits of <see cref="Formats"/> that hold the types and transpositions of A and B.</summary>
    public const ulong Factors = 3 | FactorTypes;

    /// <summary>Added to the type of B, of which the bits from 5 on hold three.</summary>
    private const ulong LongType = 1UL << 51;

    /// <summary>The bits of <see cref="Formats"/> on which <see cref="Finish"/> depends.</summary>
    public const ulong EpilogueFormats = BetaBit | NarrowC | 0xFFFF_FFFF_FF00;

    /// <summary>C is bf16.</summary>
    public const ulong NarrowC = 1UL << 50;

    /// <summary>The specialization constants of a kernel: formats of the epilogue's operands, transpositions and types of A and B, beta ≠ 0, and a bf16 C.</summary>
    public static ulong Formats(in GemmArguments g, ReadOnlySpan<Operand> operands)
    {
        ulong result = (g.TransposeA ? 1UL : 0) | (g.TransposeB ? 2UL : 0) | (ulong)g.A.Type << 2 | ((ulong)g.B.Type & 7) << 5 | (g.B.Type > (DType)7 ? LongType : 0) | (g.Beta != 0 ? BetaBit : 0) | (g.C.Type == DType.BF16 ? NarrowC : 0);
        for (int k = 0; k < operands.Length; k++)
            result |= GpuFormats.One(operands[k]) << (8 * (k + 1));
        return result;
    }

    /// <summary>The type of B in the constants of a kernel.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static DType TypeOfB(ulong formats) => (DType)((formats >> 5 & 7) + ((formats & LongType) != 0 ? 8u : 0u));

    /// <summary>An element of a factor in the view outer × k; 0 outside.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Read(ArrayView<byte> data, DType type, long start, bool alongOuter, int outer, int k, int outerSize, int depth, int stride)
    {
        if (outer >= outerSize || k >= depth)
            return 0;
        int line = alongOuter ? k : outer, place = alongOuter ? outer : k;
        long index = start + (long)line * stride + place;
        if (type == DType.BF16)
            return Interop.IntAsFloat((uint)data.Cast<ushort>()[index] << 16);
        if (type >= DType.Int4By32)
        {
            int group = 32 << (type - DType.Int4By32), rows = alongOuter ? depth : outerSize, groups = (stride + group - 1) / group;
            int pair = data[(long)line * groups * (group / 2) + place / Int4.Unit * (Int4.Unit / 2) + (place & 15)];
            int code = (place & 16) == 0 ? pair & 15 : pair >> 4;
            return (code - 8) * data.Cast<float>()[(long)rows * groups * (group / 8) + (long)line * groups + place / group];
        }

        if (type == DType.I8)
        {
            // Scales follow the bytes of all rows; 8-bit factors are packed and never batched.
            int lines = alongOuter ? depth : outerSize, blocks = (stride + DTypes.QuantizedBlock - 1) / DTypes.QuantizedBlock;
            long scales = ((long)lines * stride + 3) / 4;
            return data.Cast<sbyte>()[index] * data.Cast<float>()[scales + (long)line * blocks + place / DTypes.QuantizedBlock];
        }

        return data.Cast<float>()[index];
    }

    /// <summary>Stores an element of C, unless its column is outside.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<R>(GpuGemmArguments x, R epilogue, ulong formats, int batch, int row, int column, float product)
        where R : unmanaged, IMap6
    {
        if (column >= x.N)
            return;
        float value = Finish(x, epilogue, formats, batch, row, column, product);
        long place = batch * x.BatchStrideC + (long)row * x.StrideC + column;
        if ((formats & NarrowC) != 0)
            x.C.Cast<ushort>()[place] = Bf16.Narrow(value);
        else
            x.C.Cast<float>()[place] = value;
    }

    /// <summary>Stores four adjacent elements of C, which are inside and aligned to their size.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void StoreFour<R>(GpuGemmArguments x, R epilogue, ulong formats, int batch, int row, int column, Float4 products) where R : unmanaged, IMap6
    {
        var four = new Float4(
            Finish(x, epilogue, formats, batch, row, column, products.A), Finish(x, epilogue, formats, batch, row, column + 1, products.B),
            Finish(x, epilogue, formats, batch, row, column + 2, products.C), Finish(x, epilogue, formats, batch, row, column + 3, products.D));
        long place = (batch * x.BatchStrideC + (long)row * x.StrideC + column) / 4;
        if ((formats & NarrowC) != 0)
            x.C.Cast<Float2>()[place] = new Float2(GpuGemmPacking.Pair(four.A, four.B), GpuGemmPacking.Pair(four.C, four.D));
        else
            x.C.Cast<Float4>()[place] = four;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float ReadC(GpuGemmArguments x, ulong formats, long place) =>
        (formats & NarrowC) != 0 ? Interop.IntAsFloat((uint)x.C.Cast<ushort>()[place] << 16) : x.C.Cast<float>()[place];

    /// <summary>Computes an element of C from a product by alpha, beta and the epilogue, and stores the epilogue's other results.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Finish<R>(GpuGemmArguments x, R epilogue, ulong formats, int batch, int row, int column, float product)
        where R : unmanaged, IMap6
    {
        float value = x.Alpha * product;
        if ((formats & BetaBit) != 0)
            value = MathF.FusedMultiplyAdd(x.Beta, ReadC(x, formats, batch * x.BatchStrideC + (long)row * x.StrideC + column), value);
        long line = (long)batch * x.M + row;
        F1 a = new(value), b = default, c = default, d = default, e = default, f = default;
        if (R.Access.Reads(1))
            b = GpuOperand.Load(x.Second, GpuFormats.At(formats, 1), line, column);
        if (R.Access.Reads(2))
            c = GpuOperand.Load(x.Third, GpuFormats.At(formats, 2), line, column);
        if (R.Access.Reads(3))
            d = GpuOperand.Load(x.Fourth, GpuFormats.At(formats, 3), line, column);
        if (R.Access.Reads(4))
            e = GpuOperand.Load(x.Fifth, GpuFormats.At(formats, 4), line, column);
        if (R.Access.Reads(5))
            f = GpuOperand.Load(x.Sixth, GpuFormats.At(formats, 5), line, column);
        epilogue.Apply(ref a, ref b, ref c, ref d, ref e, ref f);
        if (R.Access.Writes(1))
            GpuOperand.Store(x.Second, GpuFormats.At(formats, 1), line, column, b);
        if (R.Access.Writes(2))
            GpuOperand.Store(x.Third, GpuFormats.At(formats, 2), line, column, c);
        if (R.Access.Writes(3))
            GpuOperand.Store(x.Fourth, GpuFormats.At(formats, 3), line, column, d);
        if (R.Access.Writes(4))
            GpuOperand.Store(x.Fifth, GpuFormats.At(formats, 4), line, column, e);
        if (R.Access.Writes(5))
            GpuOperand.Store(x.Sixth, GpuFormats.At(formats, 5), line, column, f);
        return a.Value;
    }
}
