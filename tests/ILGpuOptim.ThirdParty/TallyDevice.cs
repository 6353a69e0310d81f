using ILGpuOptim.Compute;

namespace ThirdParty;

/// <summary>A wrapper: counts the launches on another device.</summary>
public sealed class TallyDevice(Device inner) : DelegatingDevice(inner)
{
    /// <summary>The kind that <c>--device tally</c> names.</summary>
    public static readonly DeviceKind Kind = new("tally", options => new TallyDevice(new CpuDevice(options.Threads)));

    /// <summary>Calls so far that compute or copy on the device.</summary>
    public long Launches { get; private set; }

    /// <inheritdoc/>
    public override string Name => "tally";

    /// <inheritdoc/>
    public override string Description => $"{base.Description}, with its launches counted";

    /// <inheritdoc/>
    protected override void OnCalling(in DeviceCall call)
    {
        if (call.Operation is not (DeviceOperation.Upload or DeviceOperation.Download or DeviceOperation.ReadLater or DeviceOperation.Synchronize))
            Launches++;
    }
}
