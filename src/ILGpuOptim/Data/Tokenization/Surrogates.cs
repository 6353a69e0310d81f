using System.Text;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>Replaces unpaired surrogates, which are not characters.</summary>
internal static class Surrogates
{
    /// <summary>The text with U+FFFD in place of unpaired surrogates.</summary>
    public static string WithoutHalves(ReadOnlySpan<char> text)
    {
        if (text.IndexOfAnyInRange('\uD800', '\uDFFF') < 0)
            return text.ToString();
        var clean = new StringBuilder(text.Length);
        Span<char> units = stackalloc char[2];
        foreach (Rune rune in text.EnumerateRunes())
            clean.Append(units[..rune.EncodeToUtf16(units)]);
        return clean.ToString();
    }
}
