namespace ILGpuOptim.Compute;

// Matrix products.
public sealed partial class GpuDevice
{
    /// <inheritdoc/>
    public override void Gemm<R>(in GemmArguments arguments, in R epilogue, ReadOnlySpan<Operand> operands) =>
        throw new NotSupportedException("products");
}
