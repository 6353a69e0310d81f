using ILGpuOptim.Compute;

namespace PeerBenchmarks.Workloads;

/// <summary>
/// Computes nothing and counts what a computation would read and write, and its products' operations: each operand of each launch once for reading
/// and once for writing, whether caches would spare it or not.
/// </summary>
internal sealed class CountingDevice : DryDevice
{
    public override string Name => "counting";

    public override string Description => "counts bytes and computes nothing";

    /// <summary>Bytes read and written since <see cref="Clear"/>.</summary>
    public long Bytes { get; private set; }

    /// <summary>Multiplications and additions of matrix products since <see cref="Clear"/>.</summary>
    public double Operations { get; private set; }

    /// <summary>The products since <see cref="Clear"/>, in their order.</summary>
    public List<GemmArguments> Products { get; } = [];

    /// <summary>
    /// The elements of passes over memory since <see cref="Clear"/>, by what each element takes: operands of whole matrices that are read, updated in
    /// place, and written. Elements of narrower types count by their bytes. Factors of products are left out.
    /// </summary>
    public SortedDictionary<(int Reads, int Updates, int Writes), long> Passes { get; } = [];

    public void Clear()
    {
        (Bytes, Operations) = (0, 0);
        Passes.Clear();
        Products.Clear();
    }

    protected internal override void MapCore<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands) => Count<R>(rows, columns, operands, 0);

    protected internal override void RowProgramCore<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands) => Count<R>(rows, columns, operands, 0);

    protected internal override void GemmCore<R>(in GemmArguments g, in R epilogue, ReadOnlySpan<Operand> operands)
    {
        Products.Add(g);
        long matrix = (long)g.M * g.N;
        Bytes += sizeof(float) * g.Batch * ((long)g.M * g.K + (long)g.K * g.N + (g.Beta == 0 ? matrix : 2 * matrix));
        Operations += 2.0 * g.Batch * matrix * g.K;
        Count<R>((long)g.Batch * g.M, g.N, operands, 1);
    }

    private void Count<R>(long rows, long columns, ReadOnlySpan<Operand> operands, int first) where R : IRule
    {
        (int reads, int updates, int writes) = (0, 0, 0);
        for (int k = 0; k < operands.Length; k++)
        {
            long elements = operands[k].Layout switch
            {
                Layout.Full => rows * columns,
                Layout.PerRow => rows,
                Layout.PerColumn => columns,
                Layout.RowsAndColumns => rows + columns,
                _ => 1,
            };
            Access access = R.Access;
            if (operands[k].Layout == Layout.Full)
            {
                (bool isRead, bool isWritten) = (access.Reads(k + first), access.Writes(k + first));
                if (operands[k].Block.Type != DType.F32)
                    Pass(isRead ? 1 : 0, 0, isWritten && !isRead ? 1 : 0, operands[k].Block.Type.Bytes(1, elements) / sizeof(float));
                else if (isRead && isWritten)
                    updates++;
                else if (isRead)
                    reads++;
                else if (isWritten)
                    writes++;
            }

            int times = (access.Reads(k + first) ? 1 : 0) + (access.Writes(k + first) || access.Reduces(k + first) ? 1 : 0);
            Bytes += times * operands[k].Block.Type.Bytes(1, elements);
        }

        Pass(reads, updates, writes, rows * columns);
    }

    private void Pass(int reads, int updates, int writes, long elements)
    {
        if (elements > 0 && reads + updates + writes > 0)
            Passes[(reads, updates, writes)] = Passes.GetValueOrDefault((reads, updates, writes)) + elements;
    }

    protected internal override void RandomCore(in Block target, RandomKind kind, float scale, ulong seed, ulong stream) => FillCore(target, 0);

    protected internal override void FillCore(in Block target, float value)
    {
        Bytes += sizeof(float) * target.Length;
        Pass(0, 0, 1, target.Length);
    }

    protected internal override void CopyCore(in Block source, in Block target) => Copy(source.Length);

    protected internal override void CopyStridedCore(in Block source, in Block target, in StridedCopy copy) => Copy(copy.Length);

    private void Copy(long elements)
    {
        Bytes += 2 * sizeof(float) * elements;
        Pass(1, 0, 1, elements);
    }

    protected internal override void AttentionForwardCore(in AttentionArguments arguments) => throw new NotSupportedException();

    protected internal override void AttentionBackwardCore(in AttentionArguments arguments, in AttentionGradients gradients) => throw new NotSupportedException();

    protected internal override void GatherCore(in Block table, in Block indices, in Block target, long columns, bool accumulate) =>
        Bytes += sizeof(int) * indices.Length + (accumulate ? 3 : 2) * sizeof(float) * indices.Length * columns;

    protected internal override void ScatterAddCore(in Block source, in Block indices, in Block table, long columns) => throw new NotSupportedException();

    protected internal override void PickCore(in Block source, in Block indices, in Block target, long columns) => throw new NotSupportedException();

    protected internal override void AddAtCore(in Block target, in Block indices, in Block value, long columns, int perRow) => throw new NotSupportedException();

    protected internal override void RotateCore(in RotationArguments arguments) => throw new NotSupportedException();
}
