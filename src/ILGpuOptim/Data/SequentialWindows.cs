namespace ILGpuOptim.Data;

/// <summary>
/// Windows that go through all tokens in order, so that each token but the first is a target exactly once. With a
/// stride below the block, a window repeats block − stride tokens as context, whose targets do not count again: every
/// prediction but the first ones then sees at least that much.
/// </summary>
public sealed class SequentialWindows
{
    /// <summary>The target of a position that does not count.</summary>
    public const int Ignored = -1;

    private readonly TokenSequence tokens;
    private readonly DocumentEnds? documents;
    private readonly int block;
    private readonly int stride;

    /// <summary>Windows over tokens.</summary>
    /// <param name="tokens">At least two.</param>
    /// <param name="block">Tokens of a window.</param>
    /// <param name="stride">From the start of a window to that of the next, at most the block; 0 means the block.</param>
    /// <param name="documents">Ends of documents, whose first tokens are no targets; null: all tokens are one.</param>
    /// <exception cref="UserException">There are too few tokens, or the stride makes no sense.</exception>
    public SequentialWindows(TokenSequence tokens, int block, int stride = 0, DocumentEnds? documents = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(block, 1);
        if (tokens.Length < 2)
            throw new UserException($"{tokens.Length} tokens are too few to evaluate; give at least two");
        if (stride < 0 || stride > block)
            throw new UserException($"a stride of {stride} makes no sense for windows of {block} tokens; it lies between 1 and {block}");
        this.tokens = tokens;
        this.documents = documents;
        Targets = tokens.Length - (documents?.Count ?? 1);
        if (Targets < 1)
            throw UserException.NamingSettings($"no document has two tokens, so there is nothing to predict; evaluate without {nameof(documents):setting}");
        this.block = block;
        this.stride = stride == 0 ? block : stride;
        Count = 1 + Math.Max(0, (tokens.Length - 1 - block + this.stride - 1) / this.stride);
    }

    /// <summary>How many windows there are.</summary>
    public long Count { get; }

    /// <summary>How many targets count in all windows together.</summary>
    public long Targets { get; }

    /// <summary>Fills a window; what lies behind the last token is 0, with targets that do not count. Allocates nothing.</summary>
    /// <param name="window">Its number; from <see cref="Count"/> on, none of its targets counts.</param>
    /// <param name="inputs">block ids.</param>
    /// <param name="targets">block ids or <see cref="Ignored"/>.</param>
    /// <returns>How many targets count.</returns>
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

    /// <summary>As the other, with the document of each token, counted from 0 in the window. Allocates nothing.</summary>
    /// <param name="window">Its number.</param>
    /// <param name="inputs">block ids.</param>
    /// <param name="targets">block ids or <see cref="Ignored"/>, which the first tokens of documents are too.</param>
    /// <param name="numbers">block numbers; what lies behind the last token is a document of its own.</param>
    /// <returns>How many targets count.</returns>
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
