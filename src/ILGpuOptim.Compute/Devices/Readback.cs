namespace ILGpuOptim.Compute;

/// <summary>
/// Numbers on their way back from a device (<see cref="Device.ReadLater"/>). Asking for them waits for what was launched before they were
/// sent for, and for nothing that was launched since.
/// </summary>
public abstract class Readback
{
    /// <summary>The numbers, once they are here.</summary>
    public abstract ReadOnlySpan<float> Wait();

    /// <summary>Numbers that are here already.</summary>
    internal sealed class Arrived(float[] values) : Readback
    {
        public override ReadOnlySpan<float> Wait() => values;
    }
}
