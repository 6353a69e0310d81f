using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute;

// Operand.Accumulate and sums stored in bf16, implemented once for all devices.
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

    private static bool AnyAccumulates(Access access, ReadOnlySpan<Operand> operands)
    {
        for (int k = 0; k < operands.Length; k++)
        {
            if (operands[k].Accumulate || IsNarrowSum(access, k, operands[k]))
                return true;
        }

        return false;
    }

    /// <summary>True for a sum that is stored in fewer than 32 bits: kernels sum in f32.</summary>
    private static bool IsNarrowSum(Access access, int k, in Operand operand) => operand.Block.Type != DType.F32 && access.Reduces(k);

    /// <summary>
    /// Returns a bit for each operand that the kernel itself can accumulate, and gives the other accumulating operands temporary f32
    /// memory: sums, also those that replace a narrow target, and all operands of a row program that writes an element per row, which its threads must not read meanwhile.
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
            if (!operand.Accumulate && !IsNarrowSum(access, k, operand))
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
            if (ReferenceEquals(operands[k].Block.Memory, changed[k].Block.Memory))
                continue;
            Operand target = operands[k] with { Accumulate = false };
            Block added = changed[k].Block;
            (long height, long width) = target.Layout == Layout.Full ? (rows, columns) : (1, added.Length);
            if (target.Layout != Layout.Full)
                target = target.Block;
            if (operands[k].Accumulate)
                MapCore(new Lift2<AddRule>(new AddRule()), height, width, [target, added]);
            else
                MapCore(new Lift2<CopyRule>(new CopyRule()), height, width, [added, target]);
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
