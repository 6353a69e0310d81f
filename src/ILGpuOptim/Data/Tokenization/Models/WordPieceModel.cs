using System.Text;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>WordPiece (BERT): a word is split greedily into the longest tokens from left to right; a word that cannot be split is one unknown token.</summary>
internal sealed class WordPieceModel : ITokenModel
{
    private readonly Vocabulary vocabulary;
    private readonly string unknown;
    private readonly int maxCharacters;
    private readonly Trie first = new(), rest = new();

    /// <summary>Creates a model.</summary>
    /// <param name="vocabulary">The tokens.</param>
    /// <param name="unknown">The token for unknown words; required only if a text has such words.</param>
    /// <param name="prefix">The prefix of tokens that continue a word.</param>
    /// <param name="maxCharacters">The maximum length of a word in code points; longer words are unknown.</param>
    public WordPieceModel(Vocabulary vocabulary, string unknown = "[UNK]", string prefix = "##", int maxCharacters = 100)
    {
        (this.vocabulary, this.unknown, this.maxCharacters) = (vocabulary, unknown, maxCharacters);
        foreach ((string token, int id) in vocabulary.Entries)
        {
            if (token.Length > 0)
                first.Add(token, id);
            if (token.Length > prefix.Length && token.StartsWith(prefix, StringComparison.Ordinal))
                rest.Add(token[prefix.Length..], id);
        }
    }

    /// <inheritdoc/>
    public int VocabularySize => vocabulary.Size;

    /// <summary>Reads a model of type WordPiece.</summary>
    public static WordPieceModel Read(JsonFields model)
    {
        double characters = model.Number("max_input_chars_per_word") ?? 100;
        if (characters < 0 || characters != Math.Floor(characters))
            throw model.Error("max_input_chars_per_word", $"is {characters}; it must be an integer that is not negative");
        return new WordPieceModel(Vocabulary.Read(model), model.Text("unk_token") ?? "[UNK]", model.Text("continuing_subword_prefix") ?? "##", (int)Math.Min(characters, int.MaxValue));
    }

    /// <inheritdoc/>
    public int? IdOf(string token) => vocabulary.IdOf(token);

    /// <inheritdoc/>
    public string? TokenOf(int id) => vocabulary.TokenOf(id);

    /// <inheritdoc/>
    public void Encode(ReadOnlySpan<char> piece, List<int> ids)
    {
        int begin = ids.Count;
        bool known = piece.Length <= maxCharacters || Characters(piece) <= maxCharacters;
        for (int i = 0; known && i < piece.Length;)
        {
            (int id, int length) = (i == 0 ? first : rest).Longest(piece[i..]);
            ids.Add(id);
            i += length;
            known = length > 0;
        }

        if (known)
            return;
        ids.RemoveRange(begin, ids.Count - begin);
        ids.Add(vocabulary.IdOf(unknown)
            ?? throw new UserException($"the tokenizer has no tokens for the word \"{Shorten(piece)}\", and its unknown token \"{unknown}\" is not in the vocabulary"));
    }

    private static int Characters(ReadOnlySpan<char> piece)
    {
        int count = 0;
        foreach (Rune _ in piece.EnumerateRunes())
            count++;
        return count;
    }

    private static string Shorten(ReadOnlySpan<char> word) => word.Length <= 40 ? word.ToString() : string.Concat(word[..40], "…");
}
