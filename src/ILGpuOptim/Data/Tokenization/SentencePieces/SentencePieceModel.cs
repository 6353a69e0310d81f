namespace ILGpuOptim.Data.Tokenization.SentencePieces;

/// <summary>How a model cuts a text into pieces.</summary>
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

/// <summary>What a piece is for.</summary>
internal enum PieceType
{
    /// <summary>Text.</summary>
    Normal = 1,

    /// <summary>Stands for text that has no piece.</summary>
    Unknown = 2,

    /// <summary>Never found in a text and without text of its own, such as <c>&lt;s&gt;</c>.</summary>
    Control = 3,

    /// <summary>Found in a text before everything else.</summary>
    UserDefined = 4,

    /// <summary>Not used in results.</summary>
    Unused = 5,

    /// <summary>A byte of a character that has no piece.</summary>
    Byte = 6,
}

/// <summary>A piece of the vocabulary; its id is its place.</summary>
/// <param name="Text">The text, spaces written as U+2581.</param>
/// <param name="Score">Logarithm of the probability, or the rank of a merge, negated.</param>
/// <param name="Type">What it is for.</param>
internal readonly record struct Piece(string Text, float Score, PieceType Type);

/// <summary>How a text is normalized.</summary>
/// <param name="Characters">Replacements; null for none.</param>
/// <param name="AddDummyPrefix">Puts a space before the text (behind it if white space is a suffix).</param>
/// <param name="RemoveExtraWhitespaces">Removes spaces at both ends and all but one of several.</param>
/// <param name="EscapeWhitespaces">Writes spaces as U+2581.</param>
internal sealed record NormalizerSettings(CharacterMap? Characters = null, bool AddDummyPrefix = true, bool RemoveExtraWhitespaces = true, bool EscapeWhitespaces = true);

/// <summary>The contents of a SentencePiece model file that matter when it is used. Defaults are those of the format.</summary>
internal sealed record SentencePieceModel
{
    /// <summary>The character that stands for a space in pieces.</summary>
    public const char Space = '\u2581';

    /// <summary>The vocabulary in the order of ids.</summary>
    public IReadOnlyList<Piece> Pieces { get; init; } = [];

    /// <summary>How text is cut.</summary>
    public PieceAlgorithm Algorithm { get; init; } = PieceAlgorithm.Unigram;

    /// <summary>Whether unknown characters become the bytes of their UTF-8.</summary>
    public bool ByteFallback { get; init; }

    /// <summary>Whether the space belongs to the piece before it.</summary>
    public bool WhitespaceIsSuffix { get; init; }

    /// <summary>What the unknown piece decodes to.</summary>
    public string UnknownSurface { get; init; } = " \u2047 ";

    /// <summary>The text of the piece that begins a sequence; it may be missing from the vocabulary.</summary>
    public string BeginPiece { get; init; } = "<s>";

    /// <summary>How text is normalized.</summary>
    public NormalizerSettings Normalizer { get; init; } = new();

    /// <summary>What is done to decoded text; null for nothing.</summary>
    public NormalizerSettings? Denormalizer { get; init; }

    /// <summary>Texts and their pieces, joined by spaces, as the trainer saw them; not used when encoding.</summary>
    public IReadOnlyList<(string Text, string Pieces)> SelfTest { get; init; } = [];
}
