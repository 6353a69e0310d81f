using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// One buffer that small blocks are slices of. A kernel that gets the buffer reaches all of them by their offsets, so one launch can
/// process many (see <see cref="GpuPendingMaps"/>).
/// </summary>
internal sealed class GpuSlab : IDisposable
{
    /// <summary>Bytes of the buffer, and of the largest small block.</summary>
    public const int Bytes = 16 << 20, Small = 64 << 10;

    /// <summary>The alignment of slices, in bytes.</summary>
    public const int Granule = 256;

    private readonly MemoryBuffer1D<byte, Stride1D.Dense> buffer;
    private readonly Dictionary<int, Stack<int>> free = [];
    private int used;

    public GpuSlab(Accelerator accelerator)
    {
        buffer = accelerator.Allocate1D<byte>(Bytes);
        All = buffer.View;
    }

    public ArrayView<byte> All { get; }

    /// <summary>Allocates a slice; false if there is no room.</summary>
    public bool TryTake(long bytes, out int offset)
    {
        offset = 0;
        if (bytes > Small)
            return false;
        int size = Rounded(bytes);
        if (free.TryGetValue(size, out Stack<int>? stack) && stack.TryPop(out offset))
            return true;
        if (used + size > Bytes)
            return false;
        offset = used;
        used += size;
        return true;
    }

    /// <summary>Frees a slice.</summary>
    public void Return(int offset, long bytes)
    {
        if (!free.TryGetValue(Rounded(bytes), out Stack<int>? stack))
            free[Rounded(bytes)] = stack = new Stack<int>();
        stack.Push(offset);
    }

    public void Dispose() => buffer.Dispose();

    private static int Rounded(long bytes) => checked((int)((bytes + Granule - 1) / Granule * Granule));
}
