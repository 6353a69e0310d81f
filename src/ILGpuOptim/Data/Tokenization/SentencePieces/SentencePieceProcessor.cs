using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace ILGpuOptim.Data.Tokenization.SentencePieces;

/// <summary>Encodes and decodes like SentencePiece's own library.</summary>
internal sealed class SentencePieceProcessor : IPieceCoder
{
    private readonly SentencePieceModel model;
    private readonly PieceVocabulary vocabulary;
    private readonly SentencePieceNormalizer normalizer;
    private readonly SentencePieceNormalizer? denormalizer;
    private readonly IPieceSegmenter segmenter;
    private readonly int[] byteIds = new int[256];

    /// <param name="model">The model.</param>
    /// <param name="source">The file, for messages.</param>
    /// <exception cref="UserException">Two pieces have the same text.</exception>
    public SentencePieceProcessor(SentencePieceModel model, string source)
    {
        this.model = model;
        vocabulary = new PieceVocabulary(model, source);
        normalizer = new SentencePieceNormalizer(model.Normalizer, vocabulary.Symbols, model.WhitespaceIsSuffix);
        denormalizer = model.Denormalizer is { Characters: not null } settings ? new SentencePieceNormalizer(settings, new Trie(), false) : null;
        segmenter = model.Algorithm switch
        {
            PieceAlgorithm.Unigram => new UnigramSegmenter(vocabulary),
            PieceAlgorithm.BytePair => new BytePairSegmenter(vocabulary),
            PieceAlgorithm.Word => new WordSegmenter(vocabulary),
            _ => new CharacterSegmenter(vocabulary),
        };
        for (int value = 0; model.ByteFallback && value < 256; value++)
            byteIds[value] = vocabulary.IdOf($"<0x{value:X2}>");
        int begin = vocabulary.IdOf(model.BeginPiece);
        PromptStart = vocabulary.Pieces[begin].Type == PieceType.Control ? begin : null;
    }

    /// <summary>All pieces; the index is the id.</summary>
    public IReadOnlyList<Piece> Pieces => vocabulary.Pieces;

    /// <inheritdoc/>
    public int VocabularySize => vocabulary.Pieces.Count;

    /// <inheritdoc/>
    public int? PromptStart { get; }

    /// <inheritdoc/>
    public int? IdOf(string token) => vocabulary.IdOf(token) is var id && vocabulary.Pieces[id].Text == token ? id : null;

    /// <inheritdoc/>
    public IEnumerable<int> Encode(string text)
    {
        var pieces = new List<(int Id, string Text)>();
        Encode(text, pieces);
        return pieces.Select(piece => piece.Id);
    }

    /// <summary>Appends the pieces of a text.</summary>
    /// <param name="text">Text without unpaired surrogates.</param>
    /// <param name="pieces">Ids and texts; the text of an unknown piece is the normalized text that it replaces.</param>
    /// <exception cref="UserException">The text contains a control piece, which SentencePiece cannot encode.</exception>
    public void Encode(ReadOnlySpan<char> text, List<(int Id, string Text)> pieces)
    {
        string normalized = normalizer.Normalize(text);
        var segments = new List<PieceSegment>();
        segmenter.Segment(normalized, segments);
        Span<byte> bytes = stackalloc byte[4];
        for (int i = 0; i < segments.Count; i++)
        {
            (int start, int length, int id) = segments[i];
            switch (vocabulary.Pieces[id].Type)
            {
                case PieceType.Control:
                    throw new UserException($"the text contains \"{vocabulary.Pieces[id].Text}\", a control piece that this SentencePiece model cannot encode; leave it out");
                case PieceType.Unknown when model.ByteFallback:
                    foreach (Rune rune in normalized.AsSpan(start, length).EnumerateRunes())
                    {
                        foreach (byte value in bytes[..rune.EncodeToUtf8(bytes)])
                            pieces.Add((byteIds[value], vocabulary.Pieces[byteIds[value]].Text));
                    }

                    break;
                case PieceType.Unknown:
                    // Consecutive unknown segments form one piece.
                    int end = start + length;
                    for (; i + 1 < segments.Count && segments[i + 1].Id == id; i++)
                        end += segments[i + 1].Length;
                    pieces.Add((id, normalized[start..end]));
                    break;
                default:
                    pieces.Add((id, vocabulary.Pieces[id].Text));
                    break;
            }
        }
    }

    /// <inheritdoc/>
    public string Decode(ReadOnlySpan<int> ids)
    {
        NormalizerSettings settings = model.Normalizer;
        bool mayStrip = settings.AddDummyPrefix || settings.RemoveExtraWhitespaces, atStart = true, stripped = false;
        var text = new StringBuilder();
        var bytes = new List<byte>();
        foreach (int id in ids)
        {
            Piece piece = (uint)id < (uint)vocabulary.Pieces.Count ? vocabulary.Pieces[id] : new Piece("\uFFFD", 0, PieceType.Normal);
            if (piece.Type == PieceType.Byte)
            {
                bytes.Add(ByteOf(piece.Text)!.Value);
                continue;
            }

            AppendBytes();
            if (stripped || text.Length > 0)
                atStart = false;
            stripped = false;
            switch (piece.Type)
            {
                case PieceType.Control:
                    break;
                case PieceType.Unknown:
                    text.Append(model.UnknownSurface);
                    break;
                default:
                    ReadOnlySpan<char> visible = piece.Text;
                    if (atStart && mayStrip && visible[0] == SentencePieceModel.Space)
                    {
                        visible = visible[1..];
                        // If extra spaces are removed, all leading spaces are stripped; else only the dummy prefix.
                        stripped = !settings.RemoveExtraWhitespaces;
                    }

                    foreach (char c in visible)
                        text.Append(c == SentencePieceModel.Space ? ' ' : c);
                    break;
            }
        }

        AppendBytes();
        return denormalizer is null ? text.ToString() : denormalizer.Normalize(text.ToString());

        void AppendBytes()
        {
            // Each byte of an invalid sequence becomes a replacement character.
            for (ReadOnlySpan<byte> rest = CollectionsMarshal.AsSpan(bytes); !rest.IsEmpty;)
            {
                bool valid = Rune.DecodeFromUtf8(rest, out Rune rune, out int used) == System.Buffers.OperationStatus.Done;
                text.Append(valid ? rune.ToString() : "\uFFFD");
                rest = rest[(valid ? used : 1)..];
            }

            bytes.Clear();
        }
    }

    /// <summary>The value of a byte piece such as <c>&lt;0x0A&gt;</c>; null for other texts.</summary>
    public static byte? ByteOf(string piece) =>
        piece.Length == 6 && piece.StartsWith("<0x", StringComparison.Ordinal) && piece[5] == '>' && piece == piece.ToUpperInvariant().Replace('X', 'x')
        && byte.TryParse(piece.AsSpan(3, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out byte value) ? value : null;
}
