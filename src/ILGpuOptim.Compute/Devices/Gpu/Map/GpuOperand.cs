using System.Runtime.CompilerServices;
using ILGPU;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>An operand of a kernel. Its layout and type are in <see cref="GpuFormats"/>, a specialization constant.</summary>
internal struct GpuOperand
{
    /// <summary>The stored elements; for sums, the partial sums of rows or of everything.</summary>
    public ArrayView<byte> Data;

    /// <summary>A scalar that multiplies loaded elements; for sums, the partial sums of columns.</summary>
    public ArrayView<float> Factor;

    /// <summary>Elements from one row to the next.</summary>
    public long Stride;

    /// <summary>The first scale of 8-bit storage, in floats, and the number of scales per row.</summary>
    public long Scales;

    /// <inheritdoc cref="Scales"/>
    public long ScaleStride;

    /// <summary>The seed of stochastic rounding.</summary>
    public uint Seed;

    /// <summary>Prepares an operand of a rows × columns rectangle.</summary>
    public static GpuOperand From(in Operand operand, long rows, long columns, ArrayView<float> nothing)
    {
        GpuOperand result = default;
        result.Data = GpuMemory.View(operand.Block);
        result.Factor = operand.Factor is { } factor ? GpuMemory.View<float>(factor) : nothing;
        result.Stride = operand.Stride == 0 ? columns : operand.Stride;
        result.Seed = operand.Seed;
        if (operand.Block.Type.IsFloat8())
            result.Scales = DTypes.QuantizedScales(1, operand.Block.Length) / sizeof(float);
        if (operand.Block.Type == DType.I8)
        {
            result.Scales = DTypes.QuantizedScales(operand.Layout == Layout.PerColumn ? 1 : rows, columns) / sizeof(float);
            result.ScaleStride = (columns + DTypes.QuantizedBlock - 1) / DTypes.QuantizedBlock;
        }

        return result;
    }

    /// <summary>True if a block starts at a multiple of 16 bytes.</summary>
    public static bool IsAligned(in Block block) => block.Offset % 16 == 0;

    /// <summary>A placeholder for a missing operand: drivers require a valid address.</summary>
    public static GpuOperand None(ArrayView<float> nothing) => new() { Data = nothing.Cast<byte>(), Factor = nothing };

    /// <summary>Loads an element, widened to f32.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static F1 Load(GpuOperand x, uint format, long row, long column)
    {
        long index = Index(x, format, row, column);
        float value;
        if (GpuFormats.TypeOf(format) == DType.F32)
        {
            value = x.Data.Cast<float>()[index];
        }
        else if (GpuFormats.TypeOf(format) == DType.BF16)
        {
            value = Interop.IntAsFloat((uint)x.Data.Cast<ushort>()[index] << 16);
        }
        else if (GpuFormats.TypeOf(format) == DType.I8)
        {
            long block = x.Scales + column / DTypes.QuantizedBlock;
            if (GpuFormats.LayoutOf(format) == Layout.Full)
                block += row * x.ScaleStride;
            value = x.Data.Cast<sbyte>()[index] * x.Data.Cast<float>()[block];
        }
        else if (GpuFormats.TypeOf(format) == DType.Float8 || GpuFormats.TypeOf(format) == DType.UnsignedFloat8)
        {
            value = Float8.Decode(x.Data[index], GpuFormats.TypeOf(format) == DType.Float8) * x.Data.Cast<float>()[x.Scales + index / DTypes.QuantizedBlock];
        }
        else
        {
            value = x.Data.Cast<int>()[index];
        }

        if (GpuFormats.HasFactor(format))
            value *= x.Factor[0];
        return new F1(value);
    }

    /// <summary>Stores an element, rounded to its type (not for 8-bit storage, whose elements share scales).</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store(GpuOperand x, uint format, long row, long column, F1 value)
    {
        long index = Index(x, format, row, column);
        if (GpuFormats.TypeOf(format) == DType.F32)
            x.Data.Cast<float>()[index] = value.Value;
        else if (GpuFormats.TypeOf(format) == DType.BF16 && GpuFormats.IsStochastic(format))
            x.Data.Cast<ushort>()[index] = Rounding.NarrowBf16(value.Value, Rounding.Bits(x.Seed, index));
        else if (GpuFormats.TypeOf(format) == DType.BF16)
            x.Data.Cast<ushort>()[index] = Bf16.Narrow(value.Value);
        else if (GpuFormats.TypeOf(format) == DType.I32)
            x.Data.Cast<int>()[index] = (int)value.Value;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static long Index(GpuOperand x, uint format, long row, long column)
    {
        if (GpuFormats.LayoutOf(format) == Layout.Full)
            return row * x.Stride + column;
        if (GpuFormats.LayoutOf(format) == Layout.PerRow)
            return row;
        return GpuFormats.LayoutOf(format) == Layout.PerColumn ? column : 0;
    }
}

/// <summary>
/// Layouts and types of a launch's operands, eight bits each: a specialization constant, so that the compiler removes
/// everything that the launch does not need.
/// </summary>
internal static class GpuFormats
{
    private const ulong FlatBit = 1UL << 56;

    /// <summary>The formats of a launch. Marks it as flat, one long row, if all operands allow it.</summary>
    public static ulong Of(ReadOnlySpan<Operand> operands, Access access, long columns)
    {
        ulong result = FlatBit;
        for (int k = 0; k < operands.Length; k++)
        {
            Operand x = operands[k];
            result |= One(x) << (8 * k);
            bool flattens = x.Layout == Layout.Scalar
                || (x.Layout == Layout.Full && (x.Stride == 0 || x.Stride == columns) && x.Block.Type != DType.I8 && !access.Reduces(k));
            if (!flattens)
                result &= ~FlatBit;
        }

        return result;
    }

    /// <summary>The format of one operand, in the lowest eight bits.</summary>
    public static ulong One(in Operand operand) => (ulong)operand.Layout | (ulong)operand.Block.Type << 3 | (operand.Factor is null ? 0UL : 64UL) | (operand.Seed == 0 ? 0UL : 128UL);

    /// <summary>True if the rectangle can be processed as one row.</summary>
    public static bool IsFlat(ulong formats) => (formats & FlatBit) != 0;

    /// <summary>The format of one operand.</summary>
    public static uint At(ulong formats, int index) => (uint)(formats >> (8 * index)) & 255;

    public static Layout LayoutOf(uint format) => (Layout)(format & 7);

    public static DType TypeOf(uint format) => (DType)(format >> 3 & 7);

    public static bool IsStochastic(uint format) => (format & 128) != 0;

    public static bool HasFactor(uint format) => (format & 64) != 0;
}
