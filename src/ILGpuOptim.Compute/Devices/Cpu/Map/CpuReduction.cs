using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>Adding the elements of maps and row programs, and their partial sums.</summary>
internal static unsafe class CpuReduction
{
    /// <summary>Adds a vector to the sum of its row, and to the sums of its columns if there are any.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static L Add<L, R>(int k, L value, float* columns, long i, L sum)
        where L : struct, IVectorLane<L>
        where R : unmanaged, IRule
    {
        if (columns != null)
            L.Store(Join<L, R>(k, L.Load(columns + i), value), columns + i);
        return Join<L, R>(k, sum, value);
    }

    /// <summary>The sum, or largest, of a vector's elements.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Fold<L, R>(int k, L value)
        where L : struct, IVectorLane<L>
        where R : unmanaged, IRule =>
        AccessOf<R>.Value.At(k) == Slot.Max ? L.MaxElement(value) : L.Sum(value);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static L Join<L, R>(int k, L total, L value)
        where L : struct, ILane<L>
        where R : unmanaged, IRule =>
        AccessOf<R>.Value.At(k) == Slot.Max ? L.Max(value, total) : total + value;

    /// <summary>Allocates the partial sums of a launch; if one piece covers an axis, its sums are written to the operand.</summary>
    public static void Prepare(Access access, CpuOperand* operands, CpuPartials* partials, in CpuGrid grid, CpuScratch scratch)
    {
        for (int k = 0; k < Access.MaxOperands; k++)
        {
            partials[k] = default;
            if (!access.Reduces(k))
                continue;
            Layout layout = operands[k].Layout;
            if (layout is Layout.PerRow or Layout.RowsAndColumns)
                partials[k].Rows = grid.ColumnPieces == 1 ? operands[k].Target : scratch.Take<float>(grid.Rows * grid.ColumnPieces);
            if (layout is Layout.PerColumn or Layout.RowsAndColumns)
                partials[k].Columns = grid.RowPieces == 1 ? ColumnTarget(operands[k], grid) : scratch.Take<float>(grid.Columns * grid.RowPieces);
            if (layout == Layout.Scalar)
                partials[k].Totals = scratch.Take<double>(Math.Max(1, grid.Pieces));
        }
    }

    /// <summary>Adds the pieces' partial sums in the order of the pieces.</summary>
    public static void Complete(Access access, CpuOperand* operands, CpuPartials* partials, in CpuGrid grid)
    {
        for (int k = 0; k < Access.MaxOperands; k++)
        {
            if (!access.Reduces(k))
                continue;
            bool max = access.At(k) == Slot.Max;
            if (partials[k].Rows != null)
                Combine(partials[k].Rows, operands[k].Target, grid.Rows, grid.ColumnPieces, max);
            if (partials[k].Columns != null)
                Combine(partials[k].Columns, ColumnTarget(operands[k], grid), grid.Columns, grid.RowPieces, max);
            if (partials[k].Totals != null)
            {
                double total = max ? double.NegativeInfinity : 0;
                for (int i = 0; i < grid.Pieces; i++)
                    total = max ? Math.Max(total, partials[k].Totals[i]) : total + partials[k].Totals[i];
                *operands[k].Target = (float)total;
            }
        }
    }

    private static float* ColumnTarget(in CpuOperand operand, in CpuGrid grid) =>
        operand.Layout == Layout.RowsAndColumns ? operand.Target + grid.Rows : operand.Target;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Combine(float* partials, float* target, long count, int pieces, bool max)
    {
        if (pieces == 0)
            new Span<float>(target, (int)count).Fill(max ? float.NegativeInfinity : 0);
        if (pieces == 0 || partials == target)
            return;
        new ReadOnlySpan<float>(partials, (int)count).CopyTo(new Span<float>(target, (int)count));
        for (int piece = 1; piece < pieces; piece++)
        {
            float* values = partials + piece * count;
            long i = 0;
            for (; i <= count - Vector<float>.Count; i += Vector<float>.Count)
            {
                Vector<float> total = Vector.Load(target + i), value = Vector.Load(values + i);
                Vector.Store(max ? Vector.Max(value, total) : total + value, target + i);
            }

            for (; i < count; i++)
                target[i] = max ? MathF.Max(values[i], target[i]) : target[i] + values[i];
        }
    }
}

/// <summary>Scratch memory of one launch, allocated in pieces and released at the next launch.</summary>
internal sealed unsafe class CpuScratch : IDisposable
{
    private readonly List<nint> full = [];
    private byte* block;
    private long size;
    private long used;

    /// <summary>Makes everything free again.</summary>
    public void Reset()
    {
        foreach (nint pointer in full)
            NativeMemory.AlignedFree((void*)pointer);
        full.Clear();
        used = 0;
    }

    /// <summary>Room for <paramref name="count"/> elements, 64-byte aligned, valid until <see cref="Reset"/>.</summary>
    public T* Take<T>(long count) where T : unmanaged
    {
        long bytes = (count * sizeof(T) + 63) & ~63L;
        if (block == null || used + bytes > size)
        {
            if (block != null)
                full.Add((nint)block);
            size = Math.Max(1 << 16, 2 * (used + bytes));
            block = (byte*)NativeMemory.AlignedAlloc((nuint)size, 64);
            used = 0;
        }

        byte* result = block + used;
        used += bytes;
        return (T*)result;
    }

    public void Dispose()
    {
        Reset();
        NativeMemory.AlignedFree(block);
        block = null;
        size = 0;
    }
}
