using ILGpuOptim.Compute.Cpu;

namespace ILGpuOptim.Compute;

// Matrix products and attention.
public sealed unsafe partial class CpuDevice
{
    private CpuGemm? gemm;

    /// <inheritdoc/>
    public override bool HasNarrowProducts => true;

    /// <inheritdoc/>
    public override bool HasNarrowAttention => true;

    /// <inheritdoc/>
    protected internal override void GemmCore<R>(in GemmArguments arguments, in R epilogue, ReadOnlySpan<Operand> operands)
    {
        bool keeps = typeof(R) == typeof(Lift1<KeepRule>);
        if ((keeps || (typeof(R) == typeof(Lift2<AddRule>) && operands[0] is { Layout: Layout.Full, Factor: null, Block.Type: DType.F32 })) && HasFewRows(arguments))
            GemmOfFewRows(new ReadOnlySpan<GemmArguments>(in arguments), keeps ? default : operands[0]);
        else if (vectorBits == 512)
            Gemm<F16, R>(arguments, epilogue, operands);
        else if (vectorBits == 256)
            Gemm<F8, R>(arguments, epilogue, operands);
        else
            Gemm<F4, R>(arguments, epilogue, operands);
    }

    /// <inheritdoc/>
    protected internal override void GemmCore(ReadOnlySpan<GemmArguments> products)
    {
        bool joins = products.Length is > 1 and <= GemmDotsGroup<F4>.MaxCount;
        foreach (ref readonly GemmArguments product in products)
            joins &= HasFewRows(product);
        if (joins)
            GemmOfFewRows(products, default);
        else
            base.GemmCore(products);
    }

    private static bool HasFewRows(in GemmArguments g) =>
        g is { Batch: 1, TransposeA: false, TransposeB: true, N: > 0, K: > 0, M: > 0 and <= GemmDots<F4, GemmDotsGroup<F4>.NoEpilogue>.MaxRows, A.Type: DType.F32, C.Type: DType.F32 };

    /// <summary>Products of few rows in one launch; a single one may add a matrix.</summary>
    private void GemmOfFewRows(ReadOnlySpan<GemmArguments> products, in Operand added)
    {
        if (vectorBits == 512)
            GemmOfFewRows<F16>(products, added);
        else if (vectorBits == 256)
            GemmOfFewRows<F8>(products, added);
        else
            GemmOfFewRows<F4>(products, added);
    }

    private void GemmOfFewRows<L>(ReadOnlySpan<GemmArguments> products, in Operand added) where L : struct, IVectorLane<L>
    {
        gemm ??= new CpuGemm(workers);
        var group = default(GemmDotsGroup<L>);
        foreach (ref readonly GemmArguments g in products)
        {
            ref GemmDots<L, GemmDotsGroup<L>.NoEpilogue> product = ref group.Next();
            product.Many = Factor(g.B, 0, true, g.N, g.K, g.StrideB);
            product.Few = (float*)At(g.A);
            product.FewStride = g.StrideA == 0 ? g.K : g.StrideA;
            product.FewRows = g.M;
            product.ManyRows = g.N;
            product.FewAreRows = true;
            product.K = g.K;
            product.C = (float*)At(g.C);
            product.StrideC = g.StrideC == 0 ? g.N : g.StrideC;
            product.Alpha = g.Alpha;
            product.Beta = g.Beta;
            if (added.Block.Memory is not null)
            {
                product.Added = (float*)At(added.Block);
                product.StrideAdded = added.Stride == 0 ? g.N : added.Stride;
            }

            group.Complete();
        }

        gemm.Run(ref group);
    }

    private void Gemm<L, R>(in GemmArguments g, in R epilogue, ReadOnlySpan<Operand> operands)
        where L : struct, IVectorLane<L>
        where R : unmanaged, IMap6
    {
        scratch.Reset();
        gemm ??= new CpuGemm(workers);
        int strideC = g.StrideC == 0 ? g.N : g.StrideC;
        CpuOperand* prepared = stackalloc CpuOperand[Access.MaxOperands];
        R copy = epilogue;
        Access access = AccessOf<R>.Value;
        var map = new CpuMapWork<L>
        {
            Rule = &copy,
            Access = access,
            Loop = typeof(R) == typeof(Lift1<KeepRule>) ? null : &CpuMapLoop<L, R>.Run,
            RestLoop = &CpuMapLoop<F1, R>.Run,
            Operands = prepared,
            Scratch = scratch.Take<float>((long)workers.Threads * Access.MaxOperands * CpuMapWork<L>.Tile),
        };
        for (int k = 0; k < operands.Length; k++)
        {
            if (access.At(k + 1) != Slot.None)
                prepared[k + 1] = CpuOperand.From(operands[k], (long)g.Batch * g.M, g.N);
        }

        prepared[0] = CpuOperand.From(new Operand(g.C, Layout.Full, strideC), (long)g.Batch * g.M, g.N);
        bool isNarrow = g.C.Type == DType.BF16;
        var result = new GemmResult { Data = isNarrow ? null : (float*)At(g.C), Narrow = isNarrow ? (ushort*)At(g.C) : null, Stride = strideC, BatchStride = g.BatchStrideC };
        var finish = new Epilogue<L> { Map = map, Narrow = result.Narrow, Stride = strideC };
        GemmOperand a = Factor(g.A, g.BatchStrideA, g.TransposeA, g.TransposeA ? g.K : g.M, g.TransposeA ? g.M : g.K, g.StrideA);
        GemmOperand b = Factor(g.B, g.BatchStrideB, g.TransposeB, g.TransposeB ? g.N : g.K, g.TransposeB ? g.K : g.N, g.StrideB);
        gemm.Run<L, Epilogue<L>>(a, b, result, g.Batch, g.M, g.N, g.K, g.Alpha, g.Beta, ref finish);
    }

    private static GemmOperand Factor(in Block block, long batchStride, bool transposed, int rows, int columns, int stride)
    {
        var result = new GemmOperand
        {
            Data = At(block),
            BatchStride = batchStride,
            Stride = stride == 0 ? columns : stride,
            Transposed = transposed,
            Type = block.Type,
        };
        if (block.Type == DType.I8)
        {
            result.Scales = (float*)(At(block) + DTypes.QuantizedScales(rows, columns));
            result.ScaleStride = (columns + DTypes.QuantizedBlock - 1) / DTypes.QuantizedBlock;
        }
        else if (block.Type.IsInt4())
        {
            result.Scales = (float*)(At(block) + Int4.Scales(block.Type, rows, columns));
            result.ScaleStride = (int)block.Type.GroupsOf(columns);
        }

        return result;
    }

    private struct Epilogue<L> : IGemmEpilogue where L : struct, IVectorLane<L>
    {
        public CpuMapWork<L> Map;

        /// <summary>C if it is bf16, to which the epilogue's results are rounded; else null.</summary>
        public ushort* Narrow;
        public int Stride;

        public readonly void Invoke(float* c, int stride, int row, int rows, int column, int columns, int worker)
        {
            if (Narrow == null)
            {
                if (Map.Loop != null)
                    Map.RunRectangle(row, row + rows, column, column + columns, worker);
                return;
            }

            if (Map.Loop != null)
            {
                CpuOperand* operands = stackalloc CpuOperand[Access.MaxOperands];
                new ReadOnlySpan<CpuOperand>(Map.Operands, Access.MaxOperands).CopyTo(new Span<CpuOperand>(operands, Access.MaxOperands));
                operands[0] = CpuOperand.Floats(c - ((nint)row * stride + column), stride);
                CpuMapWork<L> map = Map;
                map.Operands = operands;
                map.RunRectangle(row, row + rows, column, column + columns, worker);
            }

            for (int i = 0; i < rows; i++)
                Bf16.Narrow(new ReadOnlySpan<float>(c + (nint)i * stride, columns), new Span<ushort>(Narrow + (nint)(row + i) * Stride + column, columns));
        }
    }

    /// <inheritdoc/>
    protected internal override void AttentionForwardCore(in AttentionArguments arguments)
    {
        if (vectorBits == 512)
            Forward<F16>(arguments);
        else if (vectorBits == 256)
            Forward<F8>(arguments);
        else
            Forward<F4>(arguments);
    }

    /// <inheritdoc/>
    protected internal override void AttentionBackwardCore(in AttentionArguments arguments, in AttentionGradients gradients)
    {
        if (vectorBits == 512)
            Backward<F16>(arguments, gradients);
        else if (vectorBits == 256)
            Backward<F8>(arguments, gradients);
        else
            Backward<F4>(arguments, gradients);
    }

    private void Forward<L>(in AttentionArguments arguments) where L : struct, IVectorLane<L>
    {
        scratch.Reset();
        CpuAttention.Forward<L>(workers, scratch, Pointers(arguments));
    }

    private void Backward<L>(in AttentionArguments arguments, in AttentionGradients gradients) where L : struct, IVectorLane<L>
    {
        scratch.Reset();
        CpuAttentionArguments a = Pointers(arguments);
        a.OutputGradient = At(gradients.Output);
        a.QueryGradient = At(gradients.Query);
        a.KeyGradient = At(gradients.Key);
        a.ValueGradient = At(gradients.Value);
        a.DistanceGradient = gradients.DistanceBias is { } distances ? (float*)At(distances) : null;
        CpuAttention.Backward<L>(workers, scratch, a);
    }

    private static CpuAttentionArguments Pointers(in AttentionArguments a) => new()
    {
        Query = At(a.Query),
        Key = At(a.Key),
        Value = At(a.Value),
        Output = At(a.Output),
        IsNarrow = a.Query.Type == DType.BF16,
        LogSumExp = a.LogSumExp is { } lse ? (float*)At(lse) : null,
        KeyBias = a.KeyBias is { } bias ? (float*)At(bias) : null,
        Batch = a.Batch,
        Heads = a.Heads,
        KeyHeads = a.KeyHeads,
        HeadSize = a.HeadSize,
        QueryLength = a.QueryLength,
        KeyLength = a.KeyLength,
        KeyCapacity = a.KeyCapacity == 0 ? a.KeyLength : a.KeyCapacity,
        QueryStride = a.QueryStride,
        KeyStride = a.KeyStride,
        OutputStride = a.OutputStride,
        QueryHeadStep = a.QueryHeadStep,
        KeyHeadStep = a.KeyHeadStep,
        Ranges = a.Ranges is { } ranges ? (int*)At(ranges) : null,
        Before = a.Before,
        After = a.After,
        Scale = a.Scale,
        SoftCap = a.SoftCap,
        DistanceBias = a.DistanceBias is { } distances ? (float*)At(distances) : null,
        Dropout = a.Dropout,
        Seed = a.Seed,
        Stream = a.Stream,
    };
}
