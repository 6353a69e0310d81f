using System.Runtime.CompilerServices;
using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>The arguments of <see cref="GpuGemmPacking.Pack"/>.</summary>
internal struct GpuGemmPackArguments
{
    public ArrayView<byte> Source, Target;

    /// <summary>The stored rows of all matrices and of one, their elements, and the elements from row to row and from matrix to matrix.</summary>
    public int AllLines, Lines, Length, Stride;

    /// <inheritdoc cref="AllLines"/>
    public long BatchStride;
}

/// <summary>A factor as it is stored, and as <see cref="GpuGemmPacking"/> stores it.</summary>
/// <param name="Block">The memory.</param>
/// <param name="Lines">Stored rows of a matrix.</param>
/// <param name="Length">Elements of a row.</param>
/// <param name="Stride">Elements from row to row.</param>
/// <param name="Matrices">The number of different matrices.</param>
/// <param name="BatchStride">Elements from matrix to matrix; 0 if there is one.</param>
internal readonly record struct GpuFactorLayout(Block Block, int Lines, int Length, int Stride, int Matrices, long BatchStride)
{
    /// <summary>Bytes of an element that tensor cores multiply.</summary>
    public static int BytesOf(Precision precision) => precision == Precision.BF16 ? 2 : 4;

    /// <summary>True if tensor cores can read it: it has their type, and its rows start at multiples of 16 bytes.</summary>
    public bool IsReadAsIs(Precision precision)
    {
        int bytes = BytesOf(precision);
        return Block.Type == (bytes == 2 ? DType.BF16 : DType.F32) && GpuOperand.IsAligned(Block) && (long)Stride * bytes % 16 == 0 && BatchStride * bytes % 16 == 0;
    }

    /// <summary>Elements from row to row after packing.</summary>
    public int PackedStride(Precision precision)
    {
        int unit = 16 / BytesOf(precision);
        return (Length + unit - 1) / unit * unit;
    }

    /// <summary>Elements from matrix to matrix after packing; 0 if there is one.</summary>
    public long PackedBatchStride(Precision precision) => BatchStride == 0 ? 0 : PackedSize(precision);

    /// <summary>Elements of a matrix after packing.</summary>
    public long PackedSize(Precision precision) => (long)Lines * PackedStride(precision);
}

/// <summary>
/// Copies a factor of a product into the form that tensor cores read: f32 or bf16, in rows that start at multiples of 16 bytes and end with zeros. For factors that are stored otherwise.
/// </summary>
internal static class GpuGemmPacking
{
    /// <summary>Threads of a group.</summary>
    public const int Threads = 256;

    /// <summary>Bits of a kernel's constant beside the source's type: the target is bf16, the source can be loaded as 16-byte vectors.</summary>
    public const int Narrows = 16, Vectors = 32;

    /// <summary>Each thread writes 16 bytes.</summary>
    public static void Pack(GpuGemmPackArguments x, SpecializedValue<int> format)
    {
        bool narrows = (format.Value & Narrows) != 0;
        int count = narrows ? 8 : 4, across = (x.Length + count - 1) / count, unit = Grid.IdxX * Threads + Group.IdxX, line = unit / across, k = (unit - line * across) * count;
        if (line >= x.AllLines)
            return;
        int batch = line / x.Lines, row = line - batch * x.Lines;
        Float4 first = Load(x, format.Value, batch, row, k);
        if (narrows)
        {
            Float4 second = Load(x, format.Value, batch, row, k + 4);
            x.Target.Cast<Float4>()[unit] = new Float4(Pair(first.A, first.B), Pair(first.C, first.D), Pair(second.A, second.B), Pair(second.C, second.D));
        }
        else
        {
            x.Target.Cast<Float4>()[unit] = first;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Float4 Load(GpuGemmPackArguments x, int format, int batch, int row, int k)
    {
        long start = batch * x.BatchStride;
        if ((format & Vectors) != 0)
            return k >= x.Length ? default : x.Source.Cast<Float4>()[(start + (long)row * x.Stride + k) >> 2].Before(x.Length - k, 0);
        return new Float4(Read(x, format, start, row, k), Read(x, format, start, row, k + 1), Read(x, format, start, row, k + 2), Read(x, format, start, row, k + 3));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float Read(GpuGemmPackArguments x, int format, long start, int row, int k) =>
        GpuGemmKernels.Read(x.Source, (DType)(format & 15), start, false, row, k, x.Lines, x.Length, x.Stride);

    /// <summary>Two bf16 in the bits of a float.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Pair(float low, float high) => Interop.IntAsFloat(Bf16.Narrow(low) | (uint)Bf16.Narrow(high) << 16);
}
