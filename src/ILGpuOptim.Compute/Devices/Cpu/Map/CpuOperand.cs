using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>
/// An operand of the CPU's loops. A loop always reads and writes contiguous f32: in place if the operand
/// is stored so, else in a scratch tile that is widened before and narrowed after. Broadcast operands are
/// sixteen copies of one value, read repeatedly through an index mask of zero.
/// </summary>
internal unsafe struct CpuOperand
{
    private byte* data;
    private float* scales;
    private long stride;
    private long scaleStride;
    private float factor;
    private DType type;
    private Layout layout;
    private uint seed;

    public readonly Layout Layout => layout;

    /// <summary>The f32 elements of an operand that collects sums.</summary>
    public readonly float* Target => (float*)data;

    /// <summary>True if this operand allows to process the rectangle as one row.</summary>
    public readonly bool Flattens(long columns) =>
        layout == Layout.Scalar || (layout == Layout.Full && stride == columns && type != DType.I8);

    /// <summary>True if this operand is read and written where it is stored, or is read and one value for each row or in all.</summary>
    public readonly bool IsInPlace(bool writes) =>
        layout is Layout.Full or Layout.PerColumn ? type == DType.F32 && factor == 1f && !(writes && layout == Layout.PerColumn) : !writes;

    public static CpuOperand From(in Operand operand, long rows, long columns)
    {
        var memory = (CpuMemory)operand.Block.Memory;
        CpuOperand result = default;
        result.data = memory.Pointer + operand.Block.Offset;
        result.type = operand.Block.Type;
        result.layout = operand.Layout;
        result.seed = operand.Seed;
        result.stride = operand.Stride == 0 ? columns : operand.Stride;
        result.factor = operand.Factor is { } block ? *(float*)(((CpuMemory)block.Memory).Pointer + block.Offset) : 1f;
        if (result.type.IsFloat8())
            result.scales = (float*)(result.data + DTypes.QuantizedScales(1, operand.Block.Length));
        if (result.type == DType.I8)
        {
            (long r, long c) = operand.Layout == Layout.PerColumn ? (1, columns) : (rows, columns);
            result.scales = (float*)(result.data + DTypes.QuantizedScales(r, c));
            result.scaleStride = (c + DTypes.QuantizedBlock - 1) / DTypes.QuantizedBlock;
        }

        return result;
    }

    /// <summary>A whole f32 operand in any memory.</summary>
    /// <param name="data">The element of row 0 and column 0.</param>
    /// <param name="stride">Elements from one row to the next.</param>
    public static CpuOperand Floats(float* data, long stride) => new() { data = (byte*)data, type = DType.F32, layout = Layout.Full, stride = stride, factor = 1 };

    /// <summary>
    /// Makes elements [row, column .. column + count) readable and writable as f32. Scratch has room for that many
    /// floats, at least sixteen. The mask is and-ed to an index before it is added to the result: -1, or 0 for a broadcast.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly float* Begin(long row, long column, int count, float* scratch, bool reads, out nint mask)
    {
        mask = -1;
        if (layout == Layout.Full)
        {
            if (type == DType.F32 && factor == 1f)
                return (float*)data + row * stride + column;
            if (reads)
                Widen(row, column, count, scratch);
            return scratch;
        }

        return BeginOther(row, column, count, scratch, reads, out mask);
    }

    /// <summary>Stores the results at the address from <see cref="Begin"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public readonly void End(long row, long column, int count, float* scratch)
    {
        if (layout == Layout.Full && type == DType.F32 && factor == 1f)
            return;
        if (layout == Layout.PerRow)
            ((float*)data)[row] = *scratch;
        else
            Narrow(row, column, count, scratch);
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private readonly float* BeginOther(long row, long column, int count, float* scratch, bool reads, out nint mask)
    {
        if (layout == Layout.PerColumn)
        {
            mask = -1;
            if (type == DType.F32 && factor == 1f)
                return (float*)data + column;
            if (reads)
                Widen(0, column, count, scratch);
            return scratch;
        }

        mask = 0;
        if (reads)
        {
            long index = layout == Layout.PerRow ? row : 0;
            float value = type switch
            {
                DType.F32 => ((float*)data)[index],
                DType.BF16 => Bf16.Widen(((ushort*)data)[index]),
                DType.I32 => ((int*)data)[index],
                _ => throw new NotSupportedException("a quantised operand cannot be per row"),
            };
            new Span<float>(scratch, 16).Fill(value * factor);
        }

        return scratch;
    }

    private readonly void Widen(long row, long column, int count, float* scratch)
    {
        var target = new Span<float>(scratch, count);
        long start = row * stride + column;
        switch (type)
        {
            case DType.F32:
                Scale((float*)data + start, factor, scratch, count);
                return;
            case DType.BF16:
                Bf16.Widen(new ReadOnlySpan<ushort>((ushort*)data + start, count), target);
                break;
            case DType.Float8 or DType.UnsignedFloat8:
                Float8.Widen(data + start, scales + start / DTypes.QuantizedBlock, type == DType.Float8, target);
                break;
            case DType.I8:
                Quantized.Widen(new ReadOnlySpan<sbyte>((sbyte*)data + start, count), scales + row * scaleStride, column, target);
                break;
            default:
                for (int i = 0; i < count; i++)
                    target[i] = ((int*)data)[start + i];
                break;
        }

        if (factor != 1f)
            Scale(scratch, factor, scratch, count);
    }

    /// <summary>The prefetch distance of <see cref="Scale"/> in floats, within half a tile: the next tile is read as soon as this one is done.</summary>
    private const int ScaleAhead = 512;

    /// <summary>target[i] = source[i] · factor: gradients are clipped as they are read, so this is part of most training steps.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Scale(float* source, float factor, float* target, int count)
    {
        int i = 0;
        for (; i <= count - Vector<float>.Count; i += Vector<float>.Count)
        {
            if (Sse.IsSupported)
                Sse.Prefetch0(source + i + ScaleAhead);
            Vector.Store(Vector.Load(source + i) * factor, target + i);
        }

        for (; i < count; i++)
            target[i] = source[i] * factor;
    }

    private readonly void Narrow(long row, long column, int count, float* scratch)
    {
        var source = new ReadOnlySpan<float>(scratch, count);
        long start = row * stride + column;
        switch (type)
        {
            case DType.BF16 when seed != 0:
                Bf16.Narrow(source, new Span<ushort>((ushort*)data + start, count), seed, start);
                break;
            case DType.BF16:
                Bf16.Narrow(source, new Span<ushort>((ushort*)data + start, count));
                break;
            case DType.Float8 or DType.UnsignedFloat8:
                Float8.Narrow(source, data + start, scales + start / DTypes.QuantizedBlock, type == DType.Float8, seed, start);
                break;
            case DType.I8:
                Quantized.Narrow(source, new Span<sbyte>((sbyte*)data + start, count), scales + row * scaleStride + column / DTypes.QuantizedBlock, seed, start);
                break;
            case DType.F32:
                source.CopyTo(new Span<float>((float*)data + start, count));
                break;
            default:
                for (int i = 0; i < count; i++)
                    ((int*)data)[start + i] = (int)source[i];
                break;
        }
    }
}
