using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>One token for each whole word; all others are the unknown token.</summary>
/// <param name="vocabulary">Words.</param>
/// <param name="unknown">The token of unknown words; needed only when there are such words.</param>
internal sealed class WordLevelModel(Vocabulary vocabulary, string unknown) : ITokenModel
{
    /// <inheritdoc/>
    public int VocabularySize => vocabulary.Size;

    /// <summary>Reads a model of type WordLevel.</summary>
    public static WordLevelModel Read(JsonFields model) => new(Vocabulary.Read(model), model.Text("unk_token") ?? "<unk>");

    /// <inheritdoc/>
    public int? IdOf(string token) => vocabulary.IdOf(token);

    /// <inheritdoc/>
    public string? TokenOf(int id) => vocabulary.TokenOf(id);

    /// <inheritdoc/>
    public void Encode(ReadOnlySpan<char> piece, List<int> ids) => ids.Add(vocabulary.IdOf(piece) ?? vocabulary.IdOf(unknown)
        ?? throw new UserException($"the tokenizer has no token for a word of {piece.Length} characters, and its unknown token \"{unknown}\" is not in the vocabulary"));
}
