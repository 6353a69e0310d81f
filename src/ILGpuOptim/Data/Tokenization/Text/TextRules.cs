namespace ILGpuOptim.Data.Tokenization;

/// <summary>
/// Character classes of Hugging Face's library. Its components use tables of different Unicode versions, so each class names its version.
/// </summary>
internal static class TextRules
{
    /// <summary>The version used for Rust's <c>char</c> methods. They use 17.0; the differences are listed below.</summary>
    private static readonly Version Rust = new(16, 0);

    /// <summary>The version of the crate unicode_categories.</summary>
    private static readonly Version Old = new(8, 0);

    /// <summary>The version of the library's script table.</summary>
    private static readonly Version Scripts = new(9, 0);

    /// <summary>The version of the crate unicode-normalization-alignments.</summary>
    private static readonly Version Normalization = new(9, 0);

    private static readonly CodePointMap Kinds = Classify();

    [Flags]
    private enum Kind : byte
    {
        None = 0,
        Numeric = 1,
        Punctuation = 2,
        Other = 4,
        NonSpacingMark = 8,
        Mark = 16,
        Word = 32,
    }

    /// <summary>General category N, with the digits that Unicode 17.0 added.</summary>
    public static bool IsNumeric(int point) => Is(point, Kind.Numeric);

    /// <summary>ASCII's punctuation and symbols, and general category P.</summary>
    public static bool IsPunctuation(int point) => Is(point, Kind.Punctuation);

    /// <summary>Control, format and private-use characters.</summary>
    public static bool IsOther(int point) => Is(point, Kind.Other);

    /// <summary>General category Mn.</summary>
    public static bool IsNonSpacingMark(int point) => Is(point, Kind.NonSpacingMark);

    /// <summary>General category M.</summary>
    public static bool IsMark(int point) => Is(point, Kind.Mark);

    /// <summary>Word characters: <c>\w</c> of Rust's regular expressions.</summary>
    public static bool IsWord(int point) => Is(point, Kind.Word);

    /// <summary>BERT's Chinese characters, without U+2B820 to U+2B91F, as in the library.</summary>
    public static bool IsIdeograph(int point) => point is (>= 0x4E00 and <= 0x9FFF) or (>= 0x3400 and <= 0x4DBF) or (>= 0xF900 and <= 0xFAFF)
        or (>= 0x20000 and <= 0x2A6DF) or (>= 0x2A700 and <= 0x2B81F) or (>= 0x2B920 and <= 0x2CEAF) or (>= 0x2F800 and <= 0x2FA1F);

    /// <summary>
    /// The script; null for spaces and characters without one. Hiragana, Katakana and the prolonged sound mark count as Han.
    /// </summary>
    public static string? ScriptOf(int point) => point switch
    {
        ' ' => null,
        0x30FC => "Han",

        // The script of these has changed since.
        0x589 or 0x61C => "Common",
        0x953 or 0x954 => "Devanagari",
        _ => UnicodeData.Script(point, Scripts) switch
        {
            "Unknown" => null,
            "Hiragana" or "Katakana" => "Han",
            var script => script,
        },
    };

    private static bool Is(int point, Kind kind) => (Kinds[point] & (byte)kind) != 0;

    private static CodePointMap Classify()
    {
        var result = new byte[CodePointSet.Limit];
        for (int point = 0; point < result.Length; point++)
        {
            // The category of the code points listed here has changed since those versions.
            string rust = UnicodeData.Category(point, Rust), old = UnicodeData.Category(point, Old);
            Kind kind = rust[0] == 'N' || point is (>= 0x11DE0 and <= 0x11DE9) or (>= 0x16FF4 and <= 0x16FF6) ? Kind.Numeric : Kind.None;
            if (old[0] == 'P' || point is 0x166D or 0x111C9 || (point < 0x80 && rust[0] is 'P' or 'S'))
                kind |= Kind.Punctuation;
            if (old is "Cc" or "Cf" or "Co")
                kind |= Kind.Other;
            if ((old == "Mn" && point is not (0x1885 or 0x1886 or 0xA9BD or 0x111C9)) || point is 0x1734 or 0x1171E)
                kind |= Kind.NonSpacingMark;
            if ((UnicodeData.Category(point, Normalization)[0] == 'M' && point != 0x111C9) || point is 0x1CF2 or 0x1CF3)
                kind |= Kind.Mark;
            if (rust is "Nd" or "Pc" || rust[0] == 'M' || (UnicodeData.IsAlphabetic(point) && rust != "Cn") || UnicodeData.IsJoinControl(point))
                kind |= Kind.Word;
            result[point] = (byte)kind;
        }

        return new CodePointMap(result);
    }
}
