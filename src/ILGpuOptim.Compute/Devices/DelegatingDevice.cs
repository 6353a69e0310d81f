namespace ILGpuOptim.Compute;

/// <summary>
/// Passes every call to another device: a base for devices that trace, count, time or inject faults. Override <see cref="OnCalling"/> and
/// <see cref="OnCalled"/> to see each call, or the methods themselves to change one.
/// </summary>
/// <remarks>
/// Blocks belong to the wrapper: rent them from its <see cref="Device.Pool"/> and pass them to the wrapper only. Disposing it disposes
/// <see cref="Inner"/>.
/// </remarks>
/// <param name="inner">The device that does the work.</param>
public abstract class DelegatingDevice(Device inner) : Device
{
    /// <summary>The device that does the work.</summary>
    protected Device Inner => inner;

    /// <inheritdoc/>
    public override string Name => inner.Name;

    /// <inheritdoc/>
    public override string Description => inner.Description;

    /// <inheritdoc/>
    public override long AvailableBytes => inner.AvailableBytes;

    /// <inheritdoc/>
    public override bool UsesHostMemory => inner.UsesHostMemory;

    /// <inheritdoc/>
    public override long LargestAllocation => inner.LargestAllocation;

    /// <inheritdoc/>
    public override long ChunkLength => inner.ChunkLength;

    /// <inheritdoc/>
    public override bool IsAsynchronous => inner.IsAsynchronous;

    /// <summary>Called before each call to the inner device. An exception from here replaces the call.</summary>
    protected virtual void OnCalling(in DeviceCall call)
    {
    }

    /// <summary>Called after each call to the inner device, also when it failed. On asynchronous devices the work may still be running.</summary>
    protected virtual void OnCalled(in DeviceCall call)
    {
    }

    /// <inheritdoc/>
    protected internal override DeviceMemory Allocate(long bytes) => inner.Allocate(bytes);

    /// <inheritdoc/>
    public override bool HasTensorCores => inner.HasTensorCores;

    /// <inheritdoc/>
    public override bool HasNarrowProducts => inner.HasNarrowProducts;

    /// <inheritdoc/>
    public override bool HasNarrowAttention => inner.HasNarrowAttention;

    /// <inheritdoc/>
    protected internal override long WorkspaceOf(in GemmArguments product) => inner.WorkspaceOf(product);

    /// <inheritdoc/>
    public override void ForEachOnHost(int count, Action<int> body) => inner.ForEachOnHost(count, body);

    /// <inheritdoc/>
    protected internal override (int Min, int Max)? RangeOfIndices(in Block indices) => inner.RangeOfIndices(indices);

    /// <inheritdoc/>
    protected internal override void UploadCore(ReadOnlySpan<float> source, in Block target)
    {
        using Scope scope = Begin(new(DeviceOperation.Upload, null, 1, target.Length));
        inner.UploadCore(source, target);
    }

    /// <inheritdoc/>
    protected internal override void UploadCore(ReadOnlySpan<int> source, in Block target)
    {
        using Scope scope = Begin(new(DeviceOperation.Upload, null, 1, target.Length));
        inner.UploadCore(source, target);
    }

    /// <inheritdoc/>
    protected internal override void UploadBytesCore(ReadOnlySpan<byte> source, in Block target)
    {
        using Scope scope = Begin(new(DeviceOperation.Upload, null, 1, target.Length));
        inner.UploadBytesCore(source, target);
    }

    /// <inheritdoc/>
    protected internal override void DownloadCore(in Block source, Span<float> target)
    {
        using Scope scope = Begin(new(DeviceOperation.Download, null, 1, source.Length));
        inner.DownloadCore(source, target);
    }

    /// <inheritdoc/>
    protected internal override void DownloadCore(in Block source, Span<int> target)
    {
        using Scope scope = Begin(new(DeviceOperation.Download, null, 1, source.Length));
        inner.DownloadCore(source, target);
    }

    /// <inheritdoc/>
    protected internal override void DownloadBytesCore(in Block source, long bytes, Span<byte> target)
    {
        using Scope scope = Begin(new(DeviceOperation.Download, null, 1, source.Length));
        inner.DownloadBytesCore(source, bytes, target);
    }

    /// <inheritdoc/>
    protected internal override Readback ReadLaterCore(in Block source)
    {
        using Scope scope = Begin(new(DeviceOperation.ReadLater, null, 1, source.Length));
        return inner.ReadLaterCore(source);
    }

    /// <inheritdoc/>
    protected internal override void SynchronizeCore()
    {
        using Scope scope = Begin(new(DeviceOperation.Synchronize));
        inner.SynchronizeCore();
    }

    /// <inheritdoc/>
    protected internal override void FillCore(in Block target, float value)
    {
        using Scope scope = Begin(new(DeviceOperation.Fill, null, 1, target.Length));
        inner.FillCore(target, value);
    }

    /// <inheritdoc/>
    protected internal override void CopyCore(in Block source, in Block target)
    {
        using Scope scope = Begin(new(DeviceOperation.Copy, null, 1, source.Length));
        inner.CopyCore(source, target);
    }

    /// <inheritdoc/>
    protected internal override void CopyStridedCore(in Block source, in Block target, in StridedCopy copy)
    {
        using Scope scope = Begin(new(DeviceOperation.CopyStrided, null, 1, copy.Length));
        inner.CopyStridedCore(source, target, copy);
    }

    /// <inheritdoc/>
    protected internal override void MapCore<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands)
    {
        using Scope scope = Begin(new(DeviceOperation.Map, typeof(R), rows, columns));
        inner.MapCore(rule, rows, columns, operands);
    }

    /// <inheritdoc/>
    protected internal override void RowProgramCore<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands)
    {
        using Scope scope = Begin(new(DeviceOperation.RowProgram, typeof(R), rows, columns));
        inner.RowProgramCore(rule, rows, columns, operands);
    }

    /// <inheritdoc/>
    protected internal override void GemmCore<R>(in GemmArguments arguments, in R epilogue, ReadOnlySpan<Operand> operands)
    {
        using Scope scope = Begin(new(DeviceOperation.Gemm, typeof(R), (long)arguments.Batch * arguments.M, arguments.N, arguments.K));
        inner.GemmCore(arguments, epilogue, operands);
    }

    /// <inheritdoc/>
    protected internal override void GemmCore(ReadOnlySpan<GemmArguments> products)
    {
        using Scope scope = Begin(new(DeviceOperation.Gemm, null, products.Length));
        inner.GemmCore(products);
    }

    /// <inheritdoc/>
    protected internal override void AttentionForwardCore(in AttentionArguments arguments)
    {
        using Scope scope = Begin(new(DeviceOperation.AttentionForward, null, (long)arguments.Batch * arguments.QueryLength, (long)arguments.Heads * arguments.HeadSize, arguments.KeyLength));
        inner.AttentionForwardCore(arguments);
    }

    /// <inheritdoc/>
    protected internal override void AttentionBackwardCore(in AttentionArguments arguments, in AttentionGradients gradients)
    {
        using Scope scope = Begin(new(DeviceOperation.AttentionBackward, null, (long)arguments.Batch * arguments.QueryLength, (long)arguments.Heads * arguments.HeadSize, arguments.KeyLength));
        inner.AttentionBackwardCore(arguments, gradients);
    }

    /// <inheritdoc/>
    protected internal override void GatherCore(in Block table, in Block indices, in Block target, long columns, bool accumulate)
    {
        using Scope scope = Begin(new(DeviceOperation.Gather, null, indices.Length, columns));
        inner.GatherCore(table, indices, target, columns, accumulate);
    }

    /// <inheritdoc/>
    protected internal override void ScatterAddCore(in Block source, in Block indices, in Block table, long columns)
    {
        using Scope scope = Begin(new(DeviceOperation.ScatterAdd, null, indices.Length, columns));
        inner.ScatterAddCore(source, indices, table, columns);
    }

    /// <inheritdoc/>
    protected internal override void RandomCore(in Block target, RandomKind kind, float scale, ulong seed, ulong stream)
    {
        using Scope scope = Begin(new(DeviceOperation.Random, null, 1, target.Length));
        inner.RandomCore(target, kind, scale, seed, stream);
    }

    /// <inheritdoc/>
    protected internal override void PickCore(in Block source, in Block indices, in Block target, long columns)
    {
        using Scope scope = Begin(new(DeviceOperation.Pick, null, indices.Length, columns));
        inner.PickCore(source, indices, target, columns);
    }

    /// <inheritdoc/>
    protected internal override void AddAtCore(in Block target, in Block indices, in Block value, long columns, int perRow)
    {
        using Scope scope = Begin(new(DeviceOperation.AddAt, null, indices.Length, columns));
        inner.AddAtCore(target, indices, value, columns, perRow);
    }

    /// <inheritdoc/>
    protected internal override void RotateCore(in RotationArguments arguments)
    {
        using Scope scope = Begin(new(DeviceOperation.Rotate, null, arguments.Rows, (long)arguments.Heads * arguments.HeadSize));
        inner.RotateCore(arguments);
    }

    /// <inheritdoc/>
    protected override void DisposeCore()
    {
        base.DisposeCore();
        inner.Dispose();
    }

    private Scope Begin(in DeviceCall call)
    {
        OnCalling(call);
        return new Scope(this, call);
    }

    private readonly ref struct Scope(DelegatingDevice device, DeviceCall call)
    {
        public void Dispose() => device.OnCalled(call);
    }
}

/// <summary>One call to a device, as <see cref="DelegatingDevice"/> reports it.</summary>
/// <param name="Operation">The method.</param>
/// <param name="Rule">The type of the rule, row program or epilogue; null for operations without one.</param>
/// <param name="Rows">Rows of the result: tokens of attention, indices of a gather, 1 for flat blocks, the number of products for a group of products.</param>
/// <param name="Columns">Columns of the result.</param>
/// <param name="Depth">The summed dimension of a product, or the keys of attention; else 0.</param>
public readonly record struct DeviceCall(DeviceOperation Operation, Type? Rule = null, long Rows = 0, long Columns = 0, long Depth = 0);

/// <summary>The operations of a <see cref="Device"/>.</summary>
public enum DeviceOperation
{
    /// <summary>A copy from the host.</summary>
    Upload,

    /// <summary>A copy to the host, which waits for the device.</summary>
    Download,

    /// <summary><see cref="Device.ReadLater"/>.</summary>
    ReadLater,

    /// <summary><see cref="Device.Synchronize"/>.</summary>
    Synchronize,

    /// <summary><see cref="Device.Fill"/>.</summary>
    Fill,

    /// <summary><see cref="Device.Copy"/>.</summary>
    Copy,

    /// <summary><see cref="Device.CopyStrided"/>.</summary>
    CopyStrided,

    /// <summary><see cref="Device.Map"/>.</summary>
    Map,

    /// <summary><see cref="Device.RowProgram"/>.</summary>
    RowProgram,

    /// <summary>A matrix product, or a group of products.</summary>
    Gemm,

    /// <summary><see cref="Device.AttentionForward"/>.</summary>
    AttentionForward,

    /// <summary><see cref="Device.AttentionBackward"/>.</summary>
    AttentionBackward,

    /// <summary><see cref="Device.Gather"/>.</summary>
    Gather,

    /// <summary><see cref="Device.ScatterAdd"/>.</summary>
    ScatterAdd,

    /// <summary><see cref="Device.Random"/>.</summary>
    Random,

    /// <summary><see cref="Device.Pick"/>.</summary>
    Pick,

    /// <summary><see cref="Device.AddAt"/>.</summary>
    AddAt,

    /// <summary><see cref="Device.Rotate"/>.</summary>
    Rotate,
}
