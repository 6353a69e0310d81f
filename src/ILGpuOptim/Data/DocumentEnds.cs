namespace ILGpuOptim.Data;

/// <summary>
/// The ends of the documents in a sequence of tokens. Ends in a file are read on demand, so there may be more than fit into memory. Slices share
/// the storage. Every document has at least one token.
/// </summary>
public sealed class DocumentEnds : IDisposable
{
    private const int BufferSize = 64;

    /// <summary>A run of ends of one store, offset by <see cref="Shift"/>.</summary>
    private readonly record struct Segment(DocumentEndStore Store, long First, long Count, long Shift)
    {
        /// <summary>The last end of the run, with the offset.</summary>
        public long Last { get; } = Read(Store, First + Count - 1) + Shift;

        /// <summary>The end at an index of the run, with the offset.</summary>
        public long End(long index) => Read(Store, First + index) + Shift;

        private static long Read(DocumentEndStore store, long index)
        {
            Span<long> end = stackalloc long[1];
            store.Read(index, end);
            return end[0];
        }
    }

    /// <summary>All ends except the last, which is the number of tokens.</summary>
    private readonly Segment[] segments;

    private DocumentEnds(Segment[] segments, long length)
    {
        this.segments = segments;
        Length = length;
        Count = segments.Sum(segment => segment.Count) + (length > 0 ? 1 : 0);
    }

    /// <summary>The number of tokens.</summary>
    public long Length { get; }

    /// <summary>The number of documents.</summary>
    public long Count { get; }

    /// <summary>A single document of all tokens; no document if there are no tokens.</summary>
    public static DocumentEnds One(long length) => new([], length);

    /// <summary>Creates ends in memory.</summary>
    /// <param name="ends">The number of tokens up to the end of each document, ascending; the last may be omitted.</param>
    /// <param name="length">The number of tokens.</param>
    /// <exception cref="ArgumentException">The ends are not ascending, or are beyond the tokens.</exception>
    public static DocumentEnds From(ReadOnlySpan<long> ends, long length)
    {
        long before = 0;
        foreach (long end in ends)
        {
            if (end <= before || end > length)
                throw new ArgumentException($"the end {end} is not between the previous end, {before}, and the {length} tokens", nameof(ends));
            before = end;
        }

        if (ends.Length > 0 && ends[^1] == length)
            ends = ends[..^1];
        return new(ends.Length == 0 ? [] : [new Segment(new DocumentEndArray(ends.ToArray()), 0, ends.Length, 0)], length);
    }

    /// <summary>The ends of a store, which the result owns; the last is the number of tokens.</summary>
    internal static DocumentEnds From(DocumentEndStore store, long count, long length) => new(count > 1 ? [new Segment(store, 0, count - 1, 0)] : [], length);

    /// <summary>Concatenates documents, as <see cref="TokenSequence.Join"/> concatenates their tokens.</summary>
    public static DocumentEnds Join(IEnumerable<DocumentEnds> parts)
    {
        var segments = new List<Segment>();
        long length = 0;
        foreach (DocumentEnds part in parts.Where(part => part.Length > 0))
        {
            if (length > 0)
                segments.Add(new Segment(new DocumentEndArray([length]), 0, 1, 0));
            foreach (Segment segment in part.segments)
                segments.Add(new Segment(segment.Store, segment.First, segment.Count, segment.Shift + length));
            length += part.Length;
        }

        return new([.. segments], length);
    }

    /// <summary>The documents of tokens <paramref name="start"/> to <paramref name="start"/> + <paramref name="length"/>, the first and last of which may be incomplete.</summary>
    public DocumentEnds Slice(long start, long length)
    {
        CheckRange(start, length);
        var parts = new List<Segment>();
        foreach (Segment segment in segments)
        {
            long first = EndsUpTo(segment, start), end = EndsUpTo(segment, start + length - 1);
            if (first < end)
                parts.Add(new Segment(segment.Store, segment.First + first, end - first, segment.Shift - start));
        }

        return new([.. parts], length);
    }

    /// <summary>The number of tokens up to the end of a document. Allocates nothing.</summary>
    public long EndOf(long document)
    {
        Span<long> end = stackalloc long[1];
        CopyTo(document, end);
        return end[0];
    }

    /// <summary>The ends of the documents from <paramref name="first"/> on that fill <paramref name="target"/>. Allocates nothing.</summary>
    public void CopyTo(long first, Span<long> target)
    {
        if (first < 0 || first > Count - target.Length)
            throw new ArgumentOutOfRangeException(nameof(first), $"documents {first:N0} to {first + target.Length:N0} are outside {Count:N0}");
        foreach (ref readonly Segment segment in segments.AsSpan())
        {
            if (target.IsEmpty)
                return;
            if (first < segment.Count)
            {
                Span<long> here = target[..(int)Math.Min(target.Length, segment.Count - first)];
                segment.Store.Read(segment.First + first, here);
                foreach (ref long end in here)
                    end += segment.Shift;
                target = target[here.Length..];
                first = segment.Count;
            }

            first -= segment.Count;
        }

        if (!target.IsEmpty)
            target[0] = Length;
    }

    /// <summary>The number of the document that contains a token. Allocates nothing.</summary>
    internal long DocumentAt(long token)
    {
        CheckRange(token, 1);
        long documents = 0;
        foreach (ref readonly Segment segment in segments.AsSpan())
        {
            long before = EndsUpTo(segment, token);
            documents += before;
            if (before < segment.Count)
                break;
        }

        return documents;
    }

    /// <summary>The document of each token of a window, counted from 0 in the window. Allocates nothing.</summary>
    /// <param name="start">The first token.</param>
    /// <param name="documents">Receives the numbers; one for each token of the window.</param>
    public void Number(long start, Span<int> documents)
    {
        CheckRange(start, documents.Length);
        if (documents.IsEmpty)
            return;
        Span<long> ends = stackalloc long[BufferSize];
        long document = DocumentAt(start);
        int position = 0;
        for (int number = 0; position < documents.Length;)
        {
            Span<long> piece = ends[..(int)Math.Min(ends.Length, Count - document)];
            CopyTo(document, piece);
            for (int i = 0; i < piece.Length && position < documents.Length; i++, number++)
            {
                int end = (int)Math.Min(documents.Length, piece[i] - start);
                documents[position..end].Fill(number);
                position = end;
            }

            document += piece.Length;
        }
    }

    /// <summary>The same; also ignores targets that are the first token of a document.</summary>
    /// <param name="start">The first token.</param>
    /// <param name="documents">Receives the numbers; one for each token of the window.</param>
    /// <param name="targets">The tokens that follow those of the window; those that begin a document become <see cref="SequentialWindows.Ignored"/>.</param>
    public void Number(long start, Span<int> documents, Span<int> targets)
    {
        Number(start, documents);
        for (int i = 0; i + 1 < documents.Length; i++)
        {
            if (documents[i + 1] != documents[i])
                targets[i] = SequentialWindows.Ignored;
        }

        if (!documents.IsEmpty && start + documents.Length < Length && Begins(start + documents.Length))
            targets[documents.Length - 1] = SequentialWindows.Ignored;
    }

    /// <summary>True if a token is the first of a document. Allocates nothing.</summary>
    internal bool Begins(long token) => token == 0 || DocumentAt(token) != DocumentAt(token - 1);

    /// <summary>The documents of tokens in which each document ends with a special token such as <c>&lt;|endoftext|&gt;</c>; null if it does not occur. Reads every token.</summary>
    /// <param name="tokens">The tokens.</param>
    /// <param name="end">The id of the special token.</param>
    internal static DocumentEnds? EndingWith(TokenSequence tokens, int end)
    {
        var ends = new List<long>();
        int[] ids = new int[Math.Min(1 << 16, tokens.Length)];
        for (long start = 0; start < tokens.Length; start += ids.Length)
        {
            Span<int> piece = ids.AsSpan(0, (int)Math.Min(ids.Length, tokens.Length - start));
            tokens.CopyTo(start, piece);
            for (int i = piece.IndexOf(end), next; i >= 0; i = next < 0 ? -1 : i + 1 + next)
            {
                ends.Add(start + i + 1);
                next = piece[(i + 1)..].IndexOf(end);
            }
        }

        return ends.Count == 0 ? null : From(System.Runtime.InteropServices.CollectionsMarshal.AsSpan(ends), tokens.Length);
    }

    /// <summary>The number of ends of a segment at or before a token.</summary>
    private static long EndsUpTo(in Segment segment, long token)
    {
        if (segment.Last <= token)
            return segment.Count;
        long low = 0, high = segment.Count - 1;
        while (low < high)
        {
            long middle = low + ((high - low) / 2);
            if (segment.End(middle) <= token)
                low = middle + 1;
            else
                high = middle;
        }

        return low;
    }

    private void CheckRange(long start, long length)
    {
        if (start < 0 || length < 0 || start > Length - length)
            throw new ArgumentOutOfRangeException(nameof(start), $"tokens {start:N0} to {start + length:N0} are outside a sequence of {Length:N0}");
    }

    /// <summary>Closes the files of the ends, which other instances may share.</summary>
    public void Dispose()
    {
        foreach (Segment segment in segments)
            segment.Store.Dispose();
    }
}
