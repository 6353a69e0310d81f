using ILGpuOptim.Compute;

namespace ILGpuOptim.Data;

/// <summary>Tokens to train on and to validate with.</summary>
public sealed class Dataset
{
    private readonly ushort[] training, validation;

    private Dataset(ushort[] training, ushort[] validation, int vocabulary, ITokenizer? tokenizer, string source)
    {
        (this.training, this.validation) = (training, validation);
        (Vocabulary, Tokenizer, Source) = (vocabulary, tokenizer, source);
    }

    /// <summary>Ids lie below this.</summary>
    public int Vocabulary { get; }

    /// <summary>What made the tokens, if known.</summary>
    public ITokenizer? Tokenizer { get; }

    /// <summary>Where they come from, for messages.</summary>
    public string Source { get; }

    /// <summary>Tokens to train on.</summary>
    public ReadOnlySpan<ushort> Training => training;

    /// <summary>Tokens to validate with.</summary>
    public ReadOnlySpan<ushort> Validation => validation;

    /// <summary>Splits a text; the last part validates.</summary>
    /// <param name="text">The text.</param>
    /// <param name="tokenizer">Makes the tokens; its ids must fit 16 bits.</param>
    /// <param name="validationFraction">The part that validates, in [0, 1).</param>
    /// <param name="source">For messages.</param>
    public static Dataset FromText(string text, ITokenizer tokenizer, double validationFraction, string source)
    {
        if (tokenizer.VocabularySize > ushort.MaxValue + 1)
            throw new UserException($"{source}: {tokenizer.VocabularySize} different characters do not fit 16-bit tokens; use --tokenizer byte");
        return FromTokens(Array.ConvertAll(tokenizer.Encode(text), static id => (ushort)id), tokenizer.VocabularySize, tokenizer, validationFraction, source);
    }

    /// <summary>Splits tokens; the last part validates.</summary>
    public static Dataset FromTokens(ushort[] tokens, int vocabulary, ITokenizer? tokenizer, double validationFraction, string source)
    {
        if (!(validationFraction >= 0 && validationFraction < 1))
            throw new UserException($"a validation fraction of {validationFraction} makes no sense; it lies in [0, 1)");
        int split = (int)(tokens.Length * (1 - validationFraction));
        return new Dataset(tokens[..split], tokens[split..], vocabulary, tokenizer, source);
    }

    /// <summary>Training and validation tokens from separate files.</summary>
    public static Dataset FromTokens(ushort[] training, ushort[] validation, int vocabulary, string source) =>
        new(training, validation, vocabulary, null, source);

    /// <summary>Fails when a part has no whole window of <paramref name="block"/> + 1 tokens.</summary>
    public void CheckBlock(int block)
    {
        if (training.Length <= block)
            throw new UserException($"{Source}: {training.Length} tokens to train on are too few for a block of {block}; give more text or a smaller --block");
        if (validation.Length > 0 && validation.Length <= block)
            throw new UserException($"{Source}: {validation.Length} tokens to validate with are too few for a block of {block}; give more text, a smaller --block or a larger --validation");
    }
}

/// <summary>
/// Draws windows of tokens. A batch depends on the seed and its number alone, so a run that is resumed goes on exactly:
/// row r of batch i starts where Philox maps counter i · rows + r to.
/// </summary>
/// <param name="block">Tokens of a window.</param>
/// <param name="rows">Windows of a batch.</param>
/// <param name="seed">Repeats the same batches.</param>
public sealed class BatchSampler(int block, int rows, ulong seed)
{
    /// <summary>Fills a batch; targets are the inputs moved by one.</summary>
    /// <param name="tokens">At least block + 1 of them.</param>
    /// <param name="stream">Tells sequences of batches apart, such as training and validation.</param>
    /// <param name="batch">The batch's number.</param>
    /// <param name="inputs">rows · block ids.</param>
    /// <param name="targets">rows · block ids.</param>
    public void Fill(ReadOnlySpan<ushort> tokens, ulong stream, ulong batch, Span<int> inputs, Span<int> targets)
    {
        ulong starts = (ulong)(tokens.Length - block);
        for (int row = 0; row < rows; row++)
        {
            (uint a, uint b, _, _) = Philox.Generate(seed, stream, batch * (ulong)rows + (ulong)row);
            int start = (int)Math.BigMul((ulong)a << 32 | b, starts, out _);
            for (int i = 0; i < block; i++)
            {
                inputs[row * block + i] = tokens[start + i];
                targets[row * block + i] = tokens[start + i + 1];
            }
        }
    }
}
