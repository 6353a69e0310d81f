namespace ILGpuOptim.Data.Tokenization.SentencePieces;

/// <summary>The segmentation algorithm of a model.</summary>
internal enum PieceAlgorithm
{
    /// <summary>The most probable segmentation (Kudo 2018).</summary>
    Unigram = 1,

    /// <summary>Merges by score.</summary>
    BytePair = 2,

    /// <summary>Words between spaces.</summary>
    Word = 3,

    /// <summary>Single characters.</summary>
    Character = 4,
}

/// <summary>The type of a piece.</summary>
internal enum PieceType
{
    /// <summary>A piece of text.</summary>
    Normal = 1,

    /// <summary>The piece for unknown text.</summary>
    Unknown = 2,

    /// <summary>A control symbol such as <c>&lt;s&gt;</c>, which never matches text and decodes to nothing.</summary>
    Control = 3,

    /// <summary>A symbol that is matched in text before all other pieces.</summary>
    UserDefined = 4,

    /// <summary>A piece that never appears in the output.</summary>
    Unused = 5,

    /// <summary>A byte of an unknown character.</summary>
    Byte = 6,
}

/// <summary>A piece of the vocabulary; its id is its index.</summary>
/// <param name="Text">The text, with U+2581 for spaces.</param>
/// <param name="Score">The log-probability, or the negated rank of a merge.</param>
/// <param name="Type">The type.</param>
internal readonly record struct Piece(string Text, float Score, PieceType Type);

/// <summary>Normalization settings.</summary>
/// <param name="Characters">Character replacements; null for none.</param>
/// <param name="AddDummyPrefix">Prepends a space to the text (appends it if white space is a suffix).</param>
/// <param name="RemoveExtraWhitespaces">Removes leading and trailing spaces, and collapses runs of spaces.</param>
/// <param name="EscapeWhitespaces">Replaces spaces by U+2581.</param>
internal sealed record NormalizerSettings(CharacterMap? Characters = null, bool AddDummyPrefix = true, bool RemoveExtraWhitespaces = true, bool EscapeWhitespaces = true);

/// <summary>The contents of a SentencePiece model file that affect encoding and decoding. Defaults are those of the format.</summary>
internal sealed record SentencePieceModel
{
    /// <summary>The character that represents a space in pieces.</summary>
    public const char Space = '\u2581';

    /// <summary>The vocabulary, in the order of ids.</summary>
    public IReadOnlyList<Piece> Pieces { get; init; } = [];

    /// <summary>The segmentation algorithm.</summary>
    public PieceAlgorithm Algorithm { get; init; } = PieceAlgorithm.Unigram;

    /// <summary>Encodes unknown characters as their UTF-8 bytes.</summary>
    public bool ByteFallback { get; init; }

    /// <summary>Attaches a space to the piece before it.</summary>
    public bool WhitespaceIsSuffix { get; init; }

    /// <summary>The decoded text of the unknown piece.</summary>
    public string UnknownSurface { get; init; } = " \u2047 ";

    /// <summary>The text of the piece that begins a sequence; it may be missing from the vocabulary.</summary>
    public string BeginPiece { get; init; } = "<s>";

    /// <summary>The normalization of text.</summary>
    public NormalizerSettings Normalizer { get; init; } = new();

    /// <summary>The normalization of decoded text; null for none.</summary>
    public NormalizerSettings? Denormalizer { get; init; }

    /// <summary>Texts and their pieces, separated by spaces, as recorded by the trainer; not used for encoding.</summary>
    public IReadOnlyList<(string Text, string Pieces)> SelfTest { get; init; } = [];
}
