using System.Text;
using ILGpuOptim.Files;
using Microsoft.ML.Tokenizers;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>A tokenizer of Microsoft.ML.Tokenizers with the files that it was made of, which travel with the model.</summary>
internal sealed class LibraryTokenizer : ITokenizer
{
    private readonly Tokenizer tokenizer;
    private readonly IReadOnlyList<(string Name, byte[] Contents)> files;

    /// <param name="kind">For people.</param>
    /// <param name="tokenizer">Does the work.</param>
    /// <param name="vocabularySize">Ids lie below this.</param>
    /// <param name="files">What <see cref="Save"/> writes.</param>
    public LibraryTokenizer(string kind, Tokenizer tokenizer, int vocabularySize, IReadOnlyList<(string Name, byte[] Contents)> files)
    {
        Kind = kind;
        VocabularySize = vocabularySize;
        this.tokenizer = tokenizer;
        this.files = files;
    }

    /// <inheritdoc/>
    public string Kind { get; }

    /// <inheritdoc/>
    public int VocabularySize { get; }

    /// <inheritdoc/>
    public int? PromptStart => Start ?? (tokenizer is SentencePieceTokenizer { AddBeginningOfSentence: true } sentences ? sentences.BeginningOfSentenceId : null);

    /// <summary>What a <c>tokenizer.json</c> puts before a text.</summary>
    public int? Start { get; init; }

    /// <summary>What is done to a text before word pieces are looked up.</summary>
    public Func<string, string>? Normalize { get; init; }

    /// <summary>Tokens that are taken whole from a text for word pieces, and their ids.</summary>
    public IReadOnlyDictionary<string, int> Special { get; init; } = new Dictionary<string, int>();

    /// <inheritdoc/>
    public int[] Encode(ReadOnlySpan<char> text)
    {
        if (text.IsEmpty)
            return [];
        string clean = WithoutHalves(text);
        IReadOnlyList<int> ids = tokenizer switch
        {
            WordPieceTokenizer pieces => Pieces(pieces, clean),
            SentencePieceTokenizer sentences => sentences.EncodeToIds(clean, addBeginningOfSentence: false, addEndOfSentence: false),
            _ => tokenizer.EncodeToIds(clean),
        };
        return [.. ids];
    }

    private List<int> Pieces(WordPieceTokenizer pieces, string text)
    {
        var ids = new List<int>();
        while (text.Length > 0)
        {
            (string token, int id, int at) = ("", -1, text.Length);
            foreach ((string candidate, int number) in Special)
            {
                int found = text.IndexOf(candidate, StringComparison.Ordinal);
                if (found >= 0 && found < at)
                    (token, id, at) = (candidate, number, found);
            }

            ids.AddRange(pieces.EncodeToIds(Normalize!(text[..at])));
            if (id >= 0)
                ids.Add(id);
            text = text[(at + token.Length)..];
        }

        return ids;
    }

    /// <inheritdoc/>
    public string Decode(ReadOnlySpan<int> ids)
    {
        // The library takes an id beyond the vocabulary for a mistake of the program; here it comes from files.
        var text = new StringBuilder();
        var known = new List<int>(ids.Length);
        foreach (int id in ids)
        {
            if ((uint)id < (uint)VocabularySize)
            {
                known.Add(id);
                continue;
            }

            text.Append(DecodeKnown(known)).Append('\uFFFD');
            known.Clear();
        }

        return text.Append(DecodeKnown(known)).ToString();
    }

    /// <inheritdoc/>
    public void Save(string folder)
    {
        foreach ((string name, byte[] contents) in files)
            AtomicFolder.WriteBytes(Path.Combine(folder, name), contents);
    }

    private string DecodeKnown(List<int> ids) => ids.Count == 0 ? "" : tokenizer switch
    {
        BpeTokenizer bytes => bytes.Decode(ids, considerSpecialTokens: true),
        SentencePieceTokenizer sentences => sentences.Decode(ids, considerSpecialTokens: false),
        _ => tokenizer.Decode(ids),
    };

    private static string WithoutHalves(ReadOnlySpan<char> text)
    {
        for (int i = 0; i < text.Length; i++)
        {
            if (!char.IsSurrogate(text[i]))
                continue;
            var clean = new StringBuilder(text.Length);
            foreach (Rune rune in text.EnumerateRunes())
                clean.Append(rune.ToString());
            return clean.ToString();
        }

        return text.ToString();
    }
}
