using ILGpuOptim.Compute;

namespace PeerBenchmarks.Workloads;

/// <summary>Records the products that another device computes, for steps whose number of products depends on their results.</summary>
internal sealed class ProductRecorder(Device inner) : DelegatingDevice(inner)
{
    /// <summary>The products, in their order.</summary>
    public List<GemmArguments> Products { get; } = [];

    protected internal override void GemmCore<R>(in GemmArguments g, in R epilogue, ReadOnlySpan<Operand> operands)
    {
        Products.Add(g);
        base.GemmCore(g, epilogue, operands);
    }
}
