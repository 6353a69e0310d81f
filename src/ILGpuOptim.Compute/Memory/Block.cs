using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute;

/// <summary>One allocation on a device; its contents are undefined when <see cref="MemoryPool"/> rents it. Each device derives a class.</summary>
public abstract class DeviceMemory
{
    /// <summary>The device whose pool holds the memory. The pool sets it.</summary>
    public Device Device { get; internal set; } = null!;

    /// <summary>The usable bytes.</summary>
    public abstract long Bytes { get; }

    /// <summary>The number of returns. Blocks of earlier leases must not be used any more.</summary>
    internal int Lease { get; set; }

    /// <summary>The list of its pool to which it returns.</summary>
    internal IdleMemory? Idle { get; set; }

    /// <summary>The next of the same list.</summary>
    internal DeviceMemory? Next { get; set; }

    /// <summary>Releases the memory to the operating system or the driver; called once.</summary>
    protected internal abstract void Free();
}

/// <summary>A typed range of device memory.</summary>
/// <param name="Memory">The allocation.</param>
/// <param name="Offset">The start of the range, in bytes; a multiple of the element size.</param>
/// <param name="Length">The number of elements.</param>
/// <param name="Type">The storage type.</param>
public readonly record struct Block(DeviceMemory Memory, long Offset, long Length, DType Type)
{
    /// <summary>The lease of the memory that the block belongs to.</summary>
    internal int Lease { get; init; }

    /// <summary>True after the memory was returned to its pool; the block must not be used any more.</summary>
    public bool IsReturned
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => Memory is null || Memory.Lease != Lease;
    }

    /// <summary>Elements <paramref name="start"/> to <paramref name="start"/> + <paramref name="length"/> (not of types whose elements share scales).</summary>
    /// <exception cref="ArgumentOutOfRangeException">They are outside the block.</exception>
    /// <exception cref="NotSupportedException">Elements share scales, so a slice has none of its own.</exception>
    public Block Slice(long start, long length)
    {
        if (start < 0 || length < 0 || start > Length - length)
            throw new ArgumentOutOfRangeException(nameof(start), $"{length} elements from {start} on are out of range; the block has {Length}");
        if (Type.SharesScales() && length != Length)
            throw new NotSupportedException($"{Type} storage cannot be sliced: its scales belong to the whole block");
        return this with { Offset = Offset + Type.Bytes(1, start), Length = length };
    }
}

/// <summary>The axes of a rectangle along which an operand has separate elements.</summary>
public enum Layout
{
    /// <summary>rows × columns elements, row-major.</summary>
    Full,

    /// <summary>One element per row.</summary>
    PerRow,

    /// <summary>One element per column.</summary>
    PerColumn,

    /// <summary>A single element.</summary>
    Scalar,

    /// <summary>Only for sums: one element per row, then one per column, in one block of rows + columns elements.</summary>
    RowsAndColumns,
}

/// <summary>A block as an argument of a rule.</summary>
/// <param name="Block">The memory.</param>
/// <param name="Layout">The axes along which it has separate elements.</param>
/// <param name="Stride">Elements from one row to the next of a <see cref="Layout.Full"/> operand; 0 means the number of columns.</param>
/// <param name="Factor">When not null, a device f32 scalar that multiplies each element as it is read (read-only operands).</param>
public readonly record struct Operand(Block Block, Layout Layout = Layout.Full, long Stride = 0, Block? Factor = null)
{
    /// <summary>
    /// If not 0, results stored in fewer than 32 bits are rounded stochastically (see <see cref="Rounding"/>) with this seed; 0 rounds to the nearest.
    /// Each launch needs its own.
    /// </summary>
    public uint Seed { get; init; }

    /// <summary>
    /// Adds the result to the target instead of replacing it. For F32 operands that a map or row program writes or sums. A sum is
    /// added after it was computed, so the result is the sum plus the old value.
    /// </summary>
    public bool Accumulate { get; init; }

    /// <summary>Neighbouring elements of the block, with everything else unchanged.</summary>
    public Operand Slice(long start, long length) => this with { Block = Block.Slice(start, length) };

    /// <summary>A full operand.</summary>
    public static implicit operator Operand(Block block) => new(block);

    /// <summary>One element per row.</summary>
    public static Operand PerRow(Block block) => new(block, Layout.PerRow);

    /// <summary>One element per column.</summary>
    public static Operand PerColumn(Block block) => new(block, Layout.PerColumn);

    /// <summary>A single element.</summary>
    public static Operand Scalar(Block block) => new(block, Layout.Scalar);

    /// <summary>Sums over both axes in one pass: rows totals, then columns totals.</summary>
    public static Operand RowsAndColumns(Block block) => new(block, Layout.RowsAndColumns);
}
