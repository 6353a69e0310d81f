using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>
/// SentencePiece's <c>precompiled_charsmap</c>: a double-array trie (Darts) of UTF-8 sequences, and their replacements. The format: the
/// length of the trie in bytes (32 bits, little-endian), its 32-bit units, and the zero-terminated replacements.
/// </summary>
internal sealed class PrecompiledMap
{
    /// <summary>Hugging Face's library only looks up clusters that are shorter than this, in bytes.</summary>
    private const int MaxClusterBytes = 6;

    private readonly uint[] units;
    private readonly byte[] texts;

    /// <summary>Reads a map. Offsets are checked at each lookup, so a damaged map is never read beyond its end.</summary>
    /// <param name="blob">The contents; empty for a map without entries.</param>
    /// <param name="source">The source of the map, for messages.</param>
    /// <exception cref="UserException">The lengths are inconsistent, or the replacements are not UTF-8.</exception>
    public PrecompiledMap(ReadOnlySpan<byte> blob, string source)
    {
        (units, texts) = ([], []);
        if (blob.IsEmpty)
            return;
        uint length = blob.Length < 4 ? 0 : BinaryPrimitives.ReadUInt32LittleEndian(blob);
        if (length == 0 || length % 4 != 0 || length > blob.Length - 4)
            throw new UserException($"{source}: the precompiled character map of {blob.Length:N0} bytes is damaged: its trie would have {length:N0} bytes");
        units = new uint[length / 4];
        for (int i = 0; i < units.Length; i++)
            units[i] = BinaryPrimitives.ReadUInt32LittleEndian(blob[(4 + (4 * i))..]);
        texts = blob[(4 + (int)length)..].ToArray();
        if (!System.Text.Unicode.Utf8.IsValid(texts))
            throw new UserException($"{source}: the precompiled character map is damaged: its texts are not UTF-8");
    }

    /// <summary>
    /// SentencePiece's lookup: the longest sequence of the map at the start of a text. A match that ends within a character means that the map is damaged.
    /// </summary>
    /// <param name="utf8">The text from the current position.</param>
    /// <param name="consumed">The number of matched bytes; 0 if there is no match.</param>
    /// <returns>The replacement in UTF-8.</returns>
    public ReadOnlySpan<byte> Longest(ReadOnlySpan<byte> utf8, out int consumed) => Find(utf8, longest: true, out consumed);

    /// <summary>
    /// Hugging Face's normalization: a grapheme cluster (UAX #29) of fewer than six UTF-8 bytes is replaced as a whole by the replacement of its
    /// shortest prefix in the map; in other clusters, each character is replaced separately.
    /// </summary>
    public string NormalizeClusters(string text)
    {
        if (units.Length == 0)
            return text;
        var result = new StringBuilder(text.Length);
        Span<byte> bytes = stackalloc byte[MaxClusterBytes];
        for (int start = 0, length; start < text.Length; start += length)
        {
            ReadOnlySpan<char> cluster = text.AsSpan(start);
            length = StringInfo.GetNextTextElementLength(cluster);
            cluster = cluster[..length];
            if (Encoding.UTF8.TryGetBytes(cluster, bytes, out int count) && count < MaxClusterBytes && Replace(bytes[..count], result))
                continue;
            foreach (Rune rune in cluster.EnumerateRunes())
            {
                if (!Replace(bytes[..rune.EncodeToUtf8(bytes)], result))
                    result.Append(rune.ToString());
            }
        }

        return result.ToString();
    }

    private bool Replace(ReadOnlySpan<byte> utf8, StringBuilder result)
    {
        ReadOnlySpan<byte> text = Find(utf8, longest: false, out int consumed);
        if (consumed > 0)
            result.Append(Encoding.UTF8.GetString(text));
        return consumed > 0;
    }

    /// <summary>Walks the trie: a unit has a label (8 bits), a flag for the end of an entry (bit 8), and the offset of its children (bits 9 to 30).</summary>
    private ReadOnlySpan<byte> Find(ReadOnlySpan<byte> utf8, bool longest, out int consumed)
    {
        consumed = 0;
        uint node = 0, value = 0;
        uint unit = units.Length == 0 ? 0 : units[0];
        for (int i = 0; i < utf8.Length && units.Length > 0 && utf8[i] != 0; i++)
        {
            node ^= Offset(unit) ^ utf8[i];
            if (node >= units.Length)
                break;
            unit = units[node];
            if ((unit & 0x800000FF) != utf8[i])
                break;
            uint leaf = node ^ Offset(unit);
            if ((unit & 0x100) == 0 || leaf >= units.Length)
                continue;
            value = units[leaf] & 0x7FFFFFFF;
            consumed = i + 1;
            if (!longest)
                break;
        }

        if (consumed == 0 || value >= texts.Length)
            return [];
        ReadOnlySpan<byte> text = texts.AsSpan((int)value);
        int end = text.IndexOf((byte)0);
        return end < 0 ? text : text[..end];
    }

    private static uint Offset(uint unit) => (unit >> 10) << (int)((unit & 0x200) >> 6);
}
