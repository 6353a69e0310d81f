namespace ILGpuOptim.Compute;

/// <summary>Checks sizes, strides and types of a launch against its blocks. <see cref="Device"/> calls it before every launch; kernels check nothing.</summary>
internal static partial class Validate
{
    /// <summary>A block's elements lie within its memory. (Scales of I8 and padding of 4-bit rows depend on the rectangle: see <see cref="Operand"/>.)</summary>
    public static void Extent(in Block block)
    {
        int shift = block.Type is DType.F32 or DType.I32 ? 2 : block.Type is DType.BF16 ? 1 : 0;
        long room = block.Memory.Bytes - block.Offset;
        if (block.Type.IsInt4() && block.Offset == 0 && block.Length >= 0 && block.Length / 2 <= room)
            return;
        if (block.Offset < 0 || block.Length < 0 || (block.Offset & ((1 << shift) - 1)) != 0 || block.Length > room >> shift || (shift == 0 && block.Type.Bytes(1, block.Length) > room))
            throw OutOfMemory(block);
    }

    // Messages are composed apart from the checks: a method that composes one prepares for it at each call.
    private static ArgumentException OutOfMemory(Block block) =>
        new($"{block.Length} elements of {block.Type} from byte {block.Offset} on do not lie within memory of {block.Memory.Bytes} bytes");

    /// <summary>The number of bytes to copy lies within the block's stored bytes.</summary>
    public static void Bytes(in Block block, long bytes)
    {
        // The number of scales depends on the rows, which a block does not know.
        long stored = block.Type == DType.I8 || block.Type.IsInt4() ? block.Memory.Bytes - block.Offset : block.Type.Bytes(1, block.Length);
        if (bytes < 0 || bytes > stored)
            throw new ArgumentException($"{bytes} bytes exceed the block of {stored} bytes");
    }

    /// <summary>Sizes of a rectangle whose bytes can be counted.</summary>
    public static void Rectangle(long rows, long columns)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(rows);
        ArgumentOutOfRangeException.ThrowIfNegative(columns);
        if (Math.BigMul(rows, columns) > long.MaxValue / 16)
            throw TooMany(rows, columns);
    }

    private static ArgumentOutOfRangeException TooMany(long rows, long columns) => new(nameof(columns), $"{rows} × {columns} elements are more than any memory holds");

    /// <summary>A block holds so many packed rows.</summary>
    public static void Table(string name, in Block block, long rows, long columns)
    {
        if (columns is < 0 or > int.MaxValue)
            throw new ArgumentOutOfRangeException(nameof(columns), columns, "rows have 0 to 2^31 - 1 elements");
        if (Math.BigMul(rows, columns) > block.Length)
            throw new ArgumentException($"{name} has {block.Length} elements; {rows} × {columns} are needed");
    }

    public static void Map<R>(long rows, long columns, ReadOnlySpan<Operand> operands) where R : unmanaged, IRule
    {
        for (int k = 0; k < Access.MaxOperands; k++)
        {
            if (k >= operands.Length)
            {
                if (R.Access.At(k) != Slot.None)
                    throw new ArgumentException($"{typeof(R).Name}: operand {k} is missing", nameof(operands));
                continue;
            }

            Operand(typeof(R), k, R.Access, rows, columns, operands[k]);
            if (R.Access.Writes(k) && operands[k].Layout != Layout.Full)
                throw new ArgumentException($"{typeof(R).Name}: operand {k} is written, so its layout must be {Layout.Full}, not {operands[k].Layout}", nameof(operands));
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

    private static void Numbers(string name, in Block block, Int128 needed) => Numbers(name, block, DType.F32, needed);

    private static void Numbers(string name, in Block block, DType type, Int128 needed)
    {
        if (block.Type != type)
            throw new ArgumentException($"{name}: expected {type} storage, not {block.Type}");
        if (needed > block.Length)
            throw new ArgumentException($"{name}: {needed} elements are needed; the block has {block.Length}");
    }

    public static void Gemm<R>(in GemmArguments g, ReadOnlySpan<Operand> operands) where R : unmanaged, IRule
    {
        if (g.M < 0 || g.N < 0 || g.K < 0 || g.Batch < 0)
            throw new ArgumentOutOfRangeException(nameof(g), $"negative size: {g.M} × {g.N} × {g.K}, batch {g.Batch}");
        if (g.C.Type is not (DType.F32 or DType.BF16))
            throw new ArgumentException($"C: a product is stored as {DType.F32} or {DType.BF16}, not {g.C.Type}");
        Matrix("A", g.A, g.TransposeA ? g.K : g.M, g.TransposeA ? g.M : g.K, g.StrideA, g.Batch, g.BatchStrideA);
        Matrix("B", g.B, g.TransposeB ? g.N : g.K, g.TransposeB ? g.K : g.N, g.StrideB, g.Batch, g.BatchStrideB);
        Matrix("C", g.C, g.M, g.N, g.StrideC, g.Batch, g.BatchStrideC);
        if (g.Batch > 1 && g.BatchStrideC == 0 && g.M > 0 && g.N > 0)
            throw new ArgumentException("the products of a batch would overwrite each other: BatchStrideC is 0", nameof(g));
        if (g.Batch > 1 && (operands.Length > 0 || g.C.Type != DType.F32) && g.BatchStrideC != (long)g.M * (g.StrideC == 0 ? g.N : g.StrideC))
            throw new ArgumentException("a batched product with an epilogue or a bf16 result must write its matrices one after the other", nameof(g));
        for (int k = 0; k < operands.Length; k++)
        {
            if (R.Access.Reduces(k + 1))
                throw new ArgumentException($"{typeof(R).Name}: an epilogue cannot reduce", nameof(operands));
            if (operands[k].Accumulate)
                throw new ArgumentException($"{typeof(R).Name}: operand {k + 1} of an epilogue cannot accumulate; the product itself can, with Beta", nameof(operands));
            Operand(typeof(R), k + 1, R.Access, (long)g.Batch * g.M, g.N, operands[k]);
        }
    }

    public static void Strided(in Block source, long sourceStart, in Block target, long targetStart, ReadOnlySpan<StridedAxis> axes)
    {
        Int128 least = sourceStart, most = sourceStart, last = targetStart;
        foreach (StridedAxis axis in axes)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(axis.Size);
            if (axis.Size == 0)
                return;
            if (axis.TargetStride < 1)
                throw new ArgumentException($"a target stride of {axis.TargetStride} is not positive", nameof(axes));
            Int128 reach = (Int128)(axis.Size - 1) * axis.SourceStride;
            least += Int128.Min(reach, 0);
            most += Int128.Max(reach, 0);
            last += (Int128)(axis.Size - 1) * axis.TargetStride;
        }

        if (least < 0 || most >= source.Length)
            throw new ArgumentException($"a strided copy reads elements {least} to {most}; the source has {source.Length}");
        if (targetStart < 0 || last >= target.Length)
            throw new ArgumentException($"a strided copy writes elements {targetStart} to {last}; the target has {target.Length}");
        StridedAxis[] sorted = axes.ToArray();
        Array.Sort(sorted, static (a, b) => a.TargetStride.CompareTo(b.TargetStride));
        Int128 extent = 1;
        foreach (StridedAxis axis in sorted)
        {
            if (axis.Size > 1 && axis.TargetStride < extent)
                throw new ArgumentException($"a strided copy writes elements twice: the target stride {axis.TargetStride} is less than the {extent} elements that the inner axes cover", nameof(axes));
            extent += (Int128)(axis.Size - 1) * axis.TargetStride;
        }

        if (ReferenceEquals(source.Memory, target.Memory) && source.Offset / 4 + most >= target.Offset / 4 + targetStart && target.Offset / 4 + last >= source.Offset / 4 + least)
            throw new ArgumentException("a strided copy reads and writes the same part of a block");
    }

    /// <summary>The elements of a block can be read and written one by one, or by blocks in a row.</summary>
    public static void Elements(in Block block)
    {
        if (block.Type.IsInt4())
            throw new NotSupportedException($"{block.Type} storage is read by products only; widen it with {nameof(Int4)}.{nameof(Int4.Widen)}");
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
            throw ShortStride(name, stride, columns);
        if (batchStride < 0)
            throw NegativeStride(name, batchStride);
        Int128 last = (Int128)(batch - 1) * batchStride + (Int128)(rows - 1) * (stride == 0 ? columns : stride) + columns;
        if (last > block.Length)
            throw TooLarge(name, block, rows, columns, batch, last);
        if (block.Type is DType.F32 or DType.BF16)
            return;
        if ((block.Type == DType.I8 || block.Type.IsInt4()) && block.Type.Bytes(rows, columns) > block.Memory.Bytes - block.Offset)
            throw NoScales(name, rows, columns);
        if (block.Type == DType.I32 || block.Type.IsFloat8() || (block.Type.IsInt4() && name != "B") || (block.Type.SharesScales() && (batch > 1 || (stride != 0 && stride != columns))))
            throw NoFactor(name, block);

        static ArgumentException ShortStride(string name, int stride, long columns) => new($"{name}: a stride of {stride} is less than its {columns} columns");
        static ArgumentException NegativeStride(string name, long stride) => new($"{name}: a batch stride of {stride} is negative");
        static ArgumentException TooLarge(string name, Block block, long rows, long columns, int batch, Int128 last) => new($"{name}: {rows} × {columns} (batch {batch}) reaches element {last} of a block of {block.Length}");
        static ArgumentException NoScales(string name, long rows, long columns) => new($"{name}: the scales of {rows} × {columns} elements do not lie within the block");
        static ArgumentException NoFactor(string name, Block block) => new($"{name}: {block.Type} storage cannot be a factor here");
    }

    private static void Operand(Type rule, int k, Access access, long rows, long columns, in Operand operand)
    {
        if (rows < 0 || columns < 0)
            throw new ArgumentOutOfRangeException(nameof(rows), $"negative size: {rows} × {columns}");
        Elements(operand.Block);
        if (operand.Block.Type.IsFloat8() && (operand.Layout != Layout.Full || (rows > 1 && columns % DTypes.QuantizedBlock != 0) || (operand.Stride != 0 && operand.Stride != columns) || operand.Block.Offset != 0))
            throw new ArgumentException($"{rule.Name}: operand {k}: 8-bit floats share a scale per {DTypes.QuantizedBlock} elements; use one row, or a multiple of {DTypes.QuantizedBlock} columns");
        Int128 needed = operand.Layout switch
        {
            Layout.Full => rows == 0 || columns == 0 ? 0 : (Int128)(rows - 1) * (operand.Stride == 0 ? columns : operand.Stride) + columns,
            Layout.PerRow => rows,
            Layout.PerColumn => columns,
            Layout.RowsAndColumns => (Int128)rows + columns,
            Layout.Scalar => 1,
            _ => throw new ArgumentOutOfRangeException(nameof(operand), operand.Layout, $"{rule.Name}: operand {k} has an unknown layout"),
        };
        if (operand.Block.Length < needed)
            throw new ArgumentException($"{rule.Name}: operand {k} ({operand.Layout}) has {operand.Block.Length} elements; {rows} × {columns} needs {needed}");
        if (operand.Stride != 0 && operand.Stride < columns)
            throw new ArgumentException($"{rule.Name}: operand {k} has a stride of {operand.Stride}, less than its {columns} columns");
        if (operand.Block.Type == DType.I8)
            Scales(rule, k, operand, rows, columns);
        bool reduces = access.Reduces(k);
        bool floats = operand.Block.Type is DType.F32 or DType.BF16;
        if (reduces ? operand.Layout == Layout.Full || !floats : operand.Layout == Layout.RowsAndColumns)
            throw new ArgumentException($"{rule.Name}: operand {k} cannot be {operand.Layout} of {operand.Block.Type} when it is {access.At(k)}");
        if (operand.Accumulate && (access.At(k) is not (Slot.Write or Slot.Sum) || !floats))
            throw new ArgumentException($"{rule.Name}: operand {k} accumulates, so it must be written or summed as {DType.F32} or {DType.BF16}; it is {access.At(k)} of {operand.Block.Type}");
        if (operand.Factor is not { } factor)
            return;
        if (access.At(k) != Slot.Read)
            throw new ArgumentException($"{rule.Name}: operand {k} has a factor, so it must be read only");
        Numbers($"{rule.Name}: the factor of operand {k}", factor, 1);
    }

    /// <summary>I8 storage is packed rows, or a row for each column's element, and its scales lie behind the elements.</summary>
    private static void Scales(Type rule, int k, in Operand operand, long rows, long columns)
    {
        if (operand.Layout is not (Layout.Full or Layout.PerColumn) || (operand.Stride != 0 && operand.Stride != columns))
            throw new ArgumentException($"{rule.Name}: operand {k}: {DType.I8} storage must be whole or per column, without a stride");
        if (DType.I8.Bytes(operand.Layout == Layout.Full ? rows : 1, columns) > operand.Block.Memory.Bytes - operand.Block.Offset)
            throw new ArgumentException($"{rule.Name}: operand {k}: the scales of {rows} × {columns} elements do not lie within the block");
    }
}
