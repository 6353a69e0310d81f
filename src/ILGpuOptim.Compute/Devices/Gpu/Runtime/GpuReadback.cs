using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>A pending copy from a stream to page-locked host memory.</summary>
internal sealed class GpuReadback : Readback
{
    private readonly GpuDevice device;
    private readonly int length;
    private PageLockedArray1D<float>? memory;
    private GpuEvent? copied;
    private float[]? values;

    /// <summary>Starts copying a view to the host.</summary>
    public GpuReadback(GpuDevice device, ArrayView<float> source, PageLockedArray1D<float> memory)
    {
        this.device = device;
        this.memory = memory;
        length = source.IntLength;
        source.CopyToCPU(device.Stream, ref memory.Span[0], length);
        copied = new GpuEvent(device.Stream);
    }

    public override ReadOnlySpan<float> Wait()
    {
        if (values is null)
        {
            ObjectDisposedException.ThrowIf(device.IsDisposed, device);
            copied!.Wait();
            copied.Dispose();
            values = memory!.Span[..length].ToArray();
            device.Arrived(memory);
            (copied, memory) = (null, null);
        }

        return values;
    }
}
