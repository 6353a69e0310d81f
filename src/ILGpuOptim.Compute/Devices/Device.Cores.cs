namespace ILGpuOptim.Compute;

// The contract of a device. Each member is called with checked arguments, by one thread at a time.
public abstract partial class Device
{
    /// <summary>Allocates memory of at least <paramref name="bytes"/> bytes. <see cref="Pool"/> calls it and keeps what is returned for reuse.</summary>
    /// <exception cref="DeviceMemoryException">The device has no room.</exception>
    protected internal abstract DeviceMemory Allocate(long bytes);

    /// <summary>The f32 elements of workspace that a product takes from <see cref="Pool"/>; memory plans count them.</summary>
    protected internal virtual long WorkspaceOf(in GemmArguments product) => 0;

    /// <summary>
    /// The smallest and largest index of a block, if the host knows them without waiting; else null. Devices in host memory read the block;
    /// others remember the range of the last upload.
    /// </summary>
    protected internal abstract (int Min, int Max)? RangeOfIndices(in Block indices);

    /// <inheritdoc cref="Upload(ReadOnlySpan{float}, in Block)"/>
    protected internal abstract void UploadCore(ReadOnlySpan<float> source, in Block target);

    /// <inheritdoc cref="Upload(ReadOnlySpan{int}, in Block)"/>
    protected internal abstract void UploadCore(ReadOnlySpan<int> source, in Block target);

    /// <inheritdoc cref="Download(in Block, Span{float})"/>
    protected internal abstract void DownloadCore(in Block source, Span<float> target);

    /// <inheritdoc cref="Download(in Block, Span{int})"/>
    protected internal abstract void DownloadCore(in Block source, Span<int> target);

    /// <inheritdoc cref="DownloadBytes"/>
    protected internal abstract void DownloadBytesCore(in Block source, long bytes, Span<byte> target);

    /// <inheritdoc cref="UploadBytes"/>
    protected internal abstract void UploadBytesCore(ReadOnlySpan<byte> source, in Block target);

    /// <inheritdoc cref="ReadLater"/>
    protected internal virtual Readback ReadLaterCore(in Block source)
    {
        var values = new float[source.Length];
        DownloadCore(source, values);
        return new Readback.Arrived(values);
    }

    /// <inheritdoc cref="Synchronize"/>
    protected internal abstract void SynchronizeCore();

    /// <inheritdoc cref="Fill"/>
    protected internal abstract void FillCore(in Block target, float value);

    /// <inheritdoc cref="Copy"/>
    protected internal abstract void CopyCore(in Block source, in Block target);

    /// <inheritdoc cref="Map"/>
    protected internal abstract void MapCore<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands) where R : unmanaged, IMap6;

    /// <inheritdoc cref="RowProgram"/>
    protected internal abstract void RowProgramCore<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands) where R : unmanaged, IRowRule;

    /// <inheritdoc cref="Gemm{R}"/>
    protected internal abstract void GemmCore<R>(in GemmArguments arguments, in R epilogue, ReadOnlySpan<Operand> operands) where R : unmanaged, IMap6;

    /// <summary>Independent products without epilogues. By default computes one after the other.</summary>
    protected internal virtual void GemmCore(ReadOnlySpan<GemmArguments> products)
    {
        foreach (ref readonly GemmArguments product in products)
            GemmCore(product, default(Lift1<KeepRule>), []);
    }

    /// <inheritdoc cref="AttentionForward"/>
    protected internal abstract void AttentionForwardCore(in AttentionArguments arguments);

    /// <inheritdoc cref="AttentionBackward"/>
    protected internal abstract void AttentionBackwardCore(in AttentionArguments arguments, in AttentionGradients gradients);

    /// <inheritdoc cref="Gather"/>
    protected internal abstract void GatherCore(in Block table, in Block indices, in Block target, long columns, bool accumulate);

    /// <inheritdoc cref="ScatterAdd"/>
    protected internal abstract void ScatterAddCore(in Block source, in Block indices, in Block table, long columns);

    /// <inheritdoc cref="Random"/>
    protected internal abstract void RandomCore(in Block target, RandomKind kind, float scale, ulong seed, ulong stream);

    /// <inheritdoc cref="Pick"/>
    protected internal abstract void PickCore(in Block source, in Block indices, in Block target, long columns);

    /// <inheritdoc cref="AddAt"/>
    protected internal abstract void AddAtCore(in Block target, in Block indices, in Block value, long columns, int perRow);

    /// <summary>Rotary position embedding in place. By default launches one map for each head.</summary>
    protected internal virtual void RotateCore(in RotationArguments arguments)
    {
        RotationArguments a = arguments;
        int half = a.RotatedSize / 2;
        if (a.Rows == 0 || half == 0)
            return;
        long reach = (a.Rows - 1L) * a.Stride + half, angles = (a.Rows - 1L) * a.RotatedSize + half;
        var cosines = new Operand(a.Angles.Slice(0, angles), Layout.Full, a.RotatedSize);
        var sines = new Operand(a.Angles.Slice(half, angles), Layout.Full, a.RotatedSize);
        for (int head = 0; head < a.Heads; head++)
        {
            long start = (long)head * a.HeadStride;
            var first = new Operand(a.Target.Slice(start, reach), Layout.Full, a.Stride);
            var second = new Operand(a.Target.Slice(start + half, reach), Layout.Full, a.Stride);
            MapCore(new Lift4<RotateRule>(new RotateRule(a.Inverse ? -1 : 1)), a.Rows, half, [first, second, cosines, sines]);
        }
    }

    /// <summary>Releases the device's resources; called once. Overrides call this method, which releases the pool's memory.</summary>
    protected virtual void DisposeCore() => pool?.Close();
}
