using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>
/// What BERT does to a text before its word pieces are looked up: control characters go, white space becomes spaces, Chinese characters
/// are words of their own, and lower-case models lose accents and capitals. Words end at spaces; every sign is a word.
/// </summary>
internal static partial class WordPieceText
{
    /// <summary>Signs, which are all of ASCII's that are neither letters nor digits and Unicode's punctuation, and what lies between them.</summary>
    [GeneratedRegex(@"[!-/:-@\[-`{-~\p{P}]|[^\s!-/:-@\[-`{-~\p{P}]+", RegexOptions.CultureInvariant)]
    public static partial Regex Words { get; }

    /// <summary>The text as it is looked up.</summary>
    public static string Normalize(string text, bool lowerCase, bool stripsAccents)
    {
        var result = new StringBuilder(text.Length + 16);
        foreach (Rune rune in text.EnumerateRunes())
        {
            if (rune.Value is '\t' or '\n' or '\r' || Rune.IsWhiteSpace(rune))
                result.Append(' ');
            else if (IsIdeograph(rune.Value))
                result.Append(' ').Append(rune.ToString()).Append(' ');
            else if (rune.Value != 0xFFFD && !IsOther(rune))
                result.Append(rune.ToString());
        }

        string clean = result.ToString();
        if (stripsAccents)
            clean = WithoutMarks(Accents.Strip(clean));
        return lowerCase ? clean.ToLowerInvariant() : clean;
    }

    private static bool IsOther(Rune rune) => Rune.GetUnicodeCategory(rune)
        is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.PrivateUse or UnicodeCategory.OtherNotAssigned;

    private static bool IsIdeograph(int rune) => rune is (>= 0x4E00 and <= 0x9FFF) or (>= 0x3400 and <= 0x4DBF) or (>= 0xF900 and <= 0xFAFF)
        or (>= 0x20000 and <= 0x2A6DF) or (>= 0x2A700 and <= 0x2CEAF) or (>= 0x2F800 and <= 0x2FA1F);

    private static string WithoutMarks(string text)
    {
        var result = new StringBuilder(text.Length);
        foreach (Rune rune in text.EnumerateRunes())
        {
            if (Rune.GetUnicodeCategory(rune) != UnicodeCategory.NonSpacingMark)
                result.Append(rune.ToString());
        }

        return result.ToString();
    }
}
