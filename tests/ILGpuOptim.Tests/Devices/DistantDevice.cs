using ILGpuOptim.Compute;

namespace ILGpuOptim.Tests.Devices;

/// <summary>
/// The CPU behind the interface of an asynchronous device: readbacks complete when they are waited for, waits are counted, and a test can make
/// launches and allocations fail as a lost driver or full memory does.
/// </summary>
internal sealed class DistantDevice(Device inner) : DelegatingDevice(inner)
{
    private readonly List<Late> pending = [];

    /// <summary>Called before each launch; what it throws is the driver's failure.</summary>
    public Action? Launching { get; set; }

    /// <summary>Called before each allocation.</summary>
    public Action? Allocating { get; set; }

    /// <summary>The elements that operations hold at once when they work in chunks; null for the CPU's.</summary>
    public long? Chunk { get; init; }

    /// <summary>The number of times that the host waited for everything launched.</summary>
    public int Waits { get; private set; }

    /// <summary>The largest number of pending readbacks when one was waited for: 2 if a step was launched meanwhile.</summary>
    public int MaxUnderWay { get; private set; }

    /// <summary>Elements of the workspace of a product; null: none.</summary>
    public Func<GemmArguments, long>? Workspace { get; init; }

    protected internal override long WorkspaceOf(in GemmArguments product) => Workspace?.Invoke(product) ?? 0;

    public override string Name => "distant";

    public override string Description => "a test's";

    public override bool UsesHostMemory => false;

    public override long ChunkLength => Chunk ?? base.ChunkLength;

    public override bool IsAsynchronous => true;

    protected override void OnCalling(in DeviceCall call)
    {
        if (call.Operation == DeviceOperation.ReadLater)
            return;
        Launching?.Invoke();
        if (call.Operation is DeviceOperation.Download or DeviceOperation.Synchronize)
            Waits++;
    }

    protected internal override Readback ReadLaterCore(in Block source)
    {
        var late = new Late(this, base.ReadLaterCore(source));
        pending.Add(late);
        return late;
    }

    protected internal override DeviceMemory Allocate(long bytes)
    {
        Allocating?.Invoke();
        return base.Allocate(bytes);
    }

    private sealed class Late(DistantDevice device, Readback arrived) : Readback
    {
        public override ReadOnlySpan<float> Wait()
        {
            device.MaxUnderWay = Math.Max(device.MaxUnderWay, device.pending.Count);
            device.pending.Remove(this);
            return arrived.Wait();
        }
    }
}
