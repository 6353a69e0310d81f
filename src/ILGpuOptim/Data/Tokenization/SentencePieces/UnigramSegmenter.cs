using System.Text;

namespace ILGpuOptim.Data.Tokenization.SentencePieces;

/// <summary>
/// The most probable segmentation under a unigram model (Kudo 2018, "Subword Regularization"), found by Viterbi's algorithm. Scores are
/// added in the order and precision of SentencePiece, so that ties are resolved alike.
/// </summary>
internal sealed class UnigramSegmenter : IPieceSegmenter
{
    /// <summary>The difference between the lowest score and that of an unknown character.</summary>
    private const float UnknownPenalty = 10;

    /// <summary>The smallest normal <c>float</c> of C++, the initial value of SentencePiece's search for the highest score.</summary>
    private const float SmallestNormal = 1.17549435e-38f;

    private readonly PieceVocabulary vocabulary;
    private readonly Trie tree = new();
    private readonly double[] scores;
    private readonly float unknownScore;

    public UnigramSegmenter(PieceVocabulary vocabulary)
    {
        this.vocabulary = vocabulary;
        foreach ((string text, int id) in vocabulary.TextPieces)
            tree.Add(text, id);
        (float lowest, float highest) = (float.MaxValue, SmallestNormal);
        foreach (Piece piece in vocabulary.Pieces.Where(piece => piece.Type == PieceType.Normal))
            (lowest, highest) = (Math.Min(lowest, piece.Score), Math.Max(highest, piece.Score));
        unknownScore = lowest - UnknownPenalty;
        // User-defined symbols are matched before all other pieces: their score is the highest score times their number of bytes.
        scores = [.. vocabulary.Pieces.Select(piece => piece.Type == PieceType.UserDefined ? Encoding.UTF8.GetByteCount(piece.Text) * highest - 0.1 : piece.Score)];
    }

    /// <inheritdoc/>
    public void Segment(string text, List<PieceSegment> segments)
    {
        // The best path to each position: the id and start of its last piece (−1 for none), and its score.
        var best = new (int Id, int Start, float Score)[text.Length + 1];
        Array.Fill(best, (0, -1, 0));
        for (int start = 0; start < text.Length;)
        {
            int character = char.IsHighSurrogate(text[start]) && start + 1 < text.Length ? 2 : 1;
            float before = best[start].Score;
            bool known = false;
            for (int end = start, node = Trie.Root; end < text.Length && (node = tree.Child(node, text[end])) >= 0;)
            {
                end++;
                int id = tree.ValueOf(node);
                if (id < 0 || vocabulary.Pieces[id].Type == PieceType.Unused)
                    continue;
                known |= end - start == character;
                double score = scores[id] + before;
                if (best[end].Start < 0 || score > best[end].Score)
                    best[end] = (id, start, (float)score);
            }

            if (!known)
            {
                float score = unknownScore + before;
                if (best[start + character].Start < 0 || score > best[start + character].Score)
                    best[start + character] = (vocabulary.Unknown, start, score);
            }

            start += character;
        }

        int first = segments.Count;
        for (int end = text.Length; end > 0; end = best[end].Start)
            segments.Add(new PieceSegment(best[end].Start, end - best[end].Start, best[end].Id));
        segments.Reverse(first, segments.Count - first);
    }
}
