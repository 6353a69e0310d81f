using ILGPU;
using ILGPU.Runtime;
using ILGpuOptim.Compute.Gpu;

namespace ILGpuOptim.Compute;

// Matrix products.
public sealed partial class GpuDevice
{
    private readonly Dictionary<Type, Delegate> products = [], finishes = [];

    /// <inheritdoc/>
    protected internal override void GemmCore<R>(in GemmArguments arguments, in R epilogue, ReadOnlySpan<Operand> operands)
    {
        pending.Launch();
        GemmArguments g = arguments;
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
            Parts = 1,
            PartLength = g.K,
            Partials = nothing.View,
        };
        ulong formats = GpuGemmKernels.Formats(g, operands);
        if (IsProcessor)
            GemmPanels(x, g.Batch, epilogue, formats);
        else
            GemmTiles(x, g.Batch, epilogue, formats | Vectors(g, x));
    }

    /// <summary>Chooses how products are computed on a GPU.</summary>
    internal GpuGemmPlans Plans { get; }

    /// <inheritdoc/>
    protected internal override long WorkspaceOf(in GemmArguments product)
    {
        GemmArguments g = product;
        if (IsProcessor)
            return WorkspaceOfPanels(g);
        (_, int parts) = Split(g.K, Plans.For(new GpuGemmSize(g.M, g.N, g.K, g.Batch, g.TransposeA, g.TransposeB)).Parts);
        return parts > 1 ? (long)g.Batch * parts * g.M * g.N : 0;
    }

    /// <summary>The length of the parts of k, in whole strips, and their number.</summary>
    private static (int Length, int Parts) Split(int k, int parts)
    {
        int length = (int)Tiles(Tiles(k, parts), GpuGemmTiles.Depth) * GpuGemmTiles.Depth;
        return (length, k == 0 ? 1 : (int)Tiles(k, length));
    }

    private void GemmTiles<R>(GpuGemmArguments x, int batch, in R epilogue, ulong formats) where R : unmanaged, IMap6
    {
        bool transposeA = (formats & 1) != 0, transposeB = (formats & 2) != 0;
        GpuGemmPlan plan = Plans.For(new GpuGemmSize(x.M, x.N, x.K, batch, transposeA, transposeB));
        x.TilesM = (x.M + plan.Rows - 1) / plan.Rows;
        x.TilesN = (x.N + plan.Columns - 1) / plan.Columns;
        (x.PartLength, x.Parts) = Split(x.K, plan.Parts);
        Block partials = default;
        if (x.Parts > 1)
        {
            partials = Pool.Rent((long)batch * x.Parts * x.M * x.N);
            x.Partials = GpuMemory.View<float>(partials);
            formats |= GpuGemmTiles.Splits;
        }
        else
        {
            x.Partials = nothing.View;
        }

        Action<KernelConfig, GpuGemmArguments, R, SpecializedValue<ulong>> launcher = plan.Tile switch
        {
            "128x128" => Product<R, GpuGemm128X128>(),
            "128x64" => Product<R, GpuGemm128X64>(),
            "64x128" => Product<R, GpuGemm64X128>(),
            _ => Product<R, GpuGemm64X64>(),
        };
        launcher((Groups((long)batch * x.Parts * x.TilesM * x.TilesN), plan.Rows * plan.Columns / 64), x, epilogue, new(formats));
        if (x.Parts == 1)
            return;
        if (!finishes.TryGetValue(typeof(R), out Delegate? finish))
            finishes[typeof(R)] = finish = Load<GpuGemmArguments, R, SpecializedValue<ulong>>(GpuGemmTiles.Finish);
        int threads = x.N > 64 ? 128 : 64;
        ((Action<KernelConfig, GpuGemmArguments, R, SpecializedValue<ulong>>)finish)(
            (Groups((long)batch * x.M * Tiles(x.N, threads)), threads), x, epilogue, new(formats & ~(GpuGemmTiles.VectorsA | GpuGemmTiles.VectorsB | GpuGemmTiles.VectorsC | GpuGemmTiles.Ragged)));
        Pool.Return(partials);
    }

    private Action<KernelConfig, GpuGemmArguments, R, SpecializedValue<ulong>> Product<R, S>()
        where R : unmanaged, IMap6
        where S : struct, IGpuGemmShape
    {
        if (!products.TryGetValue(typeof((R, S)), out Delegate? launcher))
            products[typeof((R, S))] = launcher = Load<GpuGemmArguments, R, SpecializedValue<ulong>>(GpuGemmTiles.Run<R, S>, GpuGemmTiles.Threads<S>() == 256 ? Limits(256, 2) : default);
        return (Action<KernelConfig, GpuGemmArguments, R, SpecializedValue<ulong>>)launcher;
    }

    /// <summary>
    /// Flags of the matrices that can be accessed as 16-byte vectors: their rows start at multiples of 16 bytes. The last vector of a row may reach
    /// beyond the row of a factor, within its block, but not of the result.
    /// </summary>
    private static ulong Vectors(in GemmArguments g, in GpuGemmArguments x)
    {
        static bool Fits(in Block block, int lines, int length, int stride, int batch, long batchStride) =>
            block.Type == DType.F32 && GpuOperand.IsAligned(block) && stride % 4 == 0 && batchStride % 4 == 0
            && (batch - 1) * batchStride + (lines - 1L) * stride + (length + 3L) / 4 * 4 <= block.Length;
        return (Fits(g.A, g.TransposeA ? g.K : g.M, g.TransposeA ? g.M : g.K, x.StrideA, g.Batch, g.BatchStrideA) ? GpuGemmTiles.VectorsA : 0)
            | (Fits(g.B, g.TransposeB ? g.N : g.K, g.TransposeB ? g.K : g.N, x.StrideB, g.Batch, g.BatchStrideB) ? GpuGemmTiles.VectorsB : 0)
            | (g.K % 4 == 0 ? 0 : GpuGemmTiles.Ragged)
            | (g.N % 4 == 0 && Fits(g.C, g.M, g.N, x.StrideC, g.Batch, g.BatchStrideC) ? GpuGemmTiles.VectorsC : 0);
    }
}
