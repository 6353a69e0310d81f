namespace ILGpuOptim.Data.Tokenization.SentencePieces;

/// <summary>A part of a normalized text and the piece that was chosen for it.</summary>
/// <param name="Start">Where it begins, in UTF-16 units.</param>
/// <param name="Length">Its length in UTF-16 units.</param>
/// <param name="Id">The piece.</param>
internal readonly record struct PieceSegment(int Start, int Length, int Id);

/// <summary>Cuts a normalized text into pieces.</summary>
internal interface IPieceSegmenter
{
    /// <summary>Appends the parts of a text in their order; together they are the whole text.</summary>
    void Segment(string text, List<PieceSegment> segments);
}

/// <summary>Each character or user-defined symbol is a piece.</summary>
internal sealed class CharacterSegmenter(PieceVocabulary vocabulary) : IPieceSegmenter
{
    /// <inheritdoc/>
    public void Segment(string text, List<PieceSegment> segments)
    {
        for (int start = 0; start < text.Length;)
        {
            int length = vocabulary.SymbolAt(text.AsSpan(start), out _);
            segments.Add(new PieceSegment(start, length, vocabulary.IdOf(text.AsSpan(start, length))));
            start += length;
        }
    }
}

/// <summary>A piece is a word with the space before it.</summary>
internal sealed class WordSegmenter(PieceVocabulary vocabulary) : IPieceSegmenter
{
    /// <inheritdoc/>
    public void Segment(string text, List<PieceSegment> segments)
    {
        for (int start = 0; start < text.Length;)
        {
            int next = text.IndexOf(SentencePieceModel.Space, start + 1), length = (next < 0 ? text.Length : next) - start;
            segments.Add(new PieceSegment(start, length, vocabulary.IdOf(text.AsSpan(start, length))));
            start += length;
        }
    }
}
