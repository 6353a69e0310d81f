namespace ILGpuOptim.Data;

/// <summary>
/// Windows of unpacked documents: each lies within one document, which has as many windows as it needs from its first token on, the
/// last one shorter. The windows before each group of documents are counted once, so that any window is found with two reads; nothing is kept for
/// single documents or windows.
/// </summary>
internal sealed class DocumentWindows
{
    private const int Group = 256;

    private readonly DocumentEnds ends;
    private readonly int block;

    /// <summary>1 if the token after a window is its last target; 0 if windows have no targets of their own.</summary>
    private readonly int ahead;

    /// <summary>The windows before each group of documents.</summary>
    private readonly long[] before;

    /// <summary>Counts the windows; reads every end once.</summary>
    /// <param name="ends">The documents.</param>
    /// <param name="block">The maximum number of tokens per window.</param>
    /// <param name="predictsNext">True: each token of a window predicts the next one of its document, so documents of one token have no window.</param>
    public DocumentWindows(DocumentEnds ends, int block, bool predictsNext)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(block, 1);
        (this.ends, this.block, ahead) = (ends, block, predictsNext ? 1 : 0);
        before = new long[(ends.Count + Group - 1) / Group];
        Span<long> piece = stackalloc long[Group];
        long start = 0;
        for (int group = 0; group < before.Length; group++)
        {
            before[group] = Count;
            Span<long> here = piece[..(int)Math.Min(Group, ends.Count - ((long)group * Group))];
            ends.CopyTo((long)group * Group, here);
            foreach (long end in here)
            {
                Count += Windows(end - start);
                start = end;
            }
        }
    }

    /// <summary>The number of windows.</summary>
    public long Count { get; }

    /// <summary>The position of a window. Allocates nothing.</summary>
    /// <param name="window">Its number.</param>
    /// <returns>The first token, and the number of tokens (from 1 to the block).</returns>
    public (long Start, int Length) At(long window)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(window);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(window, Count);
        int low = 0, high = before.Length - 1;
        while (low < high)
        {
            int middle = low + ((high - low + 1) / 2);
            (low, high) = before[middle] <= window ? (middle, high) : (low, middle - 1);
        }

        long document = (long)low * Group, start = document == 0 ? 0 : ends.EndOf(document - 1);
        Span<long> piece = stackalloc long[Group];
        piece = piece[..(int)Math.Min(Group, ends.Count - document)];
        ends.CopyTo(document, piece);
        window -= before[low];
        foreach (long end in piece)
        {
            long windows = Windows(end - start);
            if (window < windows)
                return (start + (window * block), (int)Math.Min(block, end - start - ahead - (window * block)));
            window -= windows;
            start = end;
        }

        throw new InvalidOperationException("the window count is wrong");
    }

    /// <summary>Fills a window; padding is 0 with ignored targets. Allocates nothing.</summary>
    /// <param name="tokens">The tokens of the documents.</param>
    /// <param name="window">The window's number.</param>
    /// <param name="inputs">block ids.</param>
    /// <param name="targets">block ids, all <see cref="SequentialWindows.Ignored"/> if windows have no targets of their own.</param>
    /// <returns>The number of tokens of the window.</returns>
    public int Fill(TokenSequence tokens, long window, Span<int> inputs, Span<int> targets)
    {
        (long start, int length) = At(window);
        tokens.CopyTo(start, inputs[..length]);
        inputs[length..block].Clear();
        targets[..block].Fill(SequentialWindows.Ignored);
        if (ahead > 0)
            tokens.CopyTo(start + 1, targets[..length]);
        return length;
    }

    private long Windows(long length) => (length - ahead + block - 1) / block;
}
