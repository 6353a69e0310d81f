using ILGpuOptim.Compute;

namespace ILGpuOptim.Data;

/// <summary>
/// Prepares sequences for encoder–decoder models by span corruption (Raffel et al., 2020, sections 3.1.4 and 3.3.4): a fraction of each sequence's
/// tokens is hidden in spans. In the encoder's input one sentinel token stands for each span; the target lists each sentinel with the tokens of its
/// span. Both end with the end token. As in the implementation of the paper, visible and hidden spans alternate, the first is visible and the last
/// hidden, and their lengths are random partitions, all equally likely. Like batches, spans depend only on the seed, the stream and the number of the batch.
/// </summary>
internal sealed class SpanCorruption
{
    /// <summary>Keeps the counters apart from those of batches, masks, dropout and initial weights.</summary>
    private const ulong Streams = 0x5350414E_00000000;

    private readonly int[] sentinels, order, visible, hidden;
    private readonly int end, padding;
    private readonly double fraction, meanSpan;
    private readonly ulong seed;

    /// <summary>Prepares for sequences of one length.</summary>
    /// <param name="sentinels">The sentinel ids, in order; at least as many as the sequence has spans (<see cref="SpanCounts.Of"/>).</param>
    /// <param name="end">The id that ends inputs and targets.</param>
    /// <param name="padding">The padding id of shorter inputs.</param>
    /// <param name="block">Tokens per sequence.</param>
    /// <param name="fraction">The fraction of hidden tokens, in (0, 1).</param>
    /// <param name="meanSpan">The mean number of tokens of a span, at least 1.</param>
    /// <param name="seed">The seed of the spans.</param>
    /// <exception cref="ArgumentException">There are too few sentinels, or one appears twice or is the end or the padding.</exception>
    public SpanCorruption(IReadOnlyList<int> sentinels, int end, int padding, int block, double fraction, double meanSpan, ulong seed)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(block, 1);
        Counts = SpanCounts.Of(block, fraction, meanSpan);
        if (sentinels.Count < Counts.Spans)
            throw new ArgumentException($"{Counts.Spans} spans need as many sentinels, not {sentinels.Count}", nameof(sentinels));
        this.sentinels = [.. sentinels.Take(Counts.Spans)];
        if (this.sentinels.Append(end).Append(padding).Distinct().Count() < this.sentinels.Length + (end == padding ? 1 : 2))
            throw new ArgumentException("sentinels must be distinct, and differ from the end and the padding", nameof(sentinels));
        (this.end, this.padding, this.fraction, this.meanSpan, this.seed) = (end, padding, fraction, meanSpan, seed);
        (order, visible, hidden) = (new int[block], new int[Counts.Spans], new int[Counts.Spans]);
    }

    /// <summary>The counts of a sequence of the block's length. Rows of inputs and targets have <see cref="SpanCounts.InputLength"/> and <see cref="SpanCounts.TargetLength"/> ids.</summary>
    public SpanCounts Counts { get; }

    /// <summary>Creates the inputs and targets of a batch. Allocates nothing.</summary>
    /// <param name="stream">Selects a sequence of random batches, as for <see cref="BatchSampler"/>.</param>
    /// <param name="batch">The batch's number.</param>
    /// <param name="tokens">Concatenated sequences of the block's length.</param>
    /// <param name="inputs">A row of ids per sequence.</param>
    /// <param name="mask">As many values: 1 for tokens of the input, 0 for padding.</param>
    /// <param name="targets">A row of ids per sequence, padded with <see cref="SequentialWindows.Ignored"/>.</param>
    /// <param name="lengths">The number of tokens of each sequence without padding; empty: all. The input of an empty sequence is the end token, and it has no targets.</param>
    public void Apply(ulong stream, ulong batch, ReadOnlySpan<int> tokens, Span<int> inputs, Span<int> mask, Span<int> targets, ReadOnlySpan<int> lengths = default)
    {
        int block = Counts.Length, rows = tokens.Length / block, read = Counts.InputLength, written = Counts.TargetLength;
        for (int row = 0; row < rows; row++)
        {
            ReadOnlySpan<int> sequence = tokens.Slice(row * block, lengths.IsEmpty ? block : lengths[row]);
            Span<int> input = inputs.Slice(row * read, read), seen = mask.Slice(row * read, read);
            int length = Corrupt(stream, (batch * (ulong)rows) + (ulong)row, sequence, input, targets.Slice(row * written, written));
            input[length..].Fill(padding);
            seen[..length].Fill(1);
            seen[length..].Clear();
        }
    }

    /// <summary>Creates the input and target of a sequence; returns the length of the input.</summary>
    private int Corrupt(ulong stream, ulong number, ReadOnlySpan<int> tokens, Span<int> input, Span<int> target)
    {
        SpanCounts counts = SpanCounts.Of(tokens.Length, fraction, meanSpan);
        Span<int> shown = visible.AsSpan(0, counts.Spans), gone = hidden.AsSpan(0, counts.Spans);
        Partition(shown, counts.Length - counts.Hidden, stream, number, 0);
        Partition(gone, counts.Hidden, stream, number, 1);
        int read = 0, written = 0;
        for (int i = 0; i < counts.Spans; i++)
        {
            tokens[..shown[i]].CopyTo(input[read..]);
            read += shown[i];
            input[read++] = target[written++] = sentinels[i];
            tokens.Slice(shown[i], gone[i]).CopyTo(target[written..]);
            written += gone[i];
            tokens = tokens[(shown[i] + gone[i])..];
        }

        input[read++] = end;
        if (written > 0)
            target[written++] = end;
        target[written..].Fill(SequentialWindows.Ignored);
        return read;
    }

    /// <summary>Divides a number of tokens into non-empty spans at distinct random cut points.</summary>
    private void Partition(Span<int> spans, int count, ulong stream, ulong number, ulong half)
    {
        int cuts = spans.Length - 1;
        if (cuts < 0)
            return;
        for (int i = 0; i < count - 1; i++)
            order[i] = i + 1;
        for (int i = 0; i < cuts; i++)
        {
            // The first steps of a shuffle: each cut point is sampled at most once.
            (uint where, _, _, _) = Philox.Generate(seed, Streams + stream, (((number * 2) + half) * (ulong)Counts.Length) + (ulong)i);
            int chosen = i + (int)((ulong)where * (uint)(count - 1 - i) >> 32);
            (order[i], order[chosen]) = (order[chosen], order[i]);
        }

        order.AsSpan(0, cuts).Sort();
        int before = 0;
        for (int i = 0; i < cuts; i++)
        {
            spans[i] = order[i] - before;
            before = order[i];
        }

        spans[cuts] = count - before;
    }
}
