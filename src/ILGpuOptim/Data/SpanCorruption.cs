using ILGpuOptim.Compute;

namespace ILGpuOptim.Data;

/// <summary>
/// Prepares sequences for encoder–decoder models by span corruption (Raffel et al., 2020, sections 3.1.4 and 3.3.4): a fraction of each sequence's
/// tokens is hidden in spans. In the encoder's input one sentinel token stands for each span; the target lists each sentinel with the tokens of its
/// span. Both end with the end token. As in the implementation of the paper, visible and hidden spans alternate, the first is visible and the last
/// hidden, and their lengths are random partitions, all equally likely. Like batches, spans depend only on the seed, the stream and the number of the batch.
/// </summary>
public sealed class SpanCorruption
{
    /// <summary>Keeps the counters apart from those of batches, masks, dropout and initial weights.</summary>
    private const ulong Streams = 0x5350414E_00000000;

    private readonly int[] sentinels, order, visible, hidden;
    private readonly int end, padding;
    private readonly double part, meanSpan;
    private readonly ulong seed;

    /// <summary>Prepares for sequences of one length.</summary>
    /// <param name="sentinels">The ids that stand for spans, in their order; as many as the sequence has spans (<see cref="SpanCounts.Of"/>).</param>
    /// <param name="end">The id that ends inputs and targets.</param>
    /// <param name="padding">The id behind the end of shorter inputs.</param>
    /// <param name="block">Tokens of a sequence.</param>
    /// <param name="part">The fraction of hidden tokens, in (0, 1).</param>
    /// <param name="meanSpan">The mean number of tokens of a span, at least 1.</param>
    /// <param name="seed">The seed of the spans.</param>
    /// <exception cref="ArgumentException">There are too few sentinels, or one appears twice or is the end or the padding.</exception>
    public SpanCorruption(IReadOnlyList<int> sentinels, int end, int padding, int block, double part, double meanSpan, ulong seed)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(block, 1);
        Counts = SpanCounts.Of(block, part, meanSpan);
        if (sentinels.Count < Counts.Spans)
            throw new ArgumentException($"{Counts.Spans} spans need as many sentinels, not {sentinels.Count}", nameof(sentinels));
        this.sentinels = [.. sentinels.Take(Counts.Spans)];
        if (this.sentinels.Append(end).Append(padding).Distinct().Count() < this.sentinels.Length + (end == padding ? 1 : 2))
            throw new ArgumentException("each sentinel must be an id of its own, and neither the end nor the padding", nameof(sentinels));
        (this.end, this.padding, this.part, this.meanSpan, this.seed) = (end, padding, part, meanSpan, seed);
        (order, visible, hidden) = (new int[block], new int[Counts.Spans], new int[Counts.Spans]);
    }

    /// <summary>What is hidden of a sequence of the block's length. Rows of inputs and targets have <see cref="SpanCounts.InputLength"/> and <see cref="SpanCounts.TargetLength"/> ids.</summary>
    public SpanCounts Counts { get; }

    /// <summary>Makes the inputs and targets of a batch. Allocates nothing.</summary>
    /// <param name="stream">Tells sequences of batches apart, as for <see cref="BatchSampler"/>.</param>
    /// <param name="batch">The batch's number.</param>
    /// <param name="tokens">Sequences of the block's length, one after the other.</param>
    /// <param name="inputs">For each sequence a row of ids.</param>
    /// <param name="mask">As many: 1, and 0 behind the end of an input.</param>
    /// <param name="targets">For each sequence a row of ids, and <see cref="SequentialWindows.Ignored"/> behind its end.</param>
    /// <param name="lengths">How many tokens of each sequence are real; empty: all. A sequence without tokens has an input of the end alone, and no targets.</param>
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

    /// <summary>Makes the input and target of a sequence; returns the length of the input.</summary>
    private int Corrupt(ulong stream, ulong number, ReadOnlySpan<int> tokens, Span<int> input, Span<int> target)
    {
        SpanCounts counts = SpanCounts.Of(tokens.Length, part, meanSpan);
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

    /// <summary>Divides a number of tokens into spans of at least one, where there are tokens: by different random cuts between them.</summary>
    private void Partition(Span<int> spans, int count, ulong stream, ulong number, ulong half)
    {
        int cuts = spans.Length - 1;
        if (cuts < 0)
            return;
        for (int i = 0; i < count - 1; i++)
            order[i] = i + 1;
        for (int i = 0; i < cuts; i++)
        {
            // The first steps of a shuffle: each cut is drawn at most once.
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
