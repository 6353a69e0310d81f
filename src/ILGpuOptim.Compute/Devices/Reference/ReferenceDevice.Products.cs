using ILGpuOptim.Compute.Reference;

namespace ILGpuOptim.Compute;

public sealed partial class ReferenceDevice
{
    /// <inheritdoc/>
    protected internal override void GemmCore<R>(in GemmArguments g, in R epilogue, ReadOnlySpan<Operand> operands)
    {
        int strideC = g.StrideC == 0 ? g.N : g.StrideC;
        for (int batch = 0; batch < g.Batch; batch++)
        {
            ReferenceOperand a = Factor(g.A, batch * g.BatchStrideA, g.StrideA, g.TransposeA ? g.K : g.M, g.TransposeA ? g.M : g.K);
            ReferenceOperand b = Factor(g.B, batch * g.BatchStrideB, g.StrideB, g.TransposeB ? g.N : g.K, g.TransposeB ? g.K : g.N);
            ReferenceOperand c = Factor(g.C, batch * g.BatchStrideC, strideC, g.M, g.N);
            for (int i = 0; i < g.M; i++)
            {
                for (int j = 0; j < g.N; j++)
                {
                    double sum = 0;
                    for (int k = 0; k < g.K; k++)
                        sum += (g.TransposeA ? a.Read(k, i) : a.Read(i, k)) * (g.TransposeB ? b.Read(j, k) : b.Read(k, j));
                    c.Write(i, j, g.Alpha * sum + (g.Beta == 0 ? 0 : g.Beta * c.Read(i, j)));
                }
            }
        }

        if (typeof(R) != typeof(Lift1<KeepRule>))
            MapCore(epilogue, (long)g.Batch * g.M, g.N, [new Operand(g.C, Layout.Full, strideC), .. operands]);
    }

    private static ReferenceOperand Factor(in Block block, long start, int stride, int rows, int columns) =>
        new(new Operand(start == 0 ? block : block.Slice(start, block.Length - start), Layout.Full, stride), rows, columns);

    private static void Add(in ReferenceOperand target, long index, double value) => target.Write(0, index, target.Read(0, index) + value);

    /// <inheritdoc/>
    protected internal override void GatherCore(in Block table, in Block indices, in Block target, long columns, bool accumulate)
    {
        ReferenceOperand source = At(table), index = At(indices), result = At(target);
        for (long i = 0; i < indices.Length; i++)
        {
            for (long j = 0; j < columns; j++)
                result.Write(0, i * columns + j, source.Read(0, (long)index.Read(0, i) * columns + j) + (accumulate ? result.Read(0, i * columns + j) : 0));
        }
    }

    /// <inheritdoc/>
    protected internal override void ScatterAddCore(in Block source, in Block indices, in Block table, long columns)
    {
        ReferenceOperand values = At(source), index = At(indices), result = At(table);
        for (long i = 0; i < indices.Length; i++)
        {
            for (long j = 0; index.Read(0, i) >= 0 && j < columns; j++)
                Add(result, (long)index.Read(0, i) * columns + j, values.Read(0, i * columns + j));
        }
    }

    /// <inheritdoc/>
    protected internal override void RandomCore(in Block target, RandomKind kind, float scale, ulong seed, ulong stream)
    {
        ReferenceOperand result = At(target);
        Span<float> four = stackalloc float[4];
        for (long i = 0; i < target.Length; i++)
        {
            if (i % 4 == 0)
                RandomNumbers.Four(kind, scale, seed, stream, (ulong)i / 4, four);
            result.Write(0, i, four[(int)(i % 4)]);
        }
    }

    /// <inheritdoc/>
    protected internal override void PickCore(in Block source, in Block indices, in Block target, long columns)
    {
        ReferenceOperand values = At(source), index = At(indices), result = At(target);
        for (long i = 0; i < indices.Length; i++)
            result.Write(0, i, index.Read(0, i) < 0 ? 0 : values.Read(0, i * columns + (long)index.Read(0, i)));
    }

    /// <inheritdoc/>
    protected internal override void AddAtCore(in Block target, in Block indices, in Block value, long columns, int perRow)
    {
        ReferenceOperand values = At(value), index = At(indices), result = At(target);
        for (long i = 0; i < indices.Length; i++)
        {
            if (index.Read(0, i) >= 0)
                Add(result, i / perRow * columns + (long)index.Read(0, i), values.Read(0, i));
        }
    }
}
