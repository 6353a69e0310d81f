using ILGpuOptim.Compute;

namespace ILGpuOptim.Data;

/// <summary>
/// Draws windows of tokens. A batch depends on the seed, the stream and its number alone, so that a run that is resumed
/// goes on exactly: row r of batch i is sample i · rows + r. <see cref="Sampling.Random"/> samples start where <see cref="Philox"/> sends their
/// number, the 64 bits scaled to the number of positions; <see cref="Sampling.Epochs"/> is told by <see cref="EpochWindows"/>.
/// </summary>
/// <param name="block">Tokens of a window.</param>
/// <param name="rows">Windows of a batch.</param>
/// <param name="seed">Repeats the same batches.</param>
/// <param name="sampling">Whether windows are drawn with replacement.</param>
public sealed class BatchSampler(int block, int rows, ulong seed, Sampling sampling = Sampling.Random)
{
    /// <summary>Keeps the counters apart from those of dropout and initial weights, which count streams from zero.</summary>
    private const ulong Streams = 0x42415443_48000000;

    private readonly EpochWindows epochs = new(block, seed);

    /// <summary>Fills a batch; targets are the inputs moved by one. Allocates nothing.</summary>
    /// <param name="tokens">At least block + 1 of them.</param>
    /// <param name="stream">Tells sequences of random batches apart, such as training and validation; below 2²⁴. Epochs do not depend on it.</param>
    /// <param name="batch">The batch's number.</param>
    /// <param name="inputs">rows · block ids.</param>
    /// <param name="targets">rows · block ids.</param>
    public void Fill(TokenSequence tokens, ulong stream, ulong batch, Span<int> inputs, Span<int> targets)
    {
        if (tokens.Length <= block)
            throw new ArgumentException($"{tokens.Length} tokens have no window of {block} + 1", nameof(tokens));
        for (int row = 0; row < rows; row++)
        {
            long start = Start(tokens.Length, stream, batch, row);
            tokens.CopyTo(start, inputs.Slice(row * block, block));
            tokens.CopyTo(start + 1, targets.Slice(row * block, block));
        }
    }

    /// <summary>Where a row's window begins, in [0, <paramref name="length"/> − block).</summary>
    public long Start(long length, ulong stream, ulong batch, int row)
    {
        ulong sample = (batch * (ulong)rows) + (ulong)row;
        if (sampling == Sampling.Epochs)
            return epochs.Start(length, sample);
        (uint a, uint b, _, _) = Philox.Generate(seed, Streams + stream, sample);
        return (long)Math.BigMul((ulong)a << 32 | b, (ulong)(length - block), out _);
    }

    /// <summary>How often the windows of <paramref name="length"/> tokens were passed in a number of batches: 1.5 is the middle of the second epoch.</summary>
    public double Epochs(long length, double batches) => batches * rows / epochs.Count(length);
}
