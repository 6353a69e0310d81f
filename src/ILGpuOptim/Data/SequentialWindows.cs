namespace ILGpuOptim.Data;

/// <summary>
/// Windows over all tokens in order: each token but the first is a target exactly once. With a stride below the block, a
/// window repeats block − stride tokens as context, whose targets are ignored, so every prediction after the first window
/// has at least that much context.
/// </summary>
internal sealed class SequentialWindows
{
    /// <summary>The target of an ignored position.</summary>
    public const int Ignored = -1;

    private readonly TokenSequence tokens;
    private readonly DocumentEnds? documents;
    private readonly int block;
    private readonly int stride;

    /// <summary>Creates windows over tokens.</summary>
    /// <param name="tokens">The tokens, at least two.</param>
    /// <param name="block">Tokens per window.</param>
    /// <param name="stride">The distance between the starts of windows, at most the block; 0 means the block.</param>
    /// <param name="documents">The ends of documents, whose first tokens are not targets; null: all tokens are one document.</param>
    /// <exception cref="UserException">There are too few tokens, or the stride is out of range.</exception>
    public SequentialWindows(TokenSequence tokens, int block, int stride = 0, DocumentEnds? documents = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(block, 1);
        if (tokens.Length < 2)
            throw new UserException($"{tokens.Length} tokens are too few to evaluate; give at least two");
        if (stride < 0 || stride > block)
            throw new UserException($"a stride of {stride} is invalid for windows of {block} tokens; it must be between 1 and {block}");
        this.tokens = tokens;
        this.documents = documents;
        Targets = tokens.Length - (documents?.Count ?? 1);
        if (Targets < 1)
            throw UserException.NamingSettings($"no document has two tokens, so there is nothing to predict; evaluate without {nameof(documents):setting}");
        this.block = block;
        this.stride = stride == 0 ? block : stride;
        Count = 1 + Math.Max(0, (tokens.Length - 1 - block + this.stride - 1) / this.stride);
    }

    /// <summary>The number of windows.</summary>
    public long Count { get; }

    /// <summary>The number of targets of all windows that are not ignored.</summary>
    public long Targets { get; }

    /// <summary>Fills a window. Positions after the last token are 0, with ignored targets. Allocates nothing.</summary>
    /// <param name="window">The number of the window; from <see cref="Count"/> on, all its targets are ignored.</param>
    /// <param name="inputs">block ids.</param>
    /// <param name="targets">block ids or <see cref="Ignored"/>.</param>
    /// <returns>The number of targets that are not ignored.</returns>
    public int Fill(long window, Span<int> inputs, Span<int> targets)
    {
        inputs = inputs[..block];
        targets = targets[..block];
        long start = window * stride;
        int length = window < Count ? (int)Math.Min(block, tokens.Length - 1 - start) : 0;
        int context = window == 0 ? 0 : Math.Min(block - stride, length);
        inputs[length..].Clear();
        targets.Fill(Ignored);
        if (length == 0)
            return 0;
        tokens.CopyTo(start, inputs[..length]);
        tokens.CopyTo(start + 1 + context, targets[context..length]);
        return length - context;
    }

    /// <summary>The same, with the document of each token, counted from 0 in the window. Allocates nothing.</summary>
    /// <param name="window">The number of the window.</param>
    /// <param name="inputs">block ids.</param>
    /// <param name="targets">block ids or <see cref="Ignored"/>; the first tokens of documents are ignored too.</param>
    /// <param name="numbers">block numbers; the positions after the last token form a separate document.</param>
    /// <returns>The number of targets that are not ignored.</returns>
    public int Fill(long window, Span<int> inputs, Span<int> targets, Span<int> numbers)
    {
        int counted = Fill(window, inputs, targets);
        numbers = numbers[..block];
        numbers.Fill(int.MaxValue);
        if (documents is null || counted == 0)
            return counted;
        long start = window * stride;
        int length = (int)Math.Min(block, tokens.Length - 1 - start);
        documents.Number(start, numbers[..length], targets[..length]);
        return length - targets[..length].Count(Ignored);
    }
}
