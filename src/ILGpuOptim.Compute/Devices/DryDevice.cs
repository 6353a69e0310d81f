namespace ILGpuOptim.Compute;

/// <summary>
/// A device that lends memory without having any and computes nothing: what runs on it tells which blocks it would
/// take, so that shapes and sizes of any model are known before the first real byte. Everything read back is zero.
/// </summary>
/// <param name="like">A device whose choices it makes; null: those of a processor.</param>
public sealed class DryDevice(Device? like = null) : Device
{
    /// <inheritdoc/>
    public override long ChunkLength => like?.ChunkLength ?? base.ChunkLength;

    /// <inheritdoc/>
    public override string Name => "dry";

    /// <inheritdoc/>
    public override string Description => "counts memory and computes nothing";

    /// <inheritdoc/>
    public override long AvailableBytes => long.MaxValue;

    /// <inheritdoc/>
    internal override DeviceMemory Allocate(long bytes)
    {
        Largest = Math.Max(Largest, bytes);
        return new Memory(this, bytes);
    }

    /// <summary>The largest allocation so far, in bytes.</summary>
    public long Largest { get; private set; }

    /// <inheritdoc/>
    public override void Upload(ReadOnlySpan<float> source, in Block target)
    {
    }

    /// <inheritdoc/>
    public override void Upload(ReadOnlySpan<int> source, in Block target)
    {
    }

    /// <inheritdoc/>
    public override void Download(in Block source, Span<float> target) => target.Clear();

    /// <inheritdoc/>
    public override void Download(in Block source, Span<int> target) => target.Clear();

    /// <inheritdoc/>
    public override void DownloadBytes(in Block source, long bytes, Span<byte> target) => target.Clear();

    /// <inheritdoc/>
    public override void UploadBytes(ReadOnlySpan<byte> source, in Block target)
    {
    }

    /// <inheritdoc/>
    public override void Synchronize()
    {
    }

    /// <inheritdoc/>
    public override void Fill(in Block target, float value)
    {
    }

    /// <inheritdoc/>
    public override void Copy(in Block source, in Block target) => Validate.Length(source.Length, target);

    /// <inheritdoc/>
    public override void Map<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands) => Validate.Map<R>(rows, columns, operands);

    /// <inheritdoc/>
    public override void RowProgram<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands) => Validate.Rows<R>(rows, columns, operands);

    /// <inheritdoc/>
    public override void Gemm<R>(in GemmArguments arguments, in R epilogue, ReadOnlySpan<Operand> operands)
    {
        Validate.Gemm<R>(arguments, operands);
        if (like?.WorkspaceOf(arguments) is { } length and > 0)
            Pool.Return(Pool.Rent(length));
    }

    /// <inheritdoc/>
    public override void AttentionForward(in AttentionArguments arguments)
    {
    }

    /// <inheritdoc/>
    public override void AttentionBackward(in AttentionArguments arguments, in AttentionGradients gradients)
    {
    }

    /// <inheritdoc/>
    public override void Rotate(in RotationArguments arguments) => Validate.Rotation(arguments);

    /// <inheritdoc/>
    public override void Gather(in Block table, in Block indices, in Block target, long columns, bool accumulate)
    {
    }

    /// <inheritdoc/>
    public override void ScatterAdd(in Block source, in Block indices, in Block table, long columns)
    {
    }

    /// <inheritdoc/>
    public override void Random(in Block target, RandomKind kind, float scale, ulong seed, ulong stream)
    {
    }

    /// <inheritdoc/>
    public override void Pick(in Block source, in Block indices, in Block target, long columns)
    {
    }

    /// <inheritdoc/>
    public override void AddAt(in Block target, in Block indices, in Block value, long columns)
    {
    }

    private sealed class Memory(DryDevice device, long bytes) : DeviceMemory
    {
        public override Device Device => device;

        public override long Bytes => bytes;

        internal override void Free()
        {
        }
    }
}
