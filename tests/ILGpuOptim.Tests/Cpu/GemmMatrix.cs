using System.Runtime.InteropServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Compute.Cpu;

namespace ILGpuOptim.Tests.Cpu;

/// <summary>A stored factor, and its values in double precision.</summary>
internal sealed unsafe class GemmMatrix : IDisposable
{
    private readonly int rows, columns;
    private readonly double[] values;
    private readonly Dictionary<(int, bool), double[]> lines = [];

    public GemmMatrix(Random random, int rows, int columns, int padding, DType type, bool transposed)
    {
        (this.rows, this.columns) = (rows, columns);
        int stride = columns + padding, scaleStride = (columns + DTypes.QuantizedBlock - 1) / DTypes.QuantizedBlock;
        Operand = new GemmOperand
        {
            Data = (byte*)NativeMemory.Alloc((nuint)(rows * stride * 4L + 64)),
            Scales = (float*)NativeMemory.Alloc((nuint)(rows * scaleStride * 4L + 64)),
            Stride = stride,
            ScaleStride = scaleStride,
            Transposed = transposed,
            Type = type,
        };
        new Span<byte>(Operand.Data, rows * stride * (type == DType.F32 ? 4 : type == DType.BF16 ? 2 : 1)).Fill(0x7F); // NaN, and 127
        for (int i = 0; i < rows * scaleStride; i++)
            Operand.Scales[i] = (random.NextSingle() + 0.5f) / 127;
        values = new double[rows * columns];
        for (int i = 0; i < rows; i++)
        {
            for (int j = 0; j < columns; j++)
                Set(i, j, random.NextSingle() - 0.5f);
        }
    }

    public GemmOperand Operand { get; }

    public void Set(int i, int j, float value)
    {
        long at = (long)i * Operand.Stride + j;
        if (Operand.Type == DType.F32)
        {
            ((float*)Operand.Data)[at] = value;
        }
        else if (Operand.Type == DType.BF16)
        {
            ((ushort*)Operand.Data)[at] = Bf16.Narrow(value);
            value = Bf16.Widen(Bf16.Narrow(value));
        }
        else
        {
            float scale = Operand.Scales[i * Operand.ScaleStride + j / DTypes.QuantizedBlock];
            sbyte code = (sbyte)(value * 254);
            ((sbyte*)Operand.Data)[at] = code;
            value = code * scale;
        }

        values[i * columns + j] = value;
    }

    /// <summary>A stored row or column.</summary>
    public double[] Line(int index, bool isRow)
    {
        if (!lines.TryGetValue((index, isRow), out double[]? line))
        {
            line = new double[isRow ? columns : rows];
            for (int p = 0; p < line.Length; p++)
                line[p] = isRow ? values[index * columns + p] : values[p * columns + index];
            lines[(index, isRow)] = line;
        }

        return line;
    }

    public void Dispose()
    {
        NativeMemory.Free(Operand.Data);
        NativeMemory.Free(Operand.Scales);
    }
}
