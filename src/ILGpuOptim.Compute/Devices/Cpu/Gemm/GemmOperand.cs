using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>A stored matrix as a factor of a product, and its packing for the inner loops.</summary>
internal unsafe struct GemmOperand
{
    public byte* Data;
    public float* Scales;
    public int Stride;
    public int ScaleStride;
    public bool Transposed;
    public DType Type;

    /// <summary>Elements from one matrix of a batch to the next (not of types whose elements share scales).</summary>
    public long BatchStride;

    /// <summary>Stored rows are rows of the product's factor.</summary>
    public readonly bool IsPlain => Type == DType.F32 && !Transposed;

    /// <summary>Rows are widened as they are stored.</summary>
    public readonly bool Widens => Type == DType.BF16;

    /// <summary>Element (row, column) of the factor, of f32.</summary>
    public readonly float* At(int row, int column) => (float*)Data + (nint)(Transposed ? column : row) * Stride + (Transposed ? row : column);

    /// <summary>Elements from one row of the factor to the next.</summary>
    public readonly nint RowStep => Transposed ? 1 : Stride;

    /// <summary>Elements from one column of the factor to the next.</summary>
    public readonly nint ColumnStep => Transposed ? Stride : 1;

    /// <summary>Matrix <paramref name="index"/> of the batch.</summary>
    public readonly GemmOperand OfBatch(int index)
    {
        GemmOperand result = this;
        result.Data += Type.Bytes(1, index * BatchStride);
        return result;
    }

    /// <summary>
    /// Packs a strip of the factor: target[k · width + i] = op(matrix)(first + i, k0 + k) for A (<paramref name="along"/>
    /// false), or op(matrix)(k0 + k, first + i) for B; i beyond <paramref name="count"/> is padded with zeros.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public readonly void Pack(float* target, int width, int first, int count, int k0, int depth, bool along)
    {
        if (count < width)
            GemmPacking.Clear(target, width, count, depth);

        // The strip's index runs along stored rows (contiguous) for a plain B or a transposed A.
        if (along != Transposed)
            PackAlong(target, width, first, count, k0, depth);
        else
            PackAcross(target, width, first, count, k0, depth);
    }

    /// <summary>Strip elements are adjacent in a stored row; each k is another stored row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void PackAlong(float* target, int width, int first, int count, int k0, int depth)
    {
        if (Type == DType.F32)
        {
            GemmPacking.Copy((float*)Data + (nint)k0 * Stride + first, Stride, target, width, count, depth);
            return;
        }

        if (Type == DType.BF16)
        {
            GemmPacking.Widen((ushort*)Data + (nint)k0 * Stride + first, Stride, target, width, count, depth);
            return;
        }

        for (int k = 0; k < depth; k++, target += width)
            Widen(k0 + k, first, count, target);
    }

    /// <summary>Each strip element is a stored row; k runs along it.</summary>
    [SkipLocalsInit]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void PackAcross(float* target, int width, int first, int count, int k0, int depth)
    {
        if (Type == DType.F32)
        {
            CpuTranspose.Run((float*)Data + (nint)first * Stride + k0, Stride, count, depth, target, width);
            return;
        }

        const int Rows = 8, Length = 256;
        float* wide = stackalloc float[Rows * Length];
        for (int k = 0; k < depth; k += Length)
        {
            int length = Math.Min(Length, depth - k);
            for (int i = 0; i < count; i += Rows)
            {
                int rows = Math.Min(Rows, count - i);
                for (int r = 0; r < rows; r++)
                    Widen(first + i + r, k0 + k, length, wide + r * Length);
                CpuTranspose.Run(wide, Length, rows, length, target + (nint)k * width + i, width);
            }
        }
    }

    /// <summary>Adjacent elements of a stored row as f32: in place, or widened at <paramref name="target"/>.</summary>
    public readonly float* Row(int row, int column, int count, float* target)
    {
        if (Type == DType.F32)
            return (float*)Data + (nint)row * Stride + column;
        Widen(row, column, count, target);
        return target;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void Widen(int row, int column, int count, float* target)
    {
        nint start = (nint)row * Stride + column;
        if (Type == DType.BF16)
        {
            Bf16.Widen(new ReadOnlySpan<ushort>((ushort*)Data + start, count), new Span<float>(target, count));
            return;
        }

        float* scales = Scales + (nint)row * ScaleStride;
        if (Type.IsInt4())
        {
            int group = Type.GroupOf();
            Int4.Widen(Data + (nint)row * ScaleStride * (group / 2), scales, group, column, count, target);
            return;
        }

        sbyte* bytes = (sbyte*)Data + start;
        for (int i = 0; i < count;)
        {
            int block = (column + i) / DTypes.QuantizedBlock;
            int length = Math.Min(count - i, (block + 1) * DTypes.QuantizedBlock - (column + i));
            GemmPacking.Widen(bytes + i, scales[block], target + i, length);
            i += length;
        }
    }
}
