using System.Numerics;
using System.Runtime.InteropServices;

namespace ILGpuOptim.Data;

/// <summary>
/// A sequence of token ids, 16 or 32 bits each, in memory or in files. It may be larger than memory. Slices share
/// the storage.
/// </summary>
public sealed class TokenSequence : IDisposable
{
    /// <summary>A run of ids of one store.</summary>
    private readonly record struct Segment(TokenStore Store, long Start, long Length)
    {
        public Segment Part(long start, long length) => this with { Start = Start + start, Length = length };
    }

    private readonly Segment[] segments;

    private TokenSequence(Segment[] segments)
    {
        this.segments = segments;
        Length = segments.Sum(segment => segment.Length);
    }

    /// <summary>No tokens.</summary>
    public static TokenSequence Empty { get; } = new([]);

    /// <summary>The number of tokens.</summary>
    public long Length { get; }

    /// <summary>Creates a sequence in memory, with 16-bit ids if they fit.</summary>
    /// <exception cref="ArgumentOutOfRangeException">An id is negative.</exception>
    public static TokenSequence From(ReadOnlySpan<int> ids) => From(new TokenArray(ids), ids.Length);

    /// <summary>The ids of a store, which the sequence owns.</summary>
    internal static TokenSequence From(TokenStore store, long length) => new([new Segment(store, 0, length)]);

    /// <summary>Concatenates sequences, which must not be used on their own afterwards.</summary>
    public static TokenSequence Join(IEnumerable<TokenSequence> sequences) => new([.. sequences.SelectMany(sequence => sequence.segments)]);

    /// <summary>The tokens <paramref name="start"/> to <paramref name="start"/> + <paramref name="length"/>, which share the storage.</summary>
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

    /// <summary>Fills <paramref name="target"/> with the tokens from <paramref name="start"/>. Allocates nothing.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The tokens are outside the sequence.</exception>
    /// <exception cref="UserException">A file was truncated or removed in the meantime.</exception>
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
                segment.Store.Read(segment.Start + start, target[..length]);
                target = target[length..];
                start = segment.Length;
            }

            start -= segment.Length;
        }
    }

    /// <summary>All tokens in an array.</summary>
    /// <exception cref="UserException">There are more tokens than fit into an array.</exception>
    public int[] ToArray()
    {
        if (Length > Array.MaxLength)
            throw new UserException($"{Length:N0} tokens do not fit the memory at once; use fewer");
        var result = new int[Length];
        CopyTo(0, result);
        return result;
    }

    /// <summary>The largest id; −1 if there are no tokens. Reads every token. 32-bit ids are read as unsigned.</summary>
    public long Max()
    {
        const int Piece = 1 << 18;
        int[] ids = new int[Math.Min(Piece, Length)];
        long largest = -1;
        for (long start = 0; start < Length; start += ids.Length)
        {
            Span<int> part = ids.AsSpan(0, (int)Math.Min(ids.Length, Length - start));
            CopyTo(start, part);
            largest = Math.Max(largest, Largest(part));
        }

        return largest;
    }

    private static uint Largest(ReadOnlySpan<int> ids)
    {
        ReadOnlySpan<uint> numbers = MemoryMarshal.Cast<int, uint>(ids);
        ReadOnlySpan<Vector<uint>> lanes = MemoryMarshal.Cast<uint, Vector<uint>>(numbers);
        Vector<uint> most = Vector<uint>.Zero;
        foreach (Vector<uint> lane in lanes)
            most = Vector.Max(most, lane);
        uint largest = 0;
        for (int i = 0; i < Vector<uint>.Count; i++)
            largest = Math.Max(largest, most[i]);
        foreach (uint id in numbers[(lanes.Length * Vector<uint>.Count)..])
            largest = Math.Max(largest, id);
        return largest;
    }

    private void CheckRange(long start, long length)
    {
        if (start < 0 || length < 0 || start > Length - length)
            throw new ArgumentOutOfRangeException(nameof(start), $"tokens {start:N0} to {start + length:N0} are outside a sequence of {Length:N0}");
    }

    /// <summary>Closes the files of the sequence, which other sequences may share.</summary>
    public void Dispose()
    {
        foreach (Segment segment in segments)
            segment.Store.Dispose();
    }
}
