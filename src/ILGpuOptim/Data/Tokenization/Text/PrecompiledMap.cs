using System.Buffers.Binary;
using System.Globalization;
using System.Text;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>
/// SentencePiece's <c>precompiled_charsmap</c>: a double-array trie (Darts) of UTF-8 sequences, and the texts that replace them. The trie's
/// length in bytes comes first (32 bits, little-endian), then its units of 32 bits, then the texts, each ending with a zero byte.
/// </summary>
internal sealed class PrecompiledMap
{
    /// <summary>Hugging Face's library looks up only clusters of fewer bytes as a whole.</summary>
    private const int MaxClusterBytes = 6;

    private readonly uint[] units;
    private readonly byte[] texts;

    /// <summary>Reads a map. Positions are checked when they are followed, so that a damaged map cannot be read beyond its end.</summary>
    /// <param name="blob">The bytes; empty for a map without entries.</param>
    /// <param name="source">Where the map comes from, for messages.</param>
    /// <exception cref="UserException">The lengths do not agree, or the texts are no UTF-8.</exception>
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
    /// SentencePiece's use: at each position the longest sequence of the map is replaced. A map that ends a match within a character is damaged.
    /// </summary>
    /// <param name="utf8">The text from the position on.</param>
    /// <param name="consumed">Bytes of the text that are replaced; 0 when nothing matches.</param>
    /// <returns>The UTF-8 text that takes their place.</returns>
    public ReadOnlySpan<byte> Longest(ReadOnlySpan<byte> utf8, out int consumed) => Find(utf8, longest: true, out consumed);

    /// <summary>
    /// Hugging Face's use: a cluster of characters that is seen as one (UAX #29) is replaced as a whole by the text of its shortest prefix in the
    /// map when it has fewer than six bytes in UTF-8; otherwise each of its characters by its own.
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

    /// <summary>Follows the trie: a unit holds a label (8 bits), whether an entry ends there (bit 8), and the offset of its children (bits 9 to 30).</summary>
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
