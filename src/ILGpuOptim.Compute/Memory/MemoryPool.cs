namespace ILGpuOptim.Compute;

/// <summary>
/// Memory of one device, kept for reuse: a training step after the first takes everything from here. Sizes are
/// rounded up to a quarter of a power of two, so that at most a fifth is unused; what stays for long (<see cref="Keep"/>) is not.
/// Not thread-safe: one training loop owns a device.
/// </summary>
public sealed class MemoryPool
{
    private readonly Device device;
    private readonly Dictionary<long, Stack<DeviceMemory>> idle = [];

    internal MemoryPool(Device device) => this.device = device;

    /// <summary>Bytes lent now.</summary>
    public long LentBytes { get; private set; }

    /// <summary>The most bytes ever lent at once.</summary>
    public long PeakBytes { get; private set; }

    /// <summary>Bytes held from the system, lent or idle.</summary>
    public long HeldBytes { get; private set; }

    /// <summary>How often the system was asked for memory.</summary>
    public long Allocations { get; private set; }

    /// <summary>Lends memory for <paramref name="length"/> elements in one row, undefined contents.</summary>
    /// <exception cref="DeviceMemoryException">The device has no room.</exception>
    public Block Rent(long length, DType type = DType.F32) => Rent(1, length, type);

    /// <summary>Lends memory for a rows × columns rectangle, undefined contents.</summary>
    /// <exception cref="DeviceMemoryException">The device has no room.</exception>
    public Block Rent(long rows, long columns, DType type = DType.F32)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(rows);
        ArgumentOutOfRangeException.ThrowIfNegative(columns);
        return new Block(Lend(RoundUp(type.Bytes(rows, columns))), 0, rows * columns, type);
    }

    /// <summary>As <see cref="Rent(long, long, DType)"/> for what stays as long as a model: its size is not rounded up to one that others share.</summary>
    /// <exception cref="DeviceMemoryException">The device has no room.</exception>
    public Block Keep(long rows, long columns, DType type = DType.F32)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(rows);
        ArgumentOutOfRangeException.ThrowIfNegative(columns);
        return new Block(Lend(KeptBytes(type.Bytes(rows, columns))), 0, rows * columns, type);
    }

    private DeviceMemory Lend(long bytes)
    {
        DeviceMemory memory;
        if (idle.TryGetValue(bytes, out Stack<DeviceMemory>? stack) && stack.Count > 0)
        {
            memory = stack.Pop();
        }
        else
        {
            memory = Allocate(bytes);
            HeldBytes += bytes;
            Allocations++;
        }

        LentBytes += bytes;
        PeakBytes = Math.Max(PeakBytes, LentBytes);
        return memory;
    }

    private DeviceMemory Allocate(long bytes)
    {
        try
        {
            return device.Allocate(bytes);
        }
        catch (DeviceMemoryException) when (HeldBytes > LentBytes)
        {
            // What lies idle here may be what is missing.
            Trim();
            return device.Allocate(bytes);
        }
    }

    /// <summary>Takes back what <see cref="Rent(long, DType)"/> lent.</summary>
    public void Return(in Block block)
    {
        long bytes = block.Memory.Bytes;
        if (!idle.TryGetValue(bytes, out Stack<DeviceMemory>? stack))
            idle[bytes] = stack = new Stack<DeviceMemory>();
        stack.Push(block.Memory);
        LentBytes -= bytes;
    }

    /// <summary>Gives idle memory back to the system.</summary>
    public void Trim()
    {
        foreach (Stack<DeviceMemory> stack in idle.Values)
        {
            while (stack.TryPop(out DeviceMemory? memory))
            {
                HeldBytes -= memory.Bytes;
                memory.Free();
            }
        }
    }

    /// <summary>Restarts <see cref="PeakBytes"/> from what is lent now.</summary>
    public void ResetPeak() => PeakBytes = LentBytes;

    /// <summary>The bytes that <see cref="Keep"/> takes for a request of <paramref name="bytes"/>.</summary>
    public static long KeptBytes(long bytes) => Math.Max(256, bytes + 255 & ~255L);

    /// <summary>The bytes that a request of <paramref name="bytes"/> takes: what memory plans must count.</summary>
    public static long RoundUp(long bytes)
    {
        if (bytes <= 256)
            return 256;
        long step = (long)System.Numerics.BitOperations.RoundUpToPowerOf2((ulong)bytes) / 8;
        return (bytes + step - 1) / step * step;
    }
}
