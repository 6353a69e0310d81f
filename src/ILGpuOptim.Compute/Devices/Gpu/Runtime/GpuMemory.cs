using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>One allocation of an ILGPU accelerator, or a slice of its slab.</summary>
internal sealed class GpuMemory : DeviceMemory
{
    private readonly GpuDevice device;
    private readonly MemoryBuffer1D<byte, Stride1D.Dense>? buffer;
    private readonly GpuSlab? slab;

    public GpuMemory(GpuDevice device, MemoryBuffer1D<byte, Stride1D.Dense> buffer)
    {
        this.device = device;
        this.buffer = buffer;
        Bytes = buffer.Length;
        All = buffer.View;
        SlabOffset = -1;
    }

    public GpuMemory(GpuDevice device, GpuSlab slab, int offset, long bytes)
    {
        this.device = device;
        this.slab = slab;
        Bytes = bytes;
        All = slab.All.SubView(offset, bytes);
        SlabOffset = offset;
    }

    public override long Bytes { get; }

    /// <summary>The offset in the slab; -1 if it is not part of it.</summary>
    public int SlabOffset { get; }

    /// <summary>The last uploaded block of indices and its range; null if it may have been overwritten since.</summary>
    public (Block Block, int Min, int Max)? Indices { get; set; }

    private ArrayView<byte> All { get; }

    /// <summary>All bytes from a block's start on.</summary>
    public static ArrayView<byte> View(in Block block)
    {
        ArrayView<byte> all = ((GpuMemory)block.Memory).All;
        return Part(all, block.Offset, all.Length - block.Offset);
    }

    /// <summary>All elements from a block's start on.</summary>
    public static ArrayView<T> View<T>(in Block block) where T : unmanaged => View(block).Cast<T>();

    /// <summary>A slice of a view; ILGPU rejects an empty slice at the end.</summary>
    public static ArrayView<T> Part<T>(ArrayView<T> view, long start, long length) where T : unmanaged =>
        length == 0 ? view.SubView(0, 0) : view.SubView(start, length);

    protected internal override void Free()
    {
        device.Freed(Bytes);
        slab?.Return(SlabOffset, Bytes);
        buffer?.Dispose();
    }
}
