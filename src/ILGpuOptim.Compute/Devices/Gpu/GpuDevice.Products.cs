using ILGPU;
using ILGPU.Runtime;
using ILGpuOptim.Compute.Gpu;

namespace ILGpuOptim.Compute;

// Matrix products.
public sealed partial class GpuDevice
{
    private readonly Dictionary<(Type, Precision), Delegate> products = [];
    private readonly Dictionary<Type, Delegate> finishes = [], dots = [], sums = [];
    private Action<KernelConfig, GpuGemmPackArguments, SpecializedValue<int>>? packFactor;

    /// <inheritdoc/>
    public override bool HasTensorCores => recorded is not null ? !IsProcessor : GpuTensorCores.Supports(Accelerator.Device);

    /// <inheritdoc/>
    public override bool HasNarrowProducts => true;

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
            C = GpuMemory.View(g.C),
            Second = At(operands, 0),
            Third = At(operands, 1),
            Fourth = At(operands, 2),
            Fifth = At(operands, 3),
            Sixth = At(operands, 4),
            M = g.M,
            N = g.N,
            K = g.K,
            StrideA = StrideOfA(g),
            StrideB = StrideOfB(g),
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
        {
            GemmPanels(x, g.Batch, epilogue, formats);
            return;
        }

        GpuGemmSize size = SizeOf(g);
        GpuGemmPlan plan = Plans.For(size);
        if (plan.IsFewRows)
            Gemm(x, size, plan, epilogue, formats | RowFlags(g, x));
        else if (size.Precision == Precision.F32)
            Gemm(x, size, plan, epilogue, formats | Vectors(g, x));
        else
            GemmTensor(g, x, size, plan, epilogue, formats);
    }

    /// <summary>Chooses how products are computed on a GPU.</summary>
    internal GpuGemmPlans Plans { get; }

    /// <inheritdoc/>
    protected internal override long WorkspaceOf(in GemmArguments product)
    {
        GemmArguments g = product;
        if (IsProcessor)
            return WorkspaceOfPanels(g);
        GpuGemmSize size = SizeOf(g);
        GpuGemmPlan plan = Plans.For(size);
        (_, int parts) = Split(size, plan);
        (long packedA, long packedB) = plan.IsFewRows || size.Precision == Precision.F32 ? (0, 0) : (PackedLength(FactorA(g), size.Precision), PackedLength(FactorB(g), size.Precision));
        return (parts > 1 ? (long)g.Batch * parts * g.M * g.N : 0) + packedA + packedB;
    }

    private static int StrideOfA(in GemmArguments g) => g.StrideA != 0 ? g.StrideA : g.TransposeA ? g.M : g.K;

    private static int StrideOfB(in GemmArguments g) => g.StrideB != 0 ? g.StrideB : g.TransposeB ? g.K : g.N;

    /// <summary>What the plan of a product depends on. Without tensor cores its precision is f32.</summary>
    private GpuGemmSize SizeOf(in GemmArguments g)
    {
        // tf32 has more bits than bf16, so bf16 factors are multiplied exactly either way.
        Precision precision = !HasTensorCores ? Precision.F32 : g is { Precision: Precision.TF32, A.Type: DType.BF16, B.Type: DType.BF16 } ? Precision.BF16 : g.Precision;
        bool fewRows = g.M <= GpuGemmRows.MostRows && g.K > 0 && !g.B.Type.IsInt4() && (g.TransposeB || GpuGemmRows.HasUnits(g.B, false, g.N, StrideOfB(g), g.Batch, g.BatchStrideB));
        return new GpuGemmSize(g.M, g.N, g.K, g.Batch, g.TransposeA, g.TransposeB, precision) { RowColumns = fewRows ? GpuGemmRows.ColumnsOf(g.TransposeB, g.B.Type) : 0 };
    }

    /// <summary>The length of the parts of k, in whole strips, and their number.</summary>
    private static (int Length, int Parts) Split(in GpuGemmSize size, in GpuGemmPlan plan)
    {
        int unit = plan.IsFewRows ? GpuGemmRows.PartUnit : size.Depth, length = (int)Tiles(Tiles(size.K, plan.Parts), unit) * unit;
        return (length, size.K == 0 ? 1 : (int)Tiles(size.K, length));
    }

    /// <summary>A product on tensor cores. Factors that are stored in another type, or in rows that do not start at multiples of 16 bytes, are packed before.</summary>
    private void GemmTensor<R>(in GemmArguments g, GpuGemmArguments x, in GpuGemmSize size, in GpuGemmPlan plan, in R epilogue, ulong formats) where R : unmanaged, IMap6
    {
        GpuFactorLayout a = FactorA(g), b = FactorB(g);
        Block packedA = Pack(a, size.Precision), packedB = Pack(b, size.Precision);
        if (packedA.Memory is not null)
            (x.A, x.StrideA, x.BatchStrideA) = (GpuMemory.View(packedA), a.PackedStride(size.Precision), a.PackedBatchStride(size.Precision));
        if (packedB.Memory is not null)
            (x.B, x.StrideB, x.BatchStrideB) = (GpuMemory.View(packedB), b.PackedStride(size.Precision), b.PackedBatchStride(size.Precision));
        Gemm(x, size, plan, epilogue, formats & ~GpuGemmKernels.FactorTypes | (Vectors(g, x) & GpuGemmTiles.VectorsC));
        if (packedA.Memory is not null)
            Pool.Return(packedA);
        if (packedB.Memory is not null)
            Pool.Return(packedB);
    }

    private static GpuFactorLayout FactorA(in GemmArguments g) =>
        new(g.A, g.TransposeA ? g.K : g.M, g.TransposeA ? g.M : g.K, StrideOfA(g), g.BatchStrideA == 0 ? 1 : g.Batch, g.BatchStrideA);

    private static GpuFactorLayout FactorB(in GemmArguments g) =>
        new(g.B, g.TransposeB ? g.N : g.K, g.TransposeB ? g.K : g.N, StrideOfB(g), g.BatchStrideB == 0 ? 1 : g.Batch, g.BatchStrideB);

    /// <summary>The f32 elements of a packed factor; 0 if it is read as it is.</summary>
    private static long PackedLength(in GpuFactorLayout factor, Precision precision) =>
        factor.IsReadAsIs(precision) ? 0 : factor.Matrices * factor.PackedSize(precision) * GpuFactorLayout.BytesOf(precision) / 4;

    /// <summary>Packs a factor into rented memory, unless it can be read as it is.</summary>
    private Block Pack(in GpuFactorLayout factor, Precision precision)
    {
        if (PackedLength(factor, precision) is not (> 0 and long length))
            return default;
        Block packed = Pool.Rent(length);
        bool vectors = Fits(factor.Block, factor.Lines, factor.Length, factor.Stride, factor.Matrices, factor.BatchStride);
        packFactor ??= Load<GpuGemmPackArguments, SpecializedValue<int>>(GpuGemmPacking.Pack);
        packFactor(
            (Groups(Tiles(length / 4, GpuGemmPacking.Threads)), GpuGemmPacking.Threads),
            new GpuGemmPackArguments
            {
                Source = GpuMemory.View(factor.Block),
                Target = GpuMemory.View(packed),
                AllLines = factor.Matrices * factor.Lines,
                Lines = factor.Lines,
                Length = factor.Length,
                Stride = factor.Stride,
                BatchStride = factor.BatchStride,
            },
            new((int)factor.Block.Type | (precision == Precision.BF16 ? GpuGemmPacking.Narrows : 0) | (vectors ? GpuGemmPacking.Vectors : 0)));
        return packed;
    }

    private void Gemm<R>(GpuGemmArguments x, in GpuGemmSize size, in GpuGemmPlan plan, in R epilogue, ulong formats) where R : unmanaged, IMap6
    {
        (int rows, int columns) = plan.IsFewRows ? (GpuGemmRows.Rows, size.RowColumns) : (plan.Rows, plan.Columns);
        x.TilesM = (x.M + rows - 1) / rows;
        x.TilesN = (x.N + columns - 1) / columns;
        (x.PartLength, x.Parts) = Split(size, plan);
        int threads = plan.IsFewRows ? GpuGemmRows.Threads : size.Precision == Precision.F32 ? rows * columns / 64 : GpuGemmTensor.Threads(rows, columns);
        Block partials = default;
        if (x.Parts > 1)
        {
            partials = Pool.Rent((long)size.Batch * x.Parts * x.M * x.N);
            x.Partials = GpuMemory.View<float>(partials);
            formats |= GpuGemmTiles.Splits;
        }
        else
        {
            x.Partials = nothing.View;
        }

        Action<KernelConfig, GpuGemmArguments, R, SpecializedValue<ulong>> launcher = plan.Tile switch
        {
            "128x128" => Product<R, GpuGemm128X128>(size.Precision),
            "128x64" => Product<R, GpuGemm128X64>(size.Precision),
            "64x128" => Product<R, GpuGemm64X128>(size.Precision),
            GpuGemmPlan.FewRows => FewRows<R>(size.TransposeB),
            _ => Product<R, GpuGemm64X64>(size.Precision),
        };
        launcher((Groups((long)size.Batch * x.Parts * x.TilesM * x.TilesN), threads), x, epilogue, new(formats));
        if (x.Parts == 1)
            return;
        if (!finishes.TryGetValue(typeof(R), out Delegate? finish))
            finishes[typeof(R)] = finish = Load<GpuGemmArguments, R, SpecializedValue<ulong>>(GpuGemmTiles.Finish);
        threads = x.N > 64 ? 128 : 64;
        ((Action<KernelConfig, GpuGemmArguments, R, SpecializedValue<ulong>>)finish)(
            (Groups((long)size.Batch * x.M * Tiles(x.N, threads)), threads), x, epilogue, new(formats & GpuGemmKernels.EpilogueFormats));
        Pool.Return(partials);
    }

    private Action<KernelConfig, GpuGemmArguments, R, SpecializedValue<ulong>> Product<R, S>(Precision precision)
        where R : unmanaged, IMap6
        where S : struct, IGpuGemmShape
    {
        if (!products.TryGetValue((typeof((R, S)), precision), out Delegate? launcher))
        {
            products[(typeof((R, S)), precision)] = launcher = precision switch
            {
                Precision.BF16 => Load<GpuGemmArguments, R, SpecializedValue<ulong>>(GpuGemmTensor.Run<R, S, GpuBf16Factor>),
                Precision.TF32 => Load<GpuGemmArguments, R, SpecializedValue<ulong>>(GpuGemmTensor.Run<R, S, GpuTf32Factor>),
                _ => Load<GpuGemmArguments, R, SpecializedValue<ulong>>(GpuGemmTiles.Run<R, S>, GpuGemmTiles.Threads<S>() == 256 ? Limits(256, 2) : default),
            };
        }

        return (Action<KernelConfig, GpuGemmArguments, R, SpecializedValue<ulong>>)launcher;
    }

    private Action<KernelConfig, GpuGemmArguments, R, SpecializedValue<ulong>> FewRows<R>(bool transposeB) where R : unmanaged, IMap6
    {
        Dictionary<Type, Delegate> launchers = transposeB ? dots : sums;
        if (!launchers.TryGetValue(typeof(R), out Delegate? launcher))
            launchers[typeof(R)] = launcher = Load<GpuGemmArguments, R, SpecializedValue<ulong>>(transposeB ? GpuGemmRows.Dots : GpuGemmRows.Sums);
        return (Action<KernelConfig, GpuGemmArguments, R, SpecializedValue<ulong>>)launcher;
    }

    /// <summary>Flags for products of few rows.</summary>
    private static ulong RowFlags(in GemmArguments g, in GpuGemmArguments x) =>
        (GpuGemmRows.HasUnits(g.B, g.TransposeB, g.N, x.StrideB, g.Batch, g.BatchStrideB) ? GpuGemmTiles.VectorsB : 0)
        | (g.M > 2 ? GpuGemmRows.FourRows : g.M == 2 ? GpuGemmRows.TwoRows : 0) | (g.TransposeA ? 0 : Vectors(g, x) & GpuGemmTiles.VectorsA);

    /// <summary>
    /// Flags of the matrices that can be accessed as 16-byte vectors: their rows start at multiples of 16 bytes. The last vector of a row may reach
    /// beyond the row of a factor, within its block, but not of the result.
    /// </summary>
    private static ulong Vectors(in GemmArguments g, in GpuGemmArguments x) =>
        (Fits(g.A, g.TransposeA ? g.K : g.M, g.TransposeA ? g.M : g.K, x.StrideA, g.Batch, g.BatchStrideA) ? GpuGemmTiles.VectorsA : 0)
        | (Fits(g.B, g.TransposeB ? g.N : g.K, g.TransposeB ? g.K : g.N, x.StrideB, g.Batch, g.BatchStrideB) ? GpuGemmTiles.VectorsB : 0)
        | (g.K % 4 == 0 ? 0 : GpuGemmTiles.Ragged)
        | (g.N % 4 == 0 && x.StrideC % 4 == 0 && g.BatchStrideC % 4 == 0 && g.C.Offset % g.C.Type.Bytes(1, 4) == 0 ? GpuGemmTiles.VectorsC : 0);

    private static bool Fits(in Block block, int lines, int length, int stride, int batch, long batchStride) =>
        block.Type == DType.F32 && GpuOperand.IsAligned(block) && stride % 4 == 0 && batchStride % 4 == 0
        && (batch - 1) * batchStride + (lines - 1L) * stride + (length + 3L) / 4 * 4 <= block.Length;
}
