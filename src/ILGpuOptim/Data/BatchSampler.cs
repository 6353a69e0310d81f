using ILGpuOptim.Compute;

namespace ILGpuOptim.Data;

/// <summary>
/// Samples windows of tokens. A batch depends only on the seed, the stream and its number, so that a resumed run
/// continues exactly: row r of batch i is sample i · rows + r. <see cref="Sampling.Random"/> samples start at a 64-bit number of <see cref="Philox"/>,
/// scaled to the number of positions; for <see cref="Sampling.Epochs"/> see <see cref="EpochWindows"/>.
/// </summary>
/// <param name="block">Tokens per window.</param>
/// <param name="rows">Windows per batch.</param>
/// <param name="seed">The seed of the batches.</param>
/// <param name="sampling">Sampling with or without replacement.</param>
public sealed class BatchSampler(int block, int rows, ulong seed, Sampling sampling = Sampling.Random)
{
    /// <summary>Keeps the counters apart from those of dropout and initial weights, which count streams from zero.</summary>
    private const ulong Streams = 0x42415443_48000000;

    private readonly EpochWindows epochs = new(block, seed);

    /// <summary>Fills a batch; targets are the inputs shifted by one. Allocates nothing.</summary>
    /// <param name="tokens">At least block + 1 of them.</param>
    /// <param name="stream">Selects a sequence of random batches, such as training or validation; below 2²⁴. Epochs do not depend on it.</param>
    /// <param name="batch">The batch's number.</param>
    /// <param name="inputs">rows · block ids.</param>
    /// <param name="targets">rows · block ids.</param>
    public void Fill(TokenSequence tokens, ulong stream, ulong batch, Span<int> inputs, Span<int> targets)
    {
        CheckLength(tokens);
        for (int row = 0; row < rows; row++)
            Read(tokens, Start(tokens.Length, stream, batch, row), inputs.Slice(row * block, block), targets.Slice(row * block, block));
    }

    /// <summary>
    /// Fills a batch of packed documents: each token has the number of its document, and first tokens of documents are no targets
    /// (<see cref="SequentialWindows.Ignored"/>). Allocates nothing.
    /// </summary>
    /// <param name="tokens">At least block + 1 of them.</param>
    /// <param name="ends">The ends of their documents.</param>
    /// <param name="stream">As for the other overload.</param>
    /// <param name="batch">The batch's number.</param>
    /// <param name="inputs">rows · block ids.</param>
    /// <param name="targets">rows · block ids.</param>
    /// <param name="documents">rows · block numbers of documents, counted from 0 in each row.</param>
    public void Fill(TokenSequence tokens, DocumentEnds ends, ulong stream, ulong batch, Span<int> inputs, Span<int> targets, Span<int> documents)
    {
        CheckLength(tokens);
        for (int row = 0; row < rows; row++)
        {
            long start = Start(tokens.Length, stream, batch, row);
            Read(tokens, start, inputs.Slice(row * block, block), targets.Slice(row * block, block));
            ends.Number(start, documents.Slice(row * block, block), targets.Slice(row * block, block));
        }
    }

    /// <summary>
    /// Fills a batch of padded documents: each row is a window of one document, followed by padding. An epoch has each window once
    /// (<see cref="DocumentWindows"/>), with fixed boundaries. Allocates nothing.
    /// </summary>
    /// <param name="tokens">The tokens.</param>
    /// <param name="windows">The windows of their documents, of this block.</param>
    /// <param name="stream">As for the other overload.</param>
    /// <param name="batch">The batch's number.</param>
    /// <param name="inputs">rows · block ids; padding is 0.</param>
    /// <param name="targets">rows · block ids; those of padding are ignored.</param>
    /// <param name="lengths">The number of tokens of each row.</param>
    internal void Fill(TokenSequence tokens, DocumentWindows windows, ulong stream, ulong batch, Span<int> inputs, Span<int> targets, Span<int> lengths)
    {
        for (int row = 0; row < rows; row++)
        {
            Span<int> ids = inputs.Slice(row * block, block), next = targets.Slice(row * block, block);
            lengths[row] = windows.Fill(tokens, Window(windows.Count, stream, batch, row), ids, next);
        }
    }

    /// <summary>The window of a row, of a number of windows that an epoch has once each.</summary>
    internal long Window(long count, ulong stream, ulong batch, int row)
    {
        ulong sample = (batch * (ulong)rows) + (ulong)row;
        return sampling == Sampling.Epochs ? epochs.Window(count, sample) : Random(count, stream, sample);
    }

    /// <summary>The start of a row's window, in [0, <paramref name="length"/> − block).</summary>
    public long Start(long length, ulong stream, ulong batch, int row)
    {
        ulong sample = (batch * (ulong)rows) + (ulong)row;
        if (sampling == Sampling.Epochs)
            return epochs.Start(length, sample);
        return Random(length - block, stream, sample);
    }

    private static void Read(TokenSequence tokens, long start, Span<int> inputs, Span<int> targets)
    {
        tokens.CopyTo(start, inputs);
        tokens.CopyTo(start + 1, targets);
    }

    private void CheckLength(TokenSequence tokens)
    {
        if (tokens.Length <= block)
            throw new ArgumentException($"{tokens.Length} tokens have no window of {block} + 1", nameof(tokens));
    }

    private long Random(long count, ulong stream, ulong sample)
    {
        (uint a, uint b, _, _) = Philox.Generate(seed, Streams + stream, sample);
        return (long)Math.BigMul((ulong)a << 32 | b, (ulong)count, out _);
    }

    /// <summary>The number of epochs of <paramref name="length"/> tokens in a number of batches: 1.5 is the middle of the second epoch.</summary>
    public double Epochs(long length, double batches) => batches * rows / epochs.Count(length);

    /// <summary>The number of epochs in a number of batches, for a number of windows that an epoch has once each.</summary>
    internal double EpochsOf(long windows, double batches) => batches * rows / windows;
}
