namespace ILGpuOptim.Compute;

/// <summary>
/// A pool of device memory for reuse: training steps after the first allocate nothing. Sizes are
/// rounded up to a quarter of a power of two, so that at most a fifth is unused; those of <see cref="RentPersistent"/> are not.
/// One thread at a time may use a device and its pool.
/// </summary>
public sealed class MemoryPool
{
    private readonly Device device;
    private readonly Dictionary<long, IdleMemory> idle = [];

    internal MemoryPool(Device device) => this.device = device;

    private bool isClosed;

    /// <summary>Bytes in use.</summary>
    public long UsedBytes { get; private set; }

    /// <summary>The largest number of bytes in use since <see cref="ResetPeak"/>.</summary>
    public long PeakBytes { get; private set; }

    /// <summary>Bytes allocated from the system, in use or idle.</summary>
    public long ReservedBytes { get; private set; }

    /// <summary>The number of allocations from the system.</summary>
    public long Allocations { get; private set; }

    /// <summary>Rents a block of <paramref name="length"/> elements in one row, with undefined contents.</summary>
    /// <exception cref="DeviceMemoryException">The device has too little memory.</exception>
    public Block Rent(long length, DType type = DType.F32) => Rent(1, length, type);

    /// <summary>Rents a block of rows × columns elements, with undefined contents.</summary>
    /// <exception cref="DeviceMemoryException">The device has too little memory.</exception>
    public Block Rent(long rows, long columns, DType type = DType.F32)
    {
        using Device.Use use = device.Enter();
        Validate.Rectangle(rows, columns);
        DeviceMemory memory = Take(RoundUp(type.Bytes(rows, columns)));
        return new Block(memory, 0, rows * columns, type) { Lease = memory.Lease };
    }

    /// <summary>As <see cref="Rent(long, long, DType)"/>, for blocks that live as long as a model: the size is not rounded up for reuse.</summary>
    /// <exception cref="DeviceMemoryException">The device has too little memory.</exception>
    public Block RentPersistent(long rows, long columns, DType type = DType.F32)
    {
        using Device.Use use = device.Enter();
        Validate.Rectangle(rows, columns);
        DeviceMemory memory = Take(PersistentBytes(type.Bytes(rows, columns)));
        return new Block(memory, 0, rows * columns, type) { Lease = memory.Lease };
    }

    private DeviceMemory Take(long bytes)
    {
        if (!idle.TryGetValue(bytes, out IdleMemory? list))
            idle[bytes] = list = new IdleMemory();
        if (list.TryTake() is not { } memory)
        {
            memory = Allocate(bytes);
            memory.Idle = list;
            ReservedBytes += bytes;
            Allocations++;
        }

        UsedBytes += bytes;
        PeakBytes = Math.Max(PeakBytes, UsedBytes);
        return memory;
    }

    private DeviceMemory Allocate(long bytes)
    {
        DeviceMemory memory;
        try
        {
            memory = device.Allocate(bytes);
        }
        catch (DeviceMemoryException) when (ReservedBytes > UsedBytes)
        {
            // Releasing idle memory may make room.
            Trim();
            memory = device.Allocate(bytes);
        }

        memory.Device = device;
        return memory;
    }

    /// <summary>
    /// Returns the memory of a block from <see cref="Rent(long, DType)"/> or <see cref="RentPersistent"/>, all of it. Blocks of this memory cannot be used any more. After
    /// the device was disposed, the memory is released to the system.
    /// </summary>
    /// <exception cref="ArgumentException">The block has no memory, or belongs to another device.</exception>
    /// <exception cref="InvalidOperationException">The block was returned before.</exception>
    public void Return(in Block block)
    {
        using Device.Use use = isClosed ? default : device.Enter();
        Release(block);
    }

    /// <summary>As <see cref="Return(in Block)"/>, for several blocks, the last one first.</summary>
    public void ReturnAll(ReadOnlySpan<Block> blocks)
    {
        if (blocks.IsEmpty)
            return;
        using Device.Use use = isClosed ? default : device.Enter();
        for (int i = blocks.Length - 1; i >= 0; i--)
            Release(blocks[i]);
    }

    private void Release(in Block block)
    {
        DeviceMemory? memory = block.Memory;
        if (memory is null || !ReferenceEquals(memory.Device, device) || memory.Lease != block.Lease)
            throw Refused(block);
        long bytes = memory.Bytes;
        memory.Lease++;
        UsedBytes -= bytes;
        if (isClosed)
        {
            ReservedBytes -= bytes;
            memory.Free();
            return;
        }

        memory.Idle!.Add(memory);
    }

    private Exception Refused(Block block)
    {
        if (block.Memory is null)
            return new ArgumentException($"{device.Name}: a block without memory cannot be returned", nameof(block));
        return ReferenceEquals(block.Memory.Device, device)
            ? new InvalidOperationException($"{device.Name}: a block was returned to its pool twice")
            : new ArgumentException($"a block of the device {block.Memory.Device.Name} cannot be returned to the pool of another, {device.Name}", nameof(block));
    }

    /// <summary>Releases idle memory to the system, now and whenever more is returned.</summary>
    internal void Close()
    {
        isClosed = true;
        Trim();
    }

    /// <summary>Releases idle memory to the system.</summary>
    public void Trim()
    {
        using Device.Use use = isClosed ? default : device.Enter();
        foreach (IdleMemory list in idle.Values)
        {
            while (list.TryTake() is { } memory)
            {
                ReservedBytes -= memory.Bytes;
                memory.Free();
            }
        }
    }

    /// <summary>Resets <see cref="PeakBytes"/> to the bytes in use.</summary>
    public void ResetPeak() => PeakBytes = UsedBytes;

    /// <summary>The bytes that <see cref="RentPersistent"/> takes for a request of <paramref name="bytes"/>.</summary>
    public static long PersistentBytes(long bytes) => Math.Max(256, bytes + 255 & ~255L);

    /// <summary>The bytes that a request for <paramref name="bytes"/> takes; memory plans count these.</summary>
    public static long RoundUp(long bytes)
    {
        if (bytes <= 256)
            return 256;
        long step = (long)System.Numerics.BitOperations.RoundUpToPowerOf2((ulong)bytes) / 8;
        return (bytes + step - 1) / step * step;
    }
}

/// <summary>The idle memory of one size; last in, first out.</summary>
internal sealed class IdleMemory
{
    private DeviceMemory? first;

    public void Add(DeviceMemory memory) => (memory.Next, first) = (first, memory);

    public DeviceMemory? TryTake()
    {
        DeviceMemory? memory = first;
        if (memory is not null)
            (first, memory.Next) = (memory.Next, null);
        return memory;
    }
}
