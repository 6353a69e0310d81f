namespace ILGpuOptim.Data.Tokenization;

/// <summary>A piece of normalized text, passed from the pre-tokenizers to the model.</summary>
/// <param name="Text">The characters, without unpaired surrogates.</param>
/// <param name="AtStart">True if the piece begins the whole text (used by Metaspace with <c>prepend_scheme</c> "first").</param>
internal readonly record struct TextPiece(ReadOnlyMemory<char> Text, bool AtStart);

/// <summary>Normalizes the text between added tokens, before pre-tokenization.</summary>
internal interface INormalizer
{
    /// <summary>The normalized text; the same object if nothing changes. Time is linear in the length.</summary>
    string Normalize(string text);
}

/// <summary>Splits text into pieces.</summary>
internal interface IPreTokenizer
{
    /// <summary>Appends the parts of a piece, in order. Parts of unchanged text are slices. Time is linear in the length.</summary>
    void Split(TextPiece piece, List<TextPiece> parts);
}

/// <summary>Converts pre-tokenized pieces to ids.</summary>
internal interface ITokenModel
{
    /// <summary>All ids of the model are below this; there may be gaps.</summary>
    int VocabularySize { get; }

    /// <summary>The id of a token; null if the model has no such token.</summary>
    int? IdOf(string token);

    /// <summary>The token of an id; null if the id has none.</summary>
    string? TokenOf(int id);

    /// <summary>Appends the ids of a piece.</summary>
    /// <exception cref="UserException">The piece has unknown characters, and the model has no unknown token.</exception>
    void Encode(ReadOnlySpan<char> piece, List<int> ids);
}

/// <summary>A decoding step: maps tokens to strings. The results of the last step are joined.</summary>
internal interface ITokenDecoder
{
    /// <summary>The tokens after this step.</summary>
    List<string> Decode(List<string> tokens);
}
