using System.Globalization;
using System.Text;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>The byte tokens <c>&lt;0x00&gt;</c> … <c>&lt;0xFF&gt;</c>, one for each byte value.</summary>
internal static class ByteTokens
{
    private static readonly string[] Names = [.. Enumerable.Range(0, 256).Select(value => $"<0x{value:X2}>")];

    /// <summary>Returns the id of a token, or null.</summary>
    public delegate int? Lookup(ReadOnlySpan<char> token);

    /// <summary>Appends the byte tokens of a text in UTF-8; appends nothing if one of them is not in the vocabulary.</summary>
    public static bool TryAppend(ReadOnlySpan<char> text, Lookup lookup, List<int> ids)
    {
        int begin = ids.Count;
        Span<byte> bytes = stackalloc byte[4];
        foreach (Rune character in text.EnumerateRunes())
        {
            foreach (byte value in bytes[..character.EncodeToUtf8(bytes)])
            {
                if (lookup(Names[value]) is not { } id)
                {
                    ids.RemoveRange(begin, ids.Count - begin);
                    return false;
                }

                ids.Add(id);
            }
        }

        return true;
    }

    /// <summary>The value of a byte token; null for other tokens.</summary>
    public static byte? ValueOf(string token) =>
        token.Length == 6 && token.StartsWith("<0x", StringComparison.Ordinal) && token[5] == '>'
        && byte.TryParse(token.AsSpan(3, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out byte value) ? value : null;
}
