using ILGPU;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>The arguments of a map or row program, except its rule.</summary>
internal struct GpuArguments
{
    public GpuOperand A, B, C, D, E, F;

    /// <summary>The size of the rectangle; one row if it is flat.</summary>
    public long Rows, Columns;

    /// <summary>Groups along the columns; for row programs, rows per group.</summary>
    public int Across;

    public GpuArguments(ReadOnlySpan<Operand> operands, long rows, long columns, ArrayView<float> nothing)
    {
        GpuOperand none = GpuOperand.None(nothing);
        A = operands.Length > 0 ? GpuOperand.From(operands[0], rows, columns, nothing) : none;
        B = operands.Length > 1 ? GpuOperand.From(operands[1], rows, columns, nothing) : none;
        C = operands.Length > 2 ? GpuOperand.From(operands[2], rows, columns, nothing) : none;
        D = operands.Length > 3 ? GpuOperand.From(operands[3], rows, columns, nothing) : none;
        E = operands.Length > 4 ? GpuOperand.From(operands[4], rows, columns, nothing) : none;
        F = operands.Length > 5 ? GpuOperand.From(operands[5], rows, columns, nothing) : none;
        Rows = rows;
        Columns = columns;
    }

    /// <summary>Replaces operand <paramref name="index"/> by its partial sums.</summary>
    public void SetSums(int index, ArrayView<float> rows, ArrayView<float> columns)
    {
        var sums = new GpuOperand { Data = rows.Cast<byte>(), Factor = columns };
        switch (index)
        {
            case 0: A = sums; break;
            case 1: B = sums; break;
            case 2: C = sums; break;
            case 3: D = sums; break;
            case 4: E = sums; break;
            default: F = sums; break;
        }
    }
}
