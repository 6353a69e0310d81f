using ILGpuOptim.Compute;

namespace ILGpuOptim.Data;

/// <summary>
/// Windows of training tokens without replacement. An epoch divides the tokens into contiguous windows of block tokens and uses
/// every window once, in random order. The division and the order depend only on the seed and the epoch, and the order is computed
/// element by element (<see cref="SeededPermutation"/>), so that the number of a sample determines its window: a resumed run continues exactly,
/// also in the middle of an epoch.
/// </summary>
/// <remarks>
/// An epoch has n = max(1, ⌊tokens / block⌋ − 1) windows. The remaining tokens (one to two blocks) are divided at random between
/// the two ends of the data, so the boundaries between windows differ from epoch to epoch, and tokens that one epoch omits are in others.
/// The targets of an epoch are n · block different tokens.
/// </remarks>
/// <param name="block">Tokens per window.</param>
/// <param name="seed">The seed of the windows.</param>
internal sealed class EpochWindows(int block, ulong seed)
{
    /// <summary>Keep the counters apart from those of random windows, masks, dropout and initial weights.</summary>
    private const ulong Offsets = 0x45504F43_48000000, Orders = 0x45504F43_48000001;

    private readonly SeededPermutation order = new(seed, Orders);

    /// <summary>The number of windows per epoch.</summary>
    /// <param name="length">The number of tokens, more than a block.</param>
    public long Count(long length) => Math.Max(1, (length / block) - 1);

    /// <summary>The start of a sample's window, which lies within the tokens together with its last target. Allocates nothing.</summary>
    /// <param name="length">The number of tokens, more than a block.</param>
    /// <param name="sample">The sample's number; its epoch is this divided by <see cref="Count"/>.</param>
    public long Start(long length, ulong sample)
    {
        long count = Count(length);
        (ulong epoch, ulong index) = Math.DivRem(sample, (ulong)count);
        (uint a, uint b, _, _) = Philox.Generate(seed, Offsets, epoch);
        long first = (long)Math.BigMul((ulong)a << 32 | b, (ulong)(length - (count * block)), out _);
        return first + (block * order.At(epoch, count, (long)index));
    }

    /// <summary>Which of a number of windows a sample is; every epoch has each of them once. Allocates nothing.</summary>
    public long Window(long count, ulong sample)
    {
        (ulong epoch, ulong index) = Math.DivRem(sample, (ulong)count);
        return order.At(epoch, count, (long)index);
    }
}
