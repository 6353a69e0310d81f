namespace ILGpuOptim.Compute;

/// <summary>
/// A pending asynchronous device-to-host copy (<see cref="Device.ReadLater"/>). <see cref="Wait"/> blocks until the work launched before the copy
/// is done; later launches do not delay it.
/// </summary>
public abstract class Readback
{
    /// <summary>Blocks until the copy is complete and returns the values.</summary>
    public abstract ReadOnlySpan<float> Wait();

    /// <summary>A copy that is complete already.</summary>
    internal sealed class Arrived(float[] values) : Readback
    {
        public override ReadOnlySpan<float> Wait() => values;
    }
}
