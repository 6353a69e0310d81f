using ILGPU;
using ILGPU.Runtime;
using ILGpuOptim.Compute.Gpu;

namespace ILGpuOptim.Compute;

// Matrix products.
public sealed partial class GpuDevice
{
    private readonly Dictionary<Type, Delegate> products = [];

    /// <inheritdoc/>
    public override void Gemm<R>(in GemmArguments arguments, in R epilogue, ReadOnlySpan<Operand> operands)
    {
        GemmArguments g = arguments;
        Validate.Gemm<R>(g, operands);
        if (g.M == 0 || g.N == 0 || g.Batch == 0)
            return;
        long rows = (long)g.Batch * g.M;
        GpuOperand At(ReadOnlySpan<Operand> operands, int k) =>
            k < operands.Length ? GpuOperand.From(operands[k], rows, g.N, nothing.View) : GpuOperand.None(nothing.View);
        int tilesM = (g.M + GpuGemmKernels.Tile - 1) / GpuGemmKernels.Tile, tilesN = (g.N + GpuGemmKernels.Tile - 1) / GpuGemmKernels.Tile;
        var x = new GpuGemmArguments
        {
            A = GpuMemory.View(g.A),
            B = GpuMemory.View(g.B),
            C = GpuMemory.View<float>(g.C),
            Second = At(operands, 0),
            Third = At(operands, 1),
            Fourth = At(operands, 2),
            Fifth = At(operands, 3),
            Sixth = At(operands, 4),
            M = g.M,
            N = g.N,
            K = g.K,
            StrideA = g.StrideA != 0 ? g.StrideA : g.TransposeA ? g.M : g.K,
            StrideB = g.StrideB != 0 ? g.StrideB : g.TransposeB ? g.K : g.N,
            StrideC = g.StrideC != 0 ? g.StrideC : g.N,
            TilesM = tilesM,
            TilesN = tilesN,
            BatchStrideA = g.BatchStrideA,
            BatchStrideB = g.BatchStrideB,
            BatchStrideC = g.BatchStrideC,
            Alpha = g.Alpha,
            Beta = g.Beta,
        };
        if (!products.TryGetValue(typeof(R), out Delegate? launcher))
            products[typeof(R)] = launcher = Accelerator.LoadStreamKernel<GpuGemmArguments, R, SpecializedValue<ulong>>(GpuGemmKernels.Run);
        ((Action<KernelConfig, GpuGemmArguments, R, SpecializedValue<ulong>>)launcher)(
            (Groups((long)g.Batch * tilesM * tilesN), GpuGemmKernels.Threads), x, epilogue, new(GpuGemmKernels.Formats(g, operands)));
    }
}
