using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>One allocation of an ILGPU accelerator.</summary>
internal sealed class GpuMemory(GpuDevice device, MemoryBuffer1D<byte, Stride1D.Dense> buffer) : DeviceMemory
{
    public override Device Device => device;

    public override long Bytes => buffer.Length;

    /// <summary>A block's bytes, or all that follow its beginning.</summary>
    public static ArrayView<byte> View(in Block block)
    {
        ArrayView<byte> all = ((GpuMemory)block.Memory).All;
        return Part(all, block.Offset, all.Length - block.Offset);
    }

    /// <summary>A block's elements as numbers of some type.</summary>
    public static ArrayView<T> View<T>(in Block block) where T : unmanaged => View(block).Cast<T>();

    /// <summary>A part of a view; ILGPU takes an empty part behind the end for a mistake.</summary>
    public static ArrayView<T> Part<T>(ArrayView<T> view, long start, long length) where T : unmanaged =>
        length == 0 ? view.SubView(0, 0) : view.SubView(start, length);

    private ArrayView<byte> All => buffer.View;

    internal override void Free()
    {
        device.Freed(Bytes);
        buffer.Dispose();
    }
}
