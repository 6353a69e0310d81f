using System.Numerics;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data;

/// <summary>
/// Token ids in a row, 16 or 32 bits each, in memory or in mapped files: a sequence may be far larger than the memory.
/// A part of a sequence shares its storage.
/// </summary>
public sealed unsafe class TokenSequence : IDisposable
{
    /// <summary>A run of ids of one width; the owner keeps the memory alive.</summary>
    private readonly record struct Segment(object Owner, nint Ids, int Width, long Length)
    {
        public Segment Part(long start, long length) => this with { Ids = Ids + (nint)(start * Width), Length = length };
    }

    private readonly Segment[] segments;

    private TokenSequence(Segment[] segments)
    {
        this.segments = segments;
        Length = segments.Sum(segment => segment.Length);
    }

    /// <summary>No tokens.</summary>
    public static TokenSequence Empty { get; } = new([]);

    /// <summary>How many tokens there are.</summary>
    public long Length { get; }

    /// <summary>Keeps ids in memory, in 16 bits where they fit.</summary>
    /// <exception cref="ArgumentOutOfRangeException">An id is negative.</exception>
    public static TokenSequence From(ReadOnlySpan<int> ids)
    {
        int largest = 0;
        foreach (int id in ids)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(id, nameof(ids));
            largest = Math.Max(largest, id);
        }

        if (largest > ushort.MaxValue)
        {
            int[] wide = GC.AllocateUninitializedArray<int>(ids.Length, pinned: true);
            ids.CopyTo(wide);
            return new([new Segment(wide, AddressOf<int>(wide), 4, ids.Length)]);
        }

        ushort[] narrow = GC.AllocateUninitializedArray<ushort>(ids.Length, pinned: true);
        for (int i = 0; i < ids.Length; i++)
            narrow[i] = (ushort)ids[i];
        return new([new Segment(narrow, AddressOf<ushort>(narrow), 2, ids.Length)]);
    }

    /// <summary>The ids in a mapped file, from <paramref name="offset"/> on; the sequence owns the file.</summary>
    internal static TokenSequence From(MappedFile file, long offset, int width, long length) =>
        new([new Segment(file, (nint)file.Start + (nint)offset, width, length)]);

    /// <summary>Several sequences one after the other; they are not to be used on their own any more.</summary>
    public static TokenSequence Join(IEnumerable<TokenSequence> sequences) => new([.. sequences.SelectMany(sequence => sequence.segments)]);

    /// <summary>Tokens <paramref name="start"/> to <paramref name="start"/> + <paramref name="length"/>, sharing the storage.</summary>
    public TokenSequence Slice(long start, long length)
    {
        CheckRange(start, length);
        var parts = new List<Segment>();
        foreach (Segment segment in segments)
        {
            long from = Math.Max(start, 0), to = Math.Min(start + length, segment.Length);
            if (from < to)
                parts.Add(segment.Part(from, to - from));
            start -= segment.Length;
        }

        return new([.. parts]);
    }

    /// <summary>Reads the tokens from <paramref name="start"/> on that fill <paramref name="target"/>; allocates nothing.</summary>
    public void CopyTo(long start, Span<int> target)
    {
        CheckRange(start, target.Length);
        foreach (ref readonly Segment segment in segments.AsSpan())
        {
            if (target.IsEmpty)
                return;
            if (start < segment.Length)
            {
                int length = (int)Math.Min(target.Length, segment.Length - start);
                Widen(segment.Part(start, length), target[..length]);
                target = target[length..];
                start = segment.Length;
            }

            start -= segment.Length;
        }
    }

    /// <summary>All tokens in an array.</summary>
    /// <exception cref="UserException">There are more than an array holds.</exception>
    public int[] ToArray()
    {
        if (Length > Array.MaxLength)
            throw new UserException($"{Length:N0} tokens do not fit the memory at once; use fewer");
        var result = new int[Length];
        CopyTo(0, result);
        return result;
    }

    /// <summary>The largest id, -1 where there are no tokens. Reads every token.</summary>
    public long Max()
    {
        const int Piece = 1 << 20;
        long largest = -1;
        foreach (Segment segment in segments)
        {
            ObjectDisposedException.ThrowIf(segment.Owner is MappedFile { IsClosed: true }, this);
            for (long start = 0; start < segment.Length; start += Piece)
            {
                Segment part = segment.Part(start, Math.Min(Piece, segment.Length - start));
                largest = Math.Max(largest, part.Width == 2
                    ? Largest(new ReadOnlySpan<ushort>((void*)part.Ids, (int)part.Length))
                    : Largest(new ReadOnlySpan<uint>((void*)part.Ids, (int)part.Length)));
            }

            GC.KeepAlive(segment.Owner);
        }

        return largest;
    }

    private static T Largest<T>(ReadOnlySpan<T> ids) where T : unmanaged, IBinaryInteger<T>
    {
        int i = 0;
        Vector<T> lanes = Vector<T>.Zero;
        for (; i <= ids.Length - Vector<T>.Count; i += Vector<T>.Count)
            lanes = Vector.Max(lanes, new Vector<T>(ids[i..]));
        T largest = T.Zero;
        for (int lane = 0; lane < Vector<T>.Count; lane++)
            largest = T.Max(largest, lanes[lane]);
        for (; i < ids.Length; i++)
            largest = T.Max(largest, ids[i]);
        return largest;
    }

    private void Widen(Segment part, Span<int> target)
    {
        ObjectDisposedException.ThrowIf(part.Owner is MappedFile { IsClosed: true }, this);
        if (part.Width == 4)
        {
            new ReadOnlySpan<int>((void*)part.Ids, target.Length).CopyTo(target);
        }
        else
        {
            var ids = (ushort*)part.Ids;
            for (int i = 0; i < target.Length; i++)
                target[i] = ids[i];
        }

        GC.KeepAlive(part.Owner);
    }

    private void CheckRange(long start, long length)
    {
        if (start < 0 || length < 0 || start > Length - length)
            throw new ArgumentOutOfRangeException(nameof(start), $"tokens {start:N0} to {start + length:N0} lie outside a sequence of {Length:N0}");
    }

    private static nint AddressOf<T>(T[] pinned) where T : unmanaged => pinned.Length == 0 ? 0 : (nint)System.Runtime.CompilerServices.Unsafe.AsPointer(ref pinned[0]);

    /// <summary>Closes the files behind the sequence, and so behind all that share them.</summary>
    public void Dispose()
    {
        foreach (Segment segment in segments)
            (segment.Owner as MappedFile)?.Dispose();
    }
}
