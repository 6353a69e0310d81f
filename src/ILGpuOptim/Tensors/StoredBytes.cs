using ILGpuOptim.Compute;

namespace ILGpuOptim;

/// <summary>The stored bytes of a block of any type, which are copied in parts: an array of the host holds no more than 2 GB.</summary>
/// <param name="Block">The block, from its first byte on.</param>
/// <param name="Count">The number of bytes, with the scales of types that have some; even.</param>
internal readonly record struct StoredBytes(Block Block, long Count)
{
    /// <summary>The most bytes that are copied at once.</summary>
    public const int Part = 64 << 20;

    /// <summary>All bytes of a parameter.</summary>
    public static StoredBytes Of(Parameter parameter) => new(parameter.Data, parameter.Bytes);

    /// <summary>All bytes of a block in one row.</summary>
    public static StoredBytes Of(Block block) => new(block, block.Type.Bytes(1, block.Length));

    /// <summary>Copies bytes from the device.</summary>
    /// <param name="start">The first byte, even.</param>
    /// <param name="target">As many bytes as are copied, an even number.</param>
    public void Download(long start, Span<byte> target) => Device.DownloadBytes(Range(start, target.Length), target.Length, target);

    /// <summary>Copies bytes to the device.</summary>
    /// <param name="start">The first byte, even.</param>
    /// <param name="source">The bytes, an even number.</param>
    public void Upload(long start, ReadOnlySpan<byte> source) => Device.UploadBytes(source, Range(start, source.Length));

    /// <summary>Passes all bytes in consecutive parts to an action.</summary>
    /// <param name="part">The most bytes of a part; even.</param>
    /// <param name="action">Takes the start of a part and its length.</param>
    public void ForEachPart(int part, Action<long, int> action)
    {
        for (long start = 0; start < Count; start += part)
            action(start, (int)Math.Min(part, Count - start));
    }

    private Device Device => Block.Memory.Device;

    /// <summary>
    /// The block of a range of bytes. Elements that share scales cannot be sliced, and a range may begin within an element: such bytes are seen as 16-bit
    /// elements, which is enough to copy them.
    /// </summary>
    private Block Range(long start, int length)
    {
        if (start < 0 || length > Count - start)
            throw new ArgumentOutOfRangeException(nameof(start), $"{length} bytes from {start} on are out of range; the block has {Count}");
        if (start == 0 && length == Count)
            return Block;
        long size = Block.Type.SharesScales() ? 0 : Block.Type.Bytes(1, 1);
        return size > 0 && start % size == 0 && length % size == 0
            ? Block.Slice(start / size, length / size)
            : Block with { Offset = Block.Offset + start, Length = length / 2, Type = DType.BF16 };
    }
}
