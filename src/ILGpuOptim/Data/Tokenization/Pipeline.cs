namespace ILGpuOptim.Data.Tokenization;

/// <summary>A part of a normalized text on its way from pre-tokenizers to the model.</summary>
/// <param name="Text">The characters; never half a surrogate pair.</param>
/// <param name="AtStart">Whether the part begins where the whole text begins (needed by Metaspace with <c>prepend_scheme</c> "first").</param>
internal readonly record struct TextPiece(ReadOnlyMemory<char> Text, bool AtStart);

/// <summary>Rewrites the text between two added tokens, before it is cut.</summary>
internal interface INormalizer
{
    /// <summary>The normalized text; the same object when nothing changes. Time is linear in the length.</summary>
    string Normalize(string text);
}

/// <summary>Cuts a piece of text into smaller ones.</summary>
internal interface IPreTokenizer
{
    /// <summary>Appends the parts of a piece in their order. Parts are slices where the text does not change. Time is linear in the length.</summary>
    void Split(TextPiece piece, List<TextPiece> parts);
}

/// <summary>Turns a pre-tokenized piece into ids.</summary>
internal interface ITokenModel
{
    /// <summary>Ids of the model lie below this; there may be gaps.</summary>
    int VocabularySize { get; }

    /// <summary>The id of a token's text; null when the model has no such token.</summary>
    int? IdOf(string token);

    /// <summary>The text of an id; null for ids without a token.</summary>
    string? TokenOf(int id);

    /// <summary>Appends the ids of a piece.</summary>
    /// <exception cref="UserException">The piece has something that the model does not know, and the model has no unknown token.</exception>
    void Encode(ReadOnlySpan<char> piece, List<int> ids);
}

/// <summary>Turns the texts of tokens into a text; a step of a chain whose last results are joined.</summary>
internal interface ITokenDecoder
{
    /// <summary>The tokens after this step.</summary>
    List<string> Decode(List<string> tokens);
}
