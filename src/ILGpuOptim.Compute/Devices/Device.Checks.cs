using System.Buffers;

namespace ILGpuOptim.Compute;

// Argument checks, common to all devices.
public abstract partial class Device
{
    /// <summary>The managed thread inside a call; 0 for none.</summary>
    private int user;

    /// <summary>True after <see cref="Dispose"/>.</summary>
    public bool IsDisposed { get; private set; }

    /// <summary>Raised before the device is disposed, while it can still be used.</summary>
    public event EventHandler? Disposing;

    /// <summary>Begins a call. Nested calls are allowed; concurrent calls of two threads are not.</summary>
    /// <exception cref="InvalidOperationException">Another thread is inside a call.</exception>
    /// <exception cref="ObjectDisposedException">The device was disposed.</exception>
    internal Use Enter()
    {
        int thread = Environment.CurrentManagedThreadId, before = Interlocked.CompareExchange(ref user, thread, 0);
        if (before == thread)
            return default;
        if (before != 0 || IsDisposed)
            throw NotEntered(before);
        return new Use(this);
    }

    // Messages are composed apart from the checks: a method that composes one prepares for it at each call.
    private Exception NotEntered(int before)
    {
        if (before != 0)
            return new InvalidOperationException($"{Name}: one thread at a time may use a device and its memory pool; open a device for each thread, or take turns");
        Volatile.Write(ref user, 0);
        return new ObjectDisposedException(GetType().Name, $"the device {Name} was disposed");
    }

    /// <summary>A call in progress.</summary>
    internal readonly ref struct Use(Device? device)
    {
        /// <summary>Ends the call.</summary>
        public void Dispose()
        {
            if (device is not null)
                Volatile.Write(ref device.user, 0);
        }
    }

    /// <summary>Throws unless a block belongs to this device, was not returned, and is within its allocation.</summary>
    internal void Check(in Block block)
    {
        DeviceMemory? memory = block.Memory;
        if (memory is null || !ReferenceEquals(memory.Device, this) || memory.Lease != block.Lease)
            throw Refused(block);
        Validate.Extent(block);
    }

    private Exception Refused(Block block)
    {
        if (block.Memory is null)
            return new ArgumentException($"{Name}: a block has no memory");
        string owner = block.Memory.Device.Name;
        return ReferenceEquals(block.Memory.Device, this)
            ? new ObjectDisposedException(nameof(Block), $"{Name}: a block is used after it was returned to its pool (its model, trainer or tape was disposed or reset)")
            : new ArgumentException($"a block of the device {owner} is used on {(owner == Name ? "another device " : "")}{Name}; copy it there through the host first");
    }

    private void Check(in Block block, DType type)
    {
        Check(block);
        Validate.Type(block, type);
    }

    private void CheckFloats(in Block block)
    {
        Check(block);
        if (block.Type is not (DType.F32 or DType.BF16))
            throw new ArgumentException($"expected {DType.F32} or {DType.BF16} storage, not {block.Type}");
    }

    private void CheckNumbers(in Block block, int length)
    {
        Check(block);
        Validate.Length(length, block);
        if (block.Type is not (DType.F32 or DType.BF16))
            throw new NotSupportedException($"{block.Type} storage cannot be copied from or to the host; convert it to or from f32 with a map");
    }

    private void Check(ReadOnlySpan<Operand> operands)
    {
        foreach (ref readonly Operand operand in operands)
        {
            Check(operand.Block);
            if (operand.Factor is { } factor)
                Check(factor);
        }
    }

    private void Check(in GemmArguments arguments)
    {
        Check(arguments.A);
        Check(arguments.B);
        Check(arguments.C);
    }

    private void Check(in AttentionArguments arguments)
    {
        Check(arguments.Query);
        Check(arguments.Key);
        Check(arguments.Value);
        Check(arguments.Output);
        if (arguments.LogSumExp is { } sums)
            Check(sums);
        if (arguments.KeyBias is { } bias)
            Check(bias);
        if (arguments.DistanceBias is { } distances)
            Check(distances);
        if (arguments.Ranges is { } ranges)
            Check(ranges);
    }

    private void CheckNarrowAttention(in AttentionArguments arguments)
    {
        if (arguments.Query.Type != DType.F32 && !HasNarrowAttention)
            throw new NotSupportedException($"{Name}: attention reads {DType.F32} here, not {arguments.Query.Type}; use the precision f32 or tf32, or the device cpu");
    }

    /// <summary>Throws if the host knows that attention's ranges exceed the keys or decrease.</summary>
    private void CheckRanges(in AttentionArguments arguments)
    {
        long count = 2L * arguments.Batch * arguments.QueryLength;
        if (arguments.Ranges is not { } block || count == 0)
            return;
        Block ranges = block.Slice(0, count);
        if (RangeOfIndices(ranges) is var (least, most) && (least < 0 || most > arguments.KeyLength))
            throw new ArgumentOutOfRangeException(nameof(arguments), least < 0 ? least : most, $"{Name}: attention: ranges must lie between 0 and {arguments.KeyLength}, the number of keys");
        if (!UsesHostMemory)
            return;
        int[] values = ArrayPool<int>.Shared.Rent(checked((int)count));
        try
        {
            DownloadCore(ranges, values.AsSpan(0, (int)count));
            Validate.Ascending(values.AsSpan(0, (int)count), 2 * arguments.QueryLength);
        }
        finally
        {
            ArrayPool<int>.Shared.Return(values);
        }
    }

    private void CheckIndices(in Block indices, long count, bool allowsNegative)
    {
        if (indices.Length == 0 || RangeOfIndices(indices) is not var (least, most))
            return;
        if (most >= count || (least < 0 && !allowsNegative))
            throw new ArgumentOutOfRangeException(nameof(indices), most >= count ? most : least, $"{Name}: an index is out of range; it must be between 0 and {count - 1}");
    }
}
