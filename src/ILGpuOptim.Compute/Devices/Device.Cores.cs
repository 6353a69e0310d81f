namespace ILGpuOptim.Compute;

// What a device implements: each is called with checked arguments, by one thread at a time.
public abstract partial class Device
{
    /// <summary>New memory from the system. Callers use <see cref="Pool"/>.</summary>
    /// <exception cref="DeviceMemoryException">The device has no room.</exception>
    internal abstract DeviceMemory Allocate(long bytes);

    /// <summary>How many numbers the device needs for a product beside its matrices, to predict memory.</summary>
    internal virtual long WorkspaceOf(in GemmArguments product) => 0;

    /// <summary>
    /// The smallest and largest of a block's indices as far as the host knows them without waiting; null when only the device does. Devices in host
    /// memory look at them; others remember those of the last upload.
    /// </summary>
    protected internal abstract (int Least, int Most)? RangeOfIndices(in Block indices);

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

    /// <summary>By default one product after the other; devices that can take them as one piece of work override it.</summary>
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
    protected internal abstract void AddAtCore(in Block target, in Block indices, in Block value, long columns);

    /// <summary>By default a map for each head; devices with something better override it.</summary>
    protected internal virtual void RotateCore(in RotationArguments arguments)
    {
        RotationArguments a = arguments;
        int half = a.Turned / 2;
        if (a.Rows == 0 || half == 0)
            return;
        long reach = (a.Rows - 1L) * a.Stride + half, angles = (a.Rows - 1L) * a.Turned + half;
        var cosines = new Operand(a.Angles.Slice(0, angles), Layout.Full, a.Turned);
        var sines = new Operand(a.Angles.Slice(half, angles), Layout.Full, a.Turned);
        for (int head = 0; head < a.Heads; head++)
        {
            long start = (long)head * a.HeadStep;
            var first = new Operand(a.Target.Slice(start, reach), Layout.Full, a.Stride);
            var second = new Operand(a.Target.Slice(start + half, reach), Layout.Full, a.Stride);
            MapCore(new Lift4<RotateRule>(new RotateRule(a.Backwards ? -1 : 1)), a.Rows, half, [first, second, cosines, sines]);
        }
    }

    /// <summary>Gives everything back; called once.</summary>
    protected virtual void DisposeCore() => pool?.Close();
}
