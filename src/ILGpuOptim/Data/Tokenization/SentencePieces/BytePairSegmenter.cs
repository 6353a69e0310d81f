namespace ILGpuOptim.Data.Tokenization.SentencePieces;

/// <summary>
/// Merges adjacent symbols whose joined text is a piece, highest score first, then leftmost. User-defined symbols are never merged. Unused
/// pieces may be intermediate results and are split again at the end.
/// </summary>
internal sealed class BytePairSegmenter(PieceVocabulary vocabulary) : IPieceSegmenter
{
    private static readonly Comparer<(float Score, int Left)> BestFirst =
        Comparer<(float Score, int Left)>.Create(static (a, b) => a.Score != b.Score ? b.Score.CompareTo(a.Score) : a.Left.CompareTo(b.Left));

    /// <summary>A part of the text; its length becomes 0 when it is merged into the previous one.</summary>
    private struct Symbol
    {
        public int Start, Length, Previous, Next;
        public bool Frozen;
    }

    /// <inheritdoc/>
    public void Segment(string text, List<PieceSegment> segments)
    {
        var symbols = new List<Symbol>(text.Length);
        for (int start = 0; start < text.Length;)
        {
            int length = vocabulary.SymbolAt(text.AsSpan(start), out bool frozen), index = symbols.Count;
            symbols.Add(new Symbol { Start = start, Length = length, Previous = index - 1, Next = index + 1, Frozen = frozen });
            start += length;
        }

        Symbol[] list = [.. symbols];
        // The length of the first part of each unused piece, for the pair that was queued last.
        var parts = new Dictionary<string, int>();
        var queue = new PriorityQueue<(int Left, int Right, int Length), (float Score, int Left)>(BestFirst);
        for (int i = 1; i < list.Length; i++)
            Enqueue(i - 1, i);
        while (queue.TryDequeue(out var pair, out _))
        {
            ref Symbol left = ref list[pair.Left], right = ref list[pair.Right];
            if (left.Length == 0 || right.Length == 0 || left.Length + right.Length != pair.Length)
                continue;
            left.Length = pair.Length;
            left.Next = right.Next;
            if (right.Next < list.Length)
                list[right.Next].Previous = pair.Left;
            right.Length = 0;
            if (left.Previous >= 0)
                Enqueue(left.Previous, pair.Left);
            if (left.Next < list.Length)
                Enqueue(pair.Left, left.Next);
        }

        for (int i = 0; i < list.Length; i = list[i].Next)
            Add(list[i].Start, list[i].Length);

        void Enqueue(int left, int right)
        {
            if (list[left].Frozen || list[right].Frozen)
                return;
            ReadOnlySpan<char> joined = text.AsSpan(list[left].Start, list[left].Length + list[right].Length);
            int id = vocabulary.TextIdOf(joined);
            if (id < 0)
                return;
            queue.Enqueue((left, right, joined.Length), (vocabulary.Pieces[id].Score, left));
            if (vocabulary.Pieces[id].Type == PieceType.Unused)
                parts[vocabulary.Pieces[id].Text] = list[left].Length;
        }

        void Add(int start, int length)
        {
            int id = vocabulary.IdOf(text.AsSpan(start, length));
            if (vocabulary.Pieces[id].Type == PieceType.Unused && parts.TryGetValue(vocabulary.Pieces[id].Text, out int first))
            {
                Add(start, first);
                Add(start + first, length - first);
            }
            else
            {
                segments.Add(new PieceSegment(start, length, id));
            }
        }
    }
}
