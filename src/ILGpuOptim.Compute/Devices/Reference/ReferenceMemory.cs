using System.Runtime.InteropServices;

namespace ILGpuOptim.Compute.Reference;

/// <summary>
/// Memory of the reference device: element i of an f32 or bf16 block is a double, of an i32 block an int. Rented
/// memory is used as one type until it is returned, so the representations never mix.
/// </summary>
internal sealed class ReferenceMemory(long bytes) : DeviceMemory
{
    private double[]? numbers;
    private int[]? integers;
    private sbyte[]? quantized;

    public override long Bytes => bytes;

    /// <summary>Numbers by element.</summary>
    public double[] Numbers => numbers ??= new double[bytes / 2];

    public int[] Integers => integers ??= new int[bytes / 4];

    /// <summary>Quantised bytes; their scales are <see cref="Numbers"/>, one a block.</summary>
    public sbyte[] Quantized => quantized ??= new sbyte[bytes];

    /// <summary>The bytes of 4-bit storage, codes and scales, as other devices have them.</summary>
    public Span<byte> Int4 => MemoryMarshal.AsBytes(Quantized.AsSpan());

    /// <summary>The bytes and scales of 8-bit storage, as other devices have them.</summary>
    public void CopyQuantized(long length, Span<byte> target)
    {
        MemoryMarshal.AsBytes(Quantized.AsSpan(0, (int)length)).CopyTo(target);
        Span<float> scales = MemoryMarshal.Cast<byte, float>(target[(int)DTypes.QuantizedScales(1, length)..]);
        for (int i = 0; i < scales.Length; i++)
            scales[i] = (float)Numbers[i];
    }

    /// <summary>Restores what <see cref="CopyQuantized"/> copied.</summary>
    public void SetQuantized(long length, ReadOnlySpan<byte> source)
    {
        source[..(int)length].CopyTo(MemoryMarshal.AsBytes(Quantized.AsSpan()));
        ReadOnlySpan<float> scales = MemoryMarshal.Cast<byte, float>(source[(int)DTypes.QuantizedScales(1, length)..]);
        for (int i = 0; i < scales.Length; i++)
            Numbers[i] = scales[i];
    }

    protected internal override void Free() => (numbers, integers, quantized) = (null, null, null);
}

/// <summary>Reads and writes the elements of an operand by its layout.</summary>
internal readonly struct ReferenceOperand
{
    private readonly ReferenceMemory memory;
    private readonly long start, stride, rowCount;
    private readonly DType type;
    private readonly double factor;
    private readonly uint seed;

    public ReferenceOperand(in Operand operand, long rows, long columns)
    {
        memory = (ReferenceMemory)operand.Block.Memory;
        type = operand.Block.Type;
        start = operand.Block.Offset / type.Bytes(1, 1) * (type.SharesScales() ? 0 : 1);
        stride = operand.Stride == 0 ? columns : operand.Stride;
        rowCount = rows;
        seed = operand.Seed;
        Layout = operand.Layout;
        factor = operand.Factor is { } f ? new ReferenceOperand(new Operand(f, Layout.Scalar), 1, 1).Read(0, 0) : 1;
    }

    public Layout Layout { get; }

    public double Read(long row, long column)
    {
        long i = Index(row, column);
        double value = type switch
        {
            DType.I32 => memory.Integers[start + i],
            >= DType.Int4By32 => ReadInt4(row, column),
            DType.I8 => memory.Quantized[i] * memory.Numbers[ScaleIndex(row, column)],
            DType.Float8 or DType.UnsignedFloat8 => Float8.Decode((byte)memory.Quantized[i], type == DType.Float8) * memory.Numbers[i / DTypes.QuantizedBlock],
            _ => memory.Numbers[start + i],
        };
        return value * factor;
    }

    private double ReadInt4(long row, long column)
    {
        int rowBytes = (int)Int4.RowBytes(type, stride), groups = (int)type.GroupsOf(stride);
        ReadOnlySpan<byte> bytes = memory.Int4;
        int pair = bytes[(int)row * rowBytes + (int)column / Int4.Unit * (Int4.Unit / 2) + (int)column % (Int4.Unit / 2)];
        int code = column % Int4.Unit < Int4.Unit / 2 ? pair & 15 : pair >> 4;
        return (code - 8) * (double)MemoryMarshal.Cast<byte, float>(bytes[(int)Int4.Scales(type, rowCount, stride)..])[(int)row * groups + (int)column / type.GroupOf()];
    }

    public void Write(long row, long column, double value)
    {
        long i = Index(row, column);
        if (type == DType.I32)
            memory.Integers[start + i] = (int)value;
        else
            memory.Numbers[start + i] = type == DType.BF16 ? Bf16.Widen(seed == 0 ? Bf16.Narrow((float)value) : Rounding.NarrowBf16((float)value, Rounding.Bits(seed, i))) : value;
    }

    /// <summary>Writes a whole row: quantised storage cannot be written element by element.</summary>
    public void WriteRow(long row, ReadOnlySpan<double> values)
    {
        if (type.IsFloat8())
        {
            WriteFloats(row, values);
            return;
        }

        if (type != DType.I8)
        {
            for (int j = 0; j < values.Length; j++)
                Write(row, j, values[j]);
            return;
        }

        for (int first = 0; first < values.Length; first += DTypes.QuantizedBlock)
        {
            int end = Math.Min(first + DTypes.QuantizedBlock, values.Length);
            double largest = 0;
            for (int j = first; j < end; j++)
                largest = Math.Max(largest, double.IsFinite(values[j]) ? Math.Abs(values[j]) : double.PositiveInfinity);
            double scale = double.IsFinite(largest) ? largest < Float8.Smallest ? 0 : largest / 127 : double.NaN;
            memory.Numbers[ScaleIndex(row, first)] = scale;
            for (int j = first; j < end; j++)
            {
                long i = Index(row, j);
                memory.Quantized[i] = (sbyte)(!(scale > 0) ? 0
                    : seed == 0 ? Math.Clamp(Math.Round(values[j] / scale), -127, 127)
                    : Quantized.Code((float)values[j] * Quantized.Inverse((float)largest), Rounding.Bits(seed, i)));
            }
        }
    }

    private void WriteFloats(long row, ReadOnlySpan<double> values)
    {
        for (int first = 0; first < values.Length; first += DTypes.QuantizedBlock)
        {
            ReadOnlySpan<double> block = values.Slice(first, Math.Min(DTypes.QuantizedBlock, values.Length - first));
            float largest = 0;
            foreach (double value in block)
                largest = Math.Max(largest, Float8.Magnitude((float)value));
            long start = Index(row, first);
            memory.Numbers[start / DTypes.QuantizedBlock] = Float8.Scale(largest);
            for (int j = 0; j < block.Length; j++)
            {
                uint random = seed == 0 ? Rounding.Half : Rounding.Bits(seed, start + j);
                memory.Quantized[start + j] = (sbyte)Float8.Encode((float)block[j] * Float8.Inverse(largest), type == DType.Float8, random);
            }
        }
    }

    /// <summary>Writes a row's sum, or a column's.</summary>
    public void WriteSum(long index, double value) => memory.Numbers[start + index] = value;

    private long Index(long row, long column) => Layout switch
    {
        Layout.Full => row * stride + column,
        Layout.PerRow => row,
        Layout.PerColumn => column,
        Layout.RowsAndColumns => rowCount + column,
        _ => 0,
    };

    private long ScaleIndex(long row, long column) =>
        (Layout == Layout.PerColumn ? 0 : row) * ((stride + DTypes.QuantizedBlock - 1) / DTypes.QuantizedBlock) + column / DTypes.QuantizedBlock;
}
