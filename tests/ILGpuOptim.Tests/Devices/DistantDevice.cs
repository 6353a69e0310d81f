using ILGpuOptim.Compute;

namespace ILGpuOptim.Tests.Devices;

/// <summary>
/// The processor, seen as a device that works by itself: what is read later arrives when somebody waits for it, waiting is counted, and
/// it fails when a test wants it to, as a driver that dies or memory that somebody else has taken.
/// </summary>
internal sealed class DistantDevice(Device inner) : Device
{
    private readonly List<Late> underWay = [];

    /// <summary>Called before each launch; what it throws is the driver's failure.</summary>
    public Action? Launching { get; set; }

    /// <summary>Called before each allocation.</summary>
    public Action? Allocating { get; set; }

    /// <summary>How often somebody waited for all that was launched.</summary>
    public int Waits { get; private set; }

    /// <summary>The most readbacks that were under way when somebody waited for one: 2 when a step was launched meanwhile.</summary>
    public int MostUnderWay { get; private set; }

    public override string Name => "distant";

    public override string Description => "a test's";

    public override long AvailableBytes => inner.AvailableBytes;

    public override bool IsAsynchronous => true;

    protected internal override Readback ReadLaterCore(in Block source)
    {
        var values = new float[source.Length];
        inner.DownloadCore(source, values);
        var late = new Late(this, values);
        underWay.Add(late);
        return late;
    }

    protected internal override (int Least, int Most)? RangeOfIndices(in Block indices) => inner.RangeOfIndices(indices);

    protected internal override void UploadCore(ReadOnlySpan<float> source, in Block target) => Launched().UploadCore(source, target);

    protected internal override void UploadCore(ReadOnlySpan<int> source, in Block target) => Launched().UploadCore(source, target);

    protected internal override void DownloadCore(in Block source, Span<float> target) => Waited().DownloadCore(source, target);

    protected internal override void DownloadCore(in Block source, Span<int> target) => Waited().DownloadCore(source, target);

    protected internal override void DownloadBytesCore(in Block source, long bytes, Span<byte> target) => Waited().DownloadBytesCore(source, bytes, target);

    protected internal override void UploadBytesCore(ReadOnlySpan<byte> source, in Block target) => Launched().UploadBytesCore(source, target);

    protected internal override void SynchronizeCore() => Waited().SynchronizeCore();

    protected internal override void FillCore(in Block target, float value) => Launched().FillCore(target, value);

    protected internal override void CopyCore(in Block source, in Block target) => Launched().CopyCore(source, target);

    protected internal override void MapCore<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands) => Launched().MapCore(rule, rows, columns, operands);

    protected internal override void RowProgramCore<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands) => Launched().RowProgramCore(rule, rows, columns, operands);

    protected internal override void GemmCore<R>(in GemmArguments arguments, in R epilogue, ReadOnlySpan<Operand> operands) => Launched().GemmCore(arguments, epilogue, operands);

    protected internal override void AttentionForwardCore(in AttentionArguments arguments) => Launched().AttentionForwardCore(arguments);

    protected internal override void AttentionBackwardCore(in AttentionArguments arguments, in AttentionGradients gradients) => Launched().AttentionBackwardCore(arguments, gradients);

    protected internal override void GatherCore(in Block table, in Block indices, in Block target, long columns, bool accumulate) => Launched().GatherCore(table, indices, target, columns, accumulate);

    protected internal override void ScatterAddCore(in Block source, in Block indices, in Block table, long columns) => Launched().ScatterAddCore(source, indices, table, columns);

    protected internal override void RandomCore(in Block target, RandomKind kind, float scale, ulong seed, ulong stream) => Launched().RandomCore(target, kind, scale, seed, stream);

    protected internal override void PickCore(in Block source, in Block indices, in Block target, long columns) => Launched().PickCore(source, indices, target, columns);

    protected internal override void AddAtCore(in Block target, in Block indices, in Block value, long columns) => Launched().AddAtCore(target, indices, value, columns);

    internal override void CopyStridedCore(in Block source, in Block target, in StridedCopy copy) => Launched().CopyStridedCore(source, target, copy);

    public override long ChunkLength => inner.ChunkLength;

    internal override DeviceMemory Allocate(long bytes)
    {
        Allocating?.Invoke();
        return inner.Allocate(bytes);
    }

    private Device Launched()
    {
        Launching?.Invoke();
        return inner;
    }

    private Device Waited()
    {
        Launching?.Invoke();
        Waits++;
        return inner;
    }

    private sealed class Late(DistantDevice device, float[] values) : Readback
    {
        public override ReadOnlySpan<float> Wait()
        {
            device.MostUnderWay = Math.Max(device.MostUnderWay, device.underWay.Count);
            device.underWay.Remove(this);
            return values;
        }
    }
}
