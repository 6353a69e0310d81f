using ILGpuOptim.Files;

namespace ILGpuOptim.Data;

/// <summary>Tokens to train on and to validate with.</summary>
public sealed class Dataset : IDisposable
{
    private Dataset(TokenSequence training, TokenSequence validation, int vocabulary, ITokenizer? tokenizer, string source)
    {
        (Training, Validation) = (training, validation);
        (Vocabulary, Tokenizer, Source) = (vocabulary, tokenizer, source);
    }

    /// <summary>Ids lie below this.</summary>
    public int Vocabulary { get; }

    /// <summary>What made the tokens, if known.</summary>
    public ITokenizer? Tokenizer { get; }

    /// <summary>Where they come from, for messages.</summary>
    public string Source { get; }

    /// <summary>Tokens to train on.</summary>
    public TokenSequence Training { get; }

    /// <summary>Tokens to validate with.</summary>
    public TokenSequence Validation { get; }

    /// <summary>Splits a text; the last part validates.</summary>
    /// <param name="text">The text.</param>
    /// <param name="tokenizer">Makes the tokens.</param>
    /// <param name="validationFraction">The part that validates, in [0, 1).</param>
    /// <param name="source">For messages.</param>
    /// <exception cref="UserException">The fraction makes no sense, or the tokenizer does not know a character.</exception>
    public static Dataset FromText(string text, ITokenizer tokenizer, double validationFraction, string source) =>
        FromTokens(TokenSequence.From(tokenizer.Encode(text)), tokenizer.VocabularySize, tokenizer, validationFraction, source);

    /// <summary>Splits tokens; the last part validates.</summary>
    /// <param name="tokens">The tokens.</param>
    /// <param name="vocabulary">Ids lie below this.</param>
    /// <param name="tokenizer">What made them, if known.</param>
    /// <param name="validationFraction">The part that validates, in [0, 1).</param>
    /// <param name="source">For messages.</param>
    /// <exception cref="UserException">The fraction makes no sense.</exception>
    public static Dataset FromTokens(TokenSequence tokens, int vocabulary, ITokenizer? tokenizer, double validationFraction, string source)
    {
        if (!(validationFraction >= 0 && validationFraction < 1))
            throw new UserException($"a validation fraction of {validationFraction} makes no sense; it lies in [0, 1)");
        long split = (long)(tokens.Length * (1 - validationFraction));
        return new Dataset(tokens.Slice(0, split), tokens.Slice(split, tokens.Length - split), vocabulary, tokenizer, source);
    }

    /// <summary>
    /// Opens token files: several in a row, the last part of which validates, or one folder whose files with
    /// <c>train</c> in their names train and whose files with <c>val</c> validate, as nanoGPT and llm.c name them.
    /// Null when the paths are neither.
    /// </summary>
    /// <exception cref="UserException">A file is missing or damaged.</exception>
    public static Dataset? TryOpenTokens(IReadOnlyList<string> paths, double validationFraction)
    {
        if (paths is [string folder] && Directory.Exists(folder))
        {
            FolderManifest.Check(folder);
            string[] training = Files(folder, "*train*.bin"), validation = Files(folder, "*val*.bin");
            if (training.Length == 0 && validation.Length == 0)
                return null;
            if (training.Length == 0 || validation.Length == 0)
                throw new UserException($"{folder}: there are {(training.Length > 0 ? "*train*.bin files, but no *val*.bin" : "*val*.bin files, but no *train*.bin")}; add it, or name the files to split them");
            TokenSequence left = Join(training), right = Join(validation);
            ITokenizer? tokenizer = Tokenizers.Load(folder);
            return new Dataset(left, right, Math.Max(VocabularyOf(Math.Max(left.Max(), right.Max())), tokenizer?.VocabularySize ?? 0), tokenizer, folder);
        }

        if (paths.Count == 0 || !paths.All(path => path.EndsWith(".bin", StringComparison.OrdinalIgnoreCase)))
            return null;
        TokenSequence tokens = Join(paths);
        return FromTokens(tokens, VocabularyOf(tokens.Max()), null, validationFraction, string.Join(", ", paths));
    }

    private static string[] Files(string folder, string pattern) => [.. Directory.EnumerateFiles(folder, pattern).Order(StringComparer.Ordinal)];

    private static TokenSequence Join(IEnumerable<string> paths) => TokenSequence.Join([.. paths.Select(TokenFile.Open)]);

    private static int VocabularyOf(long largest) => checked((int)largest + 1);

    /// <summary>Fails when a part has no whole window of <paramref name="block"/> + 1 tokens.</summary>
    /// <exception cref="UserException">With the numbers.</exception>
    public void CheckBlock(int block)
    {
        if (Training.Length <= block)
            throw new UserException($"{Source}: {Training.Length} tokens to train on are too few for a block of {block}; give more text or a smaller --block");
        if (Validation.Length > 0 && Validation.Length <= block)
            throw new UserException($"{Source}: {Validation.Length} tokens to validate with are too few for a block of {block}; give more text, a smaller --block or a larger --validation");
    }

    /// <summary>Closes the token files.</summary>
    public void Dispose()
    {
        Training.Dispose();
        Validation.Dispose();
    }
}
