using ILGPU;
using ILGPU.Runtime;
using ILGpuOptim.Compute.Gpu;

namespace ILGpuOptim.Compute;

// Matrix products.
public sealed partial class GpuDevice
{
    private readonly Dictionary<Type, Delegate> products = [];
    private Action<KernelConfig, GpuGemmArguments, ArrayView<float>, SpecializedValue<ulong>>? pack;

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
            BatchStrideA = g.BatchStrideA,
            BatchStrideB = g.BatchStrideB,
            BatchStrideC = g.BatchStrideC,
            Alpha = g.Alpha,
            Beta = g.Beta,
        };
        ulong formats = GpuGemmKernels.Formats(g, operands);
        if (IsProcessor)
            GemmPanels(x, g.Batch, epilogue, formats);
        else
            GemmTiles(x, g.Batch, epilogue, formats);
    }

    private void GemmTiles<R>(GpuGemmArguments x, int batch, in R epilogue, ulong formats) where R : unmanaged, IMap6
    {
        x.TilesM = (x.M + GpuGemmKernels.Tile - 1) / GpuGemmKernels.Tile;
        x.TilesN = (x.N + GpuGemmKernels.Tile - 1) / GpuGemmKernels.Tile;
        if (!products.TryGetValue(typeof(R), out Delegate? launcher))
            products[typeof(R)] = launcher = Load<GpuGemmArguments, R, SpecializedValue<ulong>>(GpuGemmKernels.Run);
        ((Action<KernelConfig, GpuGemmArguments, R, SpecializedValue<ulong>>)launcher)(
            (Groups((long)batch * x.TilesM * x.TilesN), GpuGemmKernels.Threads), x, epilogue, new(formats));
    }

    private void GemmPanels<R>(GpuGemmArguments x, int batch, in R epilogue, ulong formats) where R : unmanaged, IMap6
    {
        // Rows that a group takes: their part of A stays in half a megabyte of cache, and every core has several groups.
        x.TilesN = (x.N + Line.Length - 1) / Line.Length;
        int rows = Math.Clamp((1 << 17) / Math.Max(1, x.K), 1, Math.Max(1, x.M)), most = 16 * Accelerator.NumMultiprocessors;
        while (rows > GpuGemmPanels.Rows && (long)batch * x.TilesN * ((x.M + rows - 1) / rows) < most)
            rows /= 2;
        rows = (rows + GpuGemmPanels.Rows - 1) / GpuGemmPanels.Rows * GpuGemmPanels.Rows;
        x.TilesM = (x.M + rows - 1) / rows;
        Block panels = Pool.Rent((long)batch * x.TilesN * x.K * Line.Length);
        ArrayView<float> packed = GpuMemory.View<float>(panels);
        pack ??= Load<GpuGemmArguments, ArrayView<float>, SpecializedValue<ulong>>(GpuGemmPanels.Pack);
        if (x.K > 0)
            pack((Groups((long)batch * x.TilesN * Tiles(x.K, GpuGemmPanels.PackDepth)), 1), x, packed, new(formats & 0xFF));
        if (!products.TryGetValue(typeof(R), out Delegate? launcher))
            products[typeof(R)] = launcher = Load<GpuGemmArguments, ArrayView<float>, int, R, SpecializedValue<ulong>>(GpuGemmPanels.Run);
        ((Action<KernelConfig, GpuGemmArguments, ArrayView<float>, int, R, SpecializedValue<ulong>>)launcher)(
            (Groups((long)batch * x.TilesM * x.TilesN), 1), x, packed, rows, epilogue, new(formats));
        Pool.Return(panels);
    }
}
