using ILGPU;
using ILGPU.Runtime;

namespace ILGpuOptim.Compute.Gpu;

/// <summary>
/// One buffer that small blocks are parts of. A kernel that has the buffer reaches all of them by their offsets, so one launch can
/// work on many (see <see cref="GpuPendingMaps"/>).
/// </summary>
internal sealed class GpuSlab : IDisposable
{
    /// <summary>Bytes of the buffer, and the most that a small block has.</summary>
    public const int Bytes = 16 << 20, Small = 64 << 10;

    /// <summary>Parts begin at multiples of this many bytes.</summary>
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

    /// <summary>Takes a part; false when no room is left.</summary>
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

    /// <summary>Takes a part back.</summary>
    public void Return(int offset, long bytes)
    {
        if (!free.TryGetValue(Rounded(bytes), out Stack<int>? stack))
            free[Rounded(bytes)] = stack = new Stack<int>();
        stack.Push(offset);
    }

    public void Dispose() => buffer.Dispose();

    private static int Rounded(long bytes) => checked((int)((bytes + Granule - 1) / Granule * Granule));
}
