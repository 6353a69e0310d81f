using ILGpuOptim.Compute;

namespace ILGpuOptim.Optim;

/// <summary>
/// Estimates the cost of an update by running it on a device that computes nothing: the bytes that its kernels read and write, and the multiplications of
/// its matrix products.
/// </summary>
internal sealed class UpdateCost : DryDevice
{
    /// <summary>How many multiplications of a matrix product take as long as one byte of memory traffic; between 10 and 30 on present devices.</summary>
    private const double ProductsPerByte = 16;

    private double cost;

    /// <summary>The cost of one update, in bytes of memory traffic.</summary>
    public static double Of(OptimizerEntry entry, StateStorage storage, Parameter parameter, OptimizerOptions options)
    {
        using var device = new UpdateCost();
        using Optimizer optimizer = entry.Create(storage);
        if (optimizer is ILowRankOptimizer lowRank)
            lowRank.ComputesNoBases = true;
        if (optimizer is IBasisOptimizer bases)
            bases.ComputesNoBases = true;
        var copy = new Parameter(device, parameter.Name, parameter.Data.Type, [.. parameter.Shape]);
        optimizer.Add(copy, options);
        var gradients = new Gradients(device);
        _ = gradients.Target(copy, out _);
        device.cost = 0;
        optimizer.Step(gradients);
        return device.cost;
    }

    /// <inheritdoc/>
    protected override void CopyCore(in Block source, in Block target)
    {
        Count(source, source.Length);
        Count(target, target.Length);
    }

    /// <inheritdoc/>
    protected override void MapCore<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands) => Count(operands, rows, columns);

    /// <inheritdoc/>
    protected override void RowProgramCore<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands) => Count(operands, rows, columns);

    /// <inheritdoc/>
    protected override void GemmCore<R>(in GemmArguments arguments, in R epilogue, ReadOnlySpan<Operand> operands) => Count(arguments);

    /// <inheritdoc/>
    protected override void GemmCore(ReadOnlySpan<GemmArguments> products)
    {
        foreach (ref readonly GemmArguments product in products)
            Count(product);
    }

    private void Count(in GemmArguments product) => cost += (double)product.M * product.N * product.K / ProductsPerByte;

    private void Count(ReadOnlySpan<Operand> operands, long rows, long columns)
    {
        foreach (ref readonly Operand operand in operands)
            Count(operand.Block, Math.Min(operand.Block.Length, rows * columns));
    }

    private void Count(in Block block, long elements) => cost += block.Type.Bytes(1, elements);
}
