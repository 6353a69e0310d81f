namespace ILGpuOptim.Compute;

/// <summary>
/// A device without memory that computes nothing. Running a model on it counts the blocks that the model would allocate, so that memory is
/// predicted before any is allocated. Everything read back is zero.
/// </summary>
/// <param name="like">The device whose chunk lengths and workspaces are counted; null for those of the CPU.</param>
public class DryDevice(Device? like = null) : Device
{
    /// <summary>The minimum rows of a product's tile; workspace grows with the number of tiles.</summary>
    private const int RoutedStep = 64;

    /// <summary>
    /// Plans for mixtures of experts, whose routers choose the rows of each product at run time: of all row counts up to those given, the one that
    /// needs the largest workspace is counted.
    /// </summary>
    public bool HasRoutedProducts { get; init; }

    /// <inheritdoc/>
    public override long ChunkLength => like?.ChunkLength ?? base.ChunkLength;

    /// <inheritdoc/>
    public override string Name => "dry";

    /// <inheritdoc/>
    public override string Description => "counts memory and computes nothing";

    /// <inheritdoc/>
    public override long AvailableBytes => long.MaxValue;

    /// <inheritdoc/>
    public override bool HasTensorCores => like?.HasTensorCores ?? false;

    /// <inheritdoc/>
    public override bool HasNarrowProducts => like?.HasNarrowProducts ?? true;

    /// <inheritdoc/>
    public override bool HasNarrowAttention => like?.HasNarrowAttention ?? true;

    /// <inheritdoc/>
    protected internal override DeviceMemory Allocate(long bytes)
    {
        Largest = Math.Max(Largest, bytes);
        return new Memory(bytes);
    }

    /// <summary>The largest allocation so far, in bytes.</summary>
    public long Largest { get; private set; }

    /// <inheritdoc/>
    protected internal override (int Min, int Max)? RangeOfIndices(in Block indices) => null;

    /// <inheritdoc/>
    protected internal override void UploadCore(ReadOnlySpan<float> source, in Block target)
    {
    }

    /// <inheritdoc/>
    protected internal override void UploadCore(ReadOnlySpan<int> source, in Block target)
    {
    }

    /// <inheritdoc/>
    protected internal override void DownloadCore(in Block source, Span<float> target) => target.Clear();

    /// <inheritdoc/>
    protected internal override void DownloadCore(in Block source, Span<int> target) => target.Clear();

    /// <inheritdoc/>
    protected internal override void DownloadBytesCore(in Block source, long bytes, Span<byte> target) => target.Clear();

    /// <inheritdoc/>
    protected internal override void UploadBytesCore(ReadOnlySpan<byte> source, in Block target)
    {
    }

    /// <inheritdoc/>
    protected internal override void SynchronizeCore()
    {
    }

    /// <inheritdoc/>
    protected internal override void FillCore(in Block target, float value)
    {
    }

    /// <inheritdoc/>
    protected internal override void CopyCore(in Block source, in Block target)
    {
    }

    /// <inheritdoc/>
    protected internal override void MapCore<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands)
    {
    }

    /// <inheritdoc/>
    protected internal override void RowProgramCore<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands)
    {
    }

    /// <inheritdoc/>
    protected internal override void GemmCore<R>(in GemmArguments arguments, in R epilogue, ReadOnlySpan<Operand> operands)
    {
        if (like?.WorkspaceOf(arguments) is { } length and > 0)
            Pool.Return(Pool.Rent(length));
    }

    /// <inheritdoc/>
    protected internal override void GemmCore(ReadOnlySpan<GemmArguments> products)
    {
        long most = 0;
        foreach (ref readonly GemmArguments product in products)
        {
            int rows = product.TransposeA ? product.K : product.M;
            for (int count = HasRoutedProducts ? Math.Min(RoutedStep, rows) : rows; ; count = Math.Min(count + RoutedStep, rows))
            {
                most = Math.Max(most, like?.WorkspaceOf(product.TransposeA ? product with { K = count } : product with { M = count }) ?? 0);
                if (count == rows)
                    break;
            }
        }

        if (most > 0)
            Pool.Return(Pool.Rent(most));
    }

    /// <inheritdoc/>
    protected internal override void AttentionForwardCore(in AttentionArguments arguments)
    {
    }

    /// <inheritdoc/>
    protected internal override void AttentionBackwardCore(in AttentionArguments arguments, in AttentionGradients gradients)
    {
    }

    /// <inheritdoc/>
    protected internal override void RotateCore(in RotationArguments arguments)
    {
    }

    /// <inheritdoc/>
    protected internal override void GatherCore(in Block table, in Block indices, in Block target, long columns, bool accumulate)
    {
    }

    /// <inheritdoc/>
    protected internal override void ScatterAddCore(in Block source, in Block indices, in Block table, long columns)
    {
    }

    /// <inheritdoc/>
    protected internal override void RandomCore(in Block target, RandomKind kind, float scale, ulong seed, ulong stream)
    {
    }

    /// <inheritdoc/>
    protected internal override void PickCore(in Block source, in Block indices, in Block target, long columns)
    {
    }

    /// <inheritdoc/>
    protected internal override void AddAtCore(in Block target, in Block indices, in Block value, long columns, int perRow)
    {
    }

    /// <inheritdoc/>
    protected internal override void CopyStridedCore(in Block source, in Block target, in StridedCopy copy)
    {
    }

    private sealed class Memory(long bytes) : DeviceMemory
    {
        public override long Bytes => bytes;

        protected internal override void Free()
        {
        }
    }
}
