namespace ILGpuOptim.Data.Tokenization.SentencePieces;

/// <summary>The pieces of a model, by text.</summary>
internal sealed class PieceVocabulary
{
    private readonly IReadOnlyList<Piece> pieces;
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> text, reserved;

    /// <param name="model">The model.</param>
    /// <param name="source">The file, for messages.</param>
    /// <exception cref="UserException">Two pieces have the same text.</exception>
    public PieceVocabulary(SentencePieceModel model, string source)
    {
        pieces = model.Pieces;
        var ofText = new Dictionary<string, int>(pieces.Count);
        var others = new Dictionary<string, int>();
        for (int id = 0; id < pieces.Count; id++)
        {
            (string piece, _, PieceType type) = pieces[id];
            if (!(type is PieceType.Normal or PieceType.UserDefined or PieceType.Unused ? ofText : others).TryAdd(piece, id))
                throw new UserException($"{source}: pieces[{id}]: \"{piece}\" is defined twice; download the file again");
            if (type == PieceType.UserDefined)
                Symbols.Add(piece, id);
            if (type == PieceType.Unknown)
                Unknown = id;
        }

        (text, reserved) = (ofText.GetAlternateLookup<ReadOnlySpan<char>>(), others.GetAlternateLookup<ReadOnlySpan<char>>());
    }

    /// <summary>All pieces; the index is the id.</summary>
    public IReadOnlyList<Piece> Pieces => pieces;

    /// <summary>The id of the unknown piece.</summary>
    public int Unknown { get; }

    /// <summary>The user-defined symbols.</summary>
    public Trie Symbols { get; } = new();

    /// <summary>The pieces that match text: normal, user-defined and unused ones.</summary>
    public IEnumerable<KeyValuePair<string, int>> TextPieces => text.Dictionary;

    /// <summary>The id of a piece of any type, or of the unknown piece.</summary>
    public int IdOf(ReadOnlySpan<char> piece) => reserved.TryGetValue(piece, out int id) || text.TryGetValue(piece, out id) ? id : Unknown;

    /// <summary>The id of a piece that matches text; −1 if there is none.</summary>
    public int TextIdOf(ReadOnlySpan<char> piece) => text.TryGetValue(piece, out int id) ? id : -1;

    /// <summary>The length of the user-defined symbol at the start of a text, else of its first character.</summary>
    public int SymbolAt(ReadOnlySpan<char> rest, out bool isSymbol)
    {
        int length = Symbols.Longest(rest).Length;
        isSymbol = length > 0;
        return isSymbol ? length : char.IsHighSurrogate(rest[0]) && rest.Length > 1 ? 2 : 1;
    }
}
