using System.Runtime.InteropServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>Memory of the process, 64-byte aligned, part of a slab.</summary>
internal sealed unsafe class CpuMemory : DeviceMemory
{
    private readonly CpuDevice device;
    private readonly CpuSlab slab;

    public CpuMemory(CpuDevice device, CpuSlab slab, byte* pointer, long bytes)
    {
        this.device = device;
        this.slab = slab;
        Pointer = pointer;
        Bytes = bytes;
    }

    public byte* Pointer { get; private set; }

    public override long Bytes { get; }

    protected internal override void Free()
    {
        Pointer = null;
        slab.Release();
        device.Freed(Bytes);
    }
}

/// <summary>
/// A range of huge pages that allocations are slices of: a fresh 4 KiB page costs more than filling it, and products
/// that read columns would miss the TLB at every row.
/// </summary>
internal sealed unsafe class CpuSlab
{
    /// <summary>The size of a slab; allocations larger than half of it have one of their own.</summary>
    public const long Size = 32 << 20;

    private const long HugePage = 2 << 20;

    /// <summary>Gaps give allocations different offsets within a page, so that they use different cache sets.</summary>
    private const long Gap = 192;

    private readonly long size;
    private byte* start;
    private long used;
    private int slices;

    /// <exception cref="OutOfMemoryException">The system has too little memory.</exception>
    public CpuSlab(long bytes)
    {
        size = (bytes + HugePage - 1) / HugePage * HugePage;
        start = (byte*)NativeMemory.AlignedAlloc((nuint)size, (nuint)HugePage);
        if (OperatingSystem.IsLinux())
            _ = Advise(start, (nuint)size, 14);
    }

    /// <summary>A slice of the slab, or null if too little is left.</summary>
    public byte* TryTake(long bytes)
    {
        if (bytes > size - used)
            return null;
        byte* result = start + used;
        used += (bytes + 63 & ~63L) + Gap;
        slices++;
        return result;
    }

    /// <summary>Releases a slice; the last one frees the slab.</summary>
    public void Release()
    {
        if (--slices > 0)
            return;
        NativeMemory.AlignedFree(start);
        start = null;
        used = size;
    }

    /// <summary>madvise(…, MADV_HUGEPAGE): a hint that affects speed only.</summary>
    [DllImport("libc", EntryPoint = "madvise")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int Advise(void* address, nuint length, int advice);
}
