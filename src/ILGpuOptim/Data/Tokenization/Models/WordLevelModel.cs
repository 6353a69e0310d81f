using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>A vocabulary of whole words; every other word is the unknown token.</summary>
/// <param name="vocabulary">The words.</param>
/// <param name="unknown">The token for unknown words; required only if a text has such words.</param>
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
