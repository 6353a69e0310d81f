using System.Buffers.Binary;
using System.Diagnostics.CodeAnalysis;
using System.Text;

namespace ILGpuOptim.Data.Tokenization.SentencePieces;

/// <summary>
/// SentencePiece's precompiled character map: a double-array trie (Darts) over UTF-8 keys, whose values are offsets of
/// zero-terminated replacements.
/// </summary>
internal sealed class CharacterMap
{
    private readonly uint[] units;
    private readonly byte[] replacements;
    private readonly Dictionary<int, string> texts = [];

    /// <param name="blob">The size of the trie in bytes (32 bits, little-endian), the trie, and the replacements.</param>
    /// <param name="source">The file, for messages.</param>
    /// <exception cref="UserException">The size of the trie is invalid.</exception>
    public CharacterMap(ReadOnlySpan<byte> blob, string source)
    {
        if (blob.Length <= 4 || BinaryPrimitives.ReadUInt32LittleEndian(blob) is var size && (size % 4 != 0 || size > blob.Length - 4))
            throw new UserException($"{source}: precompiled_charsmap is damaged: its trie does not fit into its {blob.Length:N0} bytes; download the file again");
        units = new uint[size / 4];
        for (int i = 0; i < units.Length; i++)
            units[i] = BinaryPrimitives.ReadUInt32LittleEndian(blob[(4 + 4 * i)..]);
        replacements = blob[(4 + (int)size)..].ToArray();
    }

    /// <summary>The map as the constructor reads it.</summary>
    public byte[] ToBytes() => [.. BitConverter.GetBytes(4 * units.Length), .. units.SelectMany(BitConverter.GetBytes), .. replacements];

    /// <summary>True if a key has several printable characters of ASCII. Maps by Unicode's rules have none; a <c>tokenizer.json</c> ignores such keys.</summary>
    public bool JoinsLetters
    {
        get
        {
            if (units.Length == 0)
                return false;
            // Each place is visited once, since damaged maps have cycles.
            HashSet<uint> seen = [];
            Stack<uint> open = new(Letters(Offset(units[0])).Select(child => child.Next).Where(seen.Add));
            while (open.TryPop(out uint place))
            {
                foreach ((bool endsKey, uint next) in Letters(place))
                {
                    if (endsKey)
                        return true;
                    if (seen.Add(next))
                        open.Push(next);
                }
            }

            return false;
        }
    }

    /// <summary>The printable characters of ASCII that continue the key of a place.</summary>
    private IEnumerable<(bool EndsKey, uint Next)> Letters(uint place)
    {
        for (uint key = '!'; key <= '~'; key++)
        {
            uint at = place ^ key;
            if (at < units.Length && units[at] is var unit && (unit & 0x8000_00FF) == key)
                yield return ((unit & 0x100) != 0, at ^ Offset(unit));
        }
    }

    /// <summary>Finds the longest key that is a prefix of a text.</summary>
    /// <param name="text">Text without unpaired surrogates.</param>
    /// <param name="replacement">The replacement of the key.</param>
    /// <returns>The key's length in UTF-16 units; 0 if there is none.</returns>
    public int Longest(ReadOnlySpan<char> text, [MaybeNullWhen(false)] out string replacement)
    {
        int longest = 0, value = 0;
        if (units.Length > 0)
        {
            uint at = Offset(units[0]);
            Span<byte> bytes = stackalloc byte[4];
            for (int length = 0; length < text.Length;)
            {
                Rune.DecodeFromUtf16(text[length..], out Rune rune, out int used);
                length += used;
                bool ended = false;
                uint unit = 0;
                foreach (byte key in bytes[..rune.EncodeToUtf8(bytes)])
                {
                    at ^= key;
                    // A unit with bit 31 is a value; the label of any other unit must be the byte.
                    if (ended = at >= units.Length || ((unit = units[at]) & 0x8000_00FF) != key)
                        break;
                    at ^= Offset(unit);
                }

                if (ended)
                    break;
                if ((unit & 0x100) != 0 && at < units.Length)
                    (longest, value) = (length, (int)(units[at] & 0x7FFF_FFFF));
            }
        }

        replacement = longest == 0 ? "" : TextAt(value);
        return longest;
    }

    private static uint Offset(uint unit) => (unit >> 10) << (int)((unit & 0x200) >> 6);

    private string TextAt(int offset)
    {
        lock (texts)
        {
            if (!texts.TryGetValue(offset, out string? text))
            {
                ReadOnlySpan<byte> rest = replacements.AsSpan(Math.Min(offset, replacements.Length));
                int end = rest.IndexOf((byte)0);
                texts[offset] = text = Encoding.UTF8.GetString(end < 0 ? rest : rest[..end]);
            }

            return text;
        }
    }
}
