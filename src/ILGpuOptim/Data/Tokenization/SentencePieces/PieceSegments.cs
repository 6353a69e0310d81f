namespace ILGpuOptim.Data.Tokenization.SentencePieces;

/// <summary>A part of a normalized text and its piece.</summary>
/// <param name="Start">The start in UTF-16 units.</param>
/// <param name="Length">The length in UTF-16 units.</param>
/// <param name="Id">The id of the piece.</param>
internal readonly record struct PieceSegment(int Start, int Length, int Id);

/// <summary>Splits a normalized text into pieces.</summary>
internal interface IPieceSegmenter
{
    /// <summary>Appends the segments of a text, in order. They cover the whole text.</summary>
    void Segment(string text, List<PieceSegment> segments);
}

/// <summary>Character models: each character or user-defined symbol is a piece.</summary>
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

/// <summary>Word models: each word with the space before it is a piece.</summary>
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
