using System.Globalization;
using System.Text;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>The tokens <c>&lt;0x00&gt;</c> … <c>&lt;0xFF&gt;</c> that stand for single bytes of UTF-8.</summary>
internal static class ByteTokens
{
    private static readonly string[] Names = [.. Enumerable.Range(0, 256).Select(value => $"<0x{value:X2}>")];

    /// <summary>Looks a token up.</summary>
    public delegate int? Lookup(ReadOnlySpan<char> token);

    /// <summary>Appends the tokens of a text's bytes; appends nothing when one of them does not exist.</summary>
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

    /// <summary>The byte that a token stands for; null for other tokens.</summary>
    public static byte? ValueOf(string token) =>
        token.Length == 6 && token.StartsWith("<0x", StringComparison.Ordinal) && token[5] == '>'
        && byte.TryParse(token.AsSpan(3, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out byte value) ? value : null;
}
