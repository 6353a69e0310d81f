using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>A stored matrix as a factor of a product, and how its pieces are packed for the inner loops.</summary>
internal unsafe struct GemmOperand
{
    public byte* Data;
    public float* Scales;
    public int Stride;
    public int ScaleStride;
    public bool Transposed;
    public DType Type;

    /// <summary>The stored rows can be read as they lie.</summary>
    public readonly bool IsPlain => Type == DType.F32 && !Transposed;

    /// <summary>Element (row, column) of a plain matrix.</summary>
    public readonly float* At(int row, int column) => (float*)Data + (nint)row * Stride + column;

    /// <summary>
    /// Packs a strip of the factor: target[k · width + i] = op(matrix)(first + i, k0 + k) for A (<paramref name="along"/>
    /// false), or op(matrix)(k0 + k, first + i) for B; i beyond <paramref name="count"/> is padded with zeros.
    /// </summary>
    public readonly void Pack(float* target, int width, int first, int count, int k0, int depth, bool along)
    {
        // The strip's index runs along stored rows (contiguous) for a plain B or a transposed A.
        if (along == Transposed)
            PackAcross(target, width, first, count, k0, depth);
        else
            PackAlong(target, width, first, count, k0, depth);
    }

    /// <summary>Strip elements are neighbours in a stored row; each k is another stored row.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void PackAlong(float* target, int width, int first, int count, int k0, int depth)
    {
        float* wide = stackalloc float[64];
        for (int k = 0; k < depth; k++, target += width)
        {
            float* source = Type == DType.F32 ? At(k0 + k, first) : Widen(k0 + k, first, count, wide);
            int i = 0;
            for (; i <= count - 4; i += 4)
                Vector128.Load(source + i).Store(target + i);
            for (; i < count; i++)
                target[i] = source[i];
            for (; i < width; i++)
                target[i] = 0;
        }
    }

    /// <summary>Each strip element is a stored row; k runs along it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void PackAcross(float* target, int width, int first, int count, int k0, int depth)
    {
        int i = 0;
        if (Type == DType.F32)
        {
            CpuTranspose.Run(At(first, k0), Stride, count, depth, target, width);
            i = count;
        }

        float* wide = stackalloc float[DTypes.QuantizedBlock];
        for (; i < count; i++)
        {
            for (int start = 0; start < depth; start += DTypes.QuantizedBlock)
            {
                int length = Math.Min(DTypes.QuantizedBlock, depth - start);
                float* source = Widen(first + i, k0 + start, length, wide);
                for (int k = 0; k < length; k++)
                    target[(start + k) * width + i] = source[k];
            }
        }

        for (; i < width; i++)
        {
            for (int k = 0; k < depth; k++)
                target[k * width + i] = 0;
        }
    }

    /// <summary>Neighbours of a stored row as f32, at <paramref name="target"/>.</summary>
    public readonly float* Widen(int row, int column, int count, float* target)
    {
        nint start = (nint)row * Stride + column;
        if (Type == DType.F32)
            return (float*)Data + start;
        if (Type == DType.BF16)
        {
            Bf16.Widen(new ReadOnlySpan<ushort>((ushort*)Data + start, count), new Span<float>(target, count));
            return target;
        }

        float* scales = Scales + (nint)row * ScaleStride;
        for (int i = 0; i < count; i++)
            target[i] = ((sbyte*)Data)[start + i] * scales[(column + i) / DTypes.QuantizedBlock];
        return target;
    }
}
