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

    public override Readback ReadLater(in Block source)
    {
        var values = new float[source.Length];
        inner.Download(source, values);
        var late = new Late(this, values);
        underWay.Add(late);
        return late;
    }

    public override void Upload(ReadOnlySpan<float> source, in Block target) => Launched().Upload(source, target);

    public override void Upload(ReadOnlySpan<int> source, in Block target) => Launched().Upload(source, target);

    public override void Download(in Block source, Span<float> target) => Waited().Download(source, target);

    public override void Download(in Block source, Span<int> target) => Waited().Download(source, target);

    public override void DownloadBytes(in Block source, long bytes, Span<byte> target) => Waited().DownloadBytes(source, bytes, target);

    public override void UploadBytes(ReadOnlySpan<byte> source, in Block target) => Launched().UploadBytes(source, target);

    public override void Synchronize() => Waited().Synchronize();

    public override void Fill(in Block target, float value) => Launched().Fill(target, value);

    public override void Copy(in Block source, in Block target) => Launched().Copy(source, target);

    public override void Map<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands) => Launched().Map(rule, rows, columns, operands);

    public override void RowProgram<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands) => Launched().RowProgram(rule, rows, columns, operands);

    public override void Gemm<R>(in GemmArguments arguments, in R epilogue, ReadOnlySpan<Operand> operands) => Launched().Gemm(arguments, epilogue, operands);

    public override void AttentionForward(in AttentionArguments arguments) => Launched().AttentionForward(arguments);

    public override void AttentionBackward(in AttentionArguments arguments, in AttentionGradients gradients) => Launched().AttentionBackward(arguments, gradients);

    public override void Gather(in Block table, in Block indices, in Block target, long columns, bool accumulate) => Launched().Gather(table, indices, target, columns, accumulate);

    public override void ScatterAdd(in Block source, in Block indices, in Block table, long columns) => Launched().ScatterAdd(source, indices, table, columns);

    public override void Random(in Block target, RandomKind kind, float scale, ulong seed, ulong stream) => Launched().Random(target, kind, scale, seed, stream);

    public override void Pick(in Block source, in Block indices, in Block target, long columns) => Launched().Pick(source, indices, target, columns);

    public override void AddAt(in Block target, in Block indices, in Block value, long columns) => Launched().AddAt(target, indices, value, columns);

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
