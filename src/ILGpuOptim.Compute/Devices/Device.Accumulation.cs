using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute;

// Operand.Accumulate, implemented once for all devices.
public abstract partial class Device
{
    private void MapAccumulating<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands) where R : unmanaged, IMap6
    {
        SixOperands memory = default;
        Span<Operand> changed = memory[..operands.Length];
        int flags = Separate(R.Access, rows, columns, operands, changed);
        if (flags == 0)
            MapCore(rule, rows, columns, changed);
        else
            MapCore(new Accumulating<R>(rule, flags), rows, columns, changed);
        Join(rows, columns, operands, changed);
    }

    private void RowProgramAccumulating<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands) where R : unmanaged, IRowRule
    {
        SixOperands memory = default;
        Span<Operand> changed = memory[..operands.Length];
        int flags = Separate(R.Access, rows, columns, operands, changed);
        if (flags == 0)
            RowProgramCore(rule, rows, columns, changed);
        else
            RowProgramCore(new AccumulatingRows<R>(rule, flags), rows, columns, changed);
        Join(rows, columns, operands, changed);
    }

    private static bool AnyAccumulates(ReadOnlySpan<Operand> operands)
    {
        foreach (ref readonly Operand operand in operands)
        {
            if (operand.Accumulate)
                return true;
        }

        return false;
    }

    /// <summary>
    /// Returns a bit for each operand that the kernel itself can accumulate, and gives the other accumulating operands temporary
    /// memory: sums, and all operands of a row program that writes an element per row, which its threads must not read meanwhile.
    /// </summary>
    private int Separate(Access access, long rows, long columns, ReadOnlySpan<Operand> operands, Span<Operand> changed)
    {
        operands.CopyTo(changed);
        bool writesRows = false;
        for (int k = 0; k < operands.Length; k++)
            writesRows |= access.Writes(k) && operands[k].Layout == Layout.PerRow;
        int flags = 0;
        for (int k = 0; k < operands.Length; k++)
        {
            ref readonly Operand operand = ref operands[k];
            if (!operand.Accumulate)
                continue;
            if (access.Writes(k) && (!writesRows || rows == 0 || columns == 0))
                flags |= 1 << k;
            else
                changed[k] = new Operand(Pool.Rent(operand.Layout == Layout.Full ? rows * columns : LengthOf(operand.Layout, rows, columns)), operand.Layout) { Accumulate = true };
        }

        return flags;
    }

    /// <summary>Adds the temporary results to their targets and returns the temporary memory.</summary>
    private void Join(long rows, long columns, ReadOnlySpan<Operand> operands, ReadOnlySpan<Operand> changed)
    {
        for (int k = 0; k < operands.Length; k++)
        {
            if (!operands[k].Accumulate || ReferenceEquals(operands[k].Block.Memory, changed[k].Block.Memory))
                continue;
            Operand target = operands[k] with { Accumulate = false };
            Block added = changed[k].Block;
            if (target.Layout == Layout.Full)
                MapCore(new Lift2<AddRule>(new AddRule()), rows, columns, [target, added]);
            else
                MapCore(new Lift2<AddRule>(new AddRule()), 1, added.Length, [target.Block, added]);
            Pool.Return(added);
        }
    }

    private static long LengthOf(Layout layout, long rows, long columns) => layout switch
    {
        Layout.PerRow => rows,
        Layout.PerColumn => columns,
        Layout.RowsAndColumns => rows + columns,
        _ => 1,
    };

    [InlineArray(6)]
    private struct SixOperands
    {
        private Operand first;
    }
}
