using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// Page-locked host memory for asynchronous uploads (a double buffer). Before a half is written again, the host waits for the event that was
/// recorded after the copies from it.
/// </summary>
internal sealed class GpuStaging : IDisposable
{
    private readonly AcceleratorStream stream;
    private readonly PageLockedArray1D<byte> memory;
    private readonly GpuEvent?[] copied = new GpuEvent?[2];
    private readonly int half;
    private int current, used;

    /// <param name="accelerator">The target of the uploads.</param>
    /// <param name="half">Bytes of each half.</param>
    public GpuStaging(Accelerator accelerator, int half = 1 << 20)
    {
        this.half = half;
        stream = accelerator.DefaultStream;
        memory = accelerator.AllocatePageLocked1D<byte>(2L * half);
    }

    /// <summary>Copies to the device, in stream order.</summary>
    public void Upload(ReadOnlySpan<byte> source, ArrayView<byte> target)
    {
        for (int start = 0; start < source.Length;)
        {
            if (used == half)
                SwitchHalf();
            int bytes = Math.Min(source.Length - start, half - used), place = current * half + used;
            source.Slice(start, bytes).CopyTo(memory.Span[place..]);
            target.SubView(start, bytes).CopyFromCPU(stream, ref memory.Span[place], bytes);
            used += bytes;
            start += bytes;
        }
    }

    public void Dispose()
    {
        foreach (GpuEvent? ended in copied)
            ended?.Dispose();
        memory.Dispose();
    }

    private void SwitchHalf()
    {
        copied[current] = new GpuEvent(stream);
        current = 1 - current;
        used = 0;
        copied[current]?.Wait();
        copied[current]?.Dispose();
        copied[current] = null;
    }
}
