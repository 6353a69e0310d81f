namespace ILGpuOptim.Compute;

/// <summary>What every device checks before a launch: kernels themselves check nothing.</summary>
internal static class Validate
{
    public static void Map<R>(long rows, long columns, ReadOnlySpan<Operand> operands) where R : unmanaged, IRule
    {
        for (int k = 0; k < Access.MostOperands; k++)
        {
            if (k >= operands.Length)
            {
                if (R.Access.At(k) != Slot.None)
                    throw new ArgumentException($"{typeof(R).Name}: operand {k} is missing", nameof(operands));
                continue;
            }

            Operand(typeof(R), k, R.Access, rows, columns, operands[k]);
            if (R.Access.Writes(k) && operands[k].Layout != Layout.Full)
                throw new ArgumentException($"{typeof(R).Name}: operand {k} is written, so it must have an element everywhere; it is {operands[k].Layout}", nameof(operands));
        }
    }

    public static void Rows<R>(long rows, long columns, ReadOnlySpan<Operand> operands) where R : unmanaged, IRowRule
    {
        for (int k = 0; k < operands.Length; k++)
        {
            Operand(typeof(R), k, R.Access, rows, columns, operands[k]);
            Layout layout = operands[k].Layout;
            if (R.Access.Reduces(k) && (layout != Layout.PerColumn || R.Access.At(k) == Slot.Max))
                throw new ArgumentException($"{typeof(R).Name}: operand {k} of a row program may only be summed per column", nameof(operands));
            if (R.Access.Writes(k) && layout is not (Layout.Full or Layout.PerRow))
                throw new ArgumentException($"{typeof(R).Name}: operand {k} of a row program is written, so it must be whole or per row", nameof(operands));
        }
    }

    public static void Gemm<R>(in GemmArguments g, ReadOnlySpan<Operand> operands) where R : unmanaged, IRule
    {
        if (g.M < 0 || g.N < 0 || g.K < 0 || g.Batch < 0)
            throw new ArgumentOutOfRangeException(nameof(g), $"negative size: {g.M} × {g.N} × {g.K}, batch {g.Batch}");
        Type(g.C, DType.F32);
        Matrix("A", g.A, g.TransposeA ? g.K : g.M, g.TransposeA ? g.M : g.K, g.StrideA, g.Batch, g.BatchStrideA);
        Matrix("B", g.B, g.TransposeB ? g.N : g.K, g.TransposeB ? g.K : g.N, g.StrideB, g.Batch, g.BatchStrideB);
        Matrix("C", g.C, g.M, g.N, g.StrideC, g.Batch, g.BatchStrideC);
        if (g.Batch > 1 && operands.Length > 0 && g.BatchStrideC != (long)g.M * (g.StrideC == 0 ? g.N : g.StrideC))
            throw new ArgumentException("a batched product with an epilogue must write its matrices one after the other", nameof(g));
        for (int k = 0; k < operands.Length; k++)
        {
            if (R.Access.Reduces(k + 1))
                throw new ArgumentException($"{typeof(R).Name}: an epilogue cannot reduce", nameof(operands));
            Operand(typeof(R), k + 1, R.Access, (long)g.Batch * g.M, g.N, operands[k]);
        }
    }

    public static RotationArguments Rotation(in RotationArguments a)
    {
        if (a.Rows < 0 || a.Heads < 0 || a.HeadSize < 0 || a.HeadSize % 2 != 0 || a.Stride < a.Heads * a.HeadSize)
            throw new ArgumentException($"{a.Rows} rows, {a.Stride} elements apart, of {a.Heads} heads of {a.HeadSize} cannot be rotated", nameof(a));
        Type(a.Target, DType.F32);
        Type(a.Angles, DType.F32);
        if (a.Rows > 0 && (a.Angles.Length < (long)a.Rows * a.HeadSize || a.Target.Length < (a.Rows - 1L) * a.Stride + (long)a.Heads * a.HeadSize))
            throw new ArgumentException($"{a.Rows} rows of {a.Heads} heads of {a.HeadSize} exceed {a.Target.Length} elements or {a.Angles.Length} angles", nameof(a));
        return a;
    }

    public static void Length(long length, in Block block)
    {
        if (length != block.Length)
            throw new ArgumentException($"{length} elements do not fit a block of {block.Length}");
    }

    public static void Type(in Block block, DType type)
    {
        if (block.Type != type)
            throw new ArgumentException($"expected {type} storage, not {block.Type}");
    }

    private static void Matrix(string name, in Block block, long rows, long columns, int stride, int batch, long batchStride)
    {
        if (rows == 0 || columns == 0 || batch == 0)
            return;
        if (stride != 0 && stride < columns)
            throw new ArgumentException($"{name}: a stride of {stride} is less than its {columns} columns");
        long last = (batch - 1) * batchStride + (rows - 1) * (stride == 0 ? columns : stride) + columns;
        if (last > block.Length)
            throw new ArgumentException($"{name}: {rows} × {columns} (batch {batch}) reaches element {last} of a block of {block.Length}");
        if (block.Type == DType.I32 || (block.Type == DType.I8 && (batch > 1 || (stride != 0 && stride != columns))))
            throw new ArgumentException($"{name}: {block.Type} storage cannot be a factor here");
    }

    private static void Operand(Type rule, int k, Access access, long rows, long columns, in Operand operand)
    {
        if (rows < 0 || columns < 0)
            throw new ArgumentOutOfRangeException(nameof(rows), $"negative size: {rows} × {columns}");
        if (operand.Block.Memory is null)
            throw new ArgumentException($"{rule.Name}: operand {k} has no memory");
        if (operand.Block.Type.IsFloat8() && (operand.Layout != Layout.Full || (rows > 1 && columns % DTypes.QuantizedBlock != 0) || (operand.Stride != 0 && operand.Stride != columns) || operand.Block.Offset != 0))
            throw new ArgumentException($"{rule.Name}: operand {k}: 8-bit floats are whole blocks; use them in one row, or in rows of a multiple of {DTypes.QuantizedBlock} columns");
        long needed = operand.Layout switch
        {
            Layout.Full => rows == 0 || columns == 0 ? 0 : (rows - 1) * (operand.Stride == 0 ? columns : operand.Stride) + columns,
            Layout.PerRow => rows,
            Layout.PerColumn => columns,
            Layout.RowsAndColumns => rows + columns,
            _ => 1,
        };
        if (operand.Block.Length < needed)
            throw new ArgumentException($"{rule.Name}: operand {k} ({operand.Layout}) has {operand.Block.Length} elements; {rows} × {columns} needs {needed}");
        if (operand.Stride != 0 && operand.Stride < columns)
            throw new ArgumentException($"{rule.Name}: operand {k} has a stride of {operand.Stride}, less than its {columns} columns");
        bool reduces = access.Reduces(k);
        if (reduces ? operand.Layout == Layout.Full || operand.Block.Type != DType.F32 : operand.Layout == Layout.RowsAndColumns)
            throw new ArgumentException($"{rule.Name}: operand {k} cannot be {operand.Layout} of {operand.Block.Type} when it is {access.At(k)}");
        if (operand.Factor is not null && access.At(k) != Slot.Read)
            throw new ArgumentException($"{rule.Name}: operand {k} has a factor, so it must be read only");
    }
}
