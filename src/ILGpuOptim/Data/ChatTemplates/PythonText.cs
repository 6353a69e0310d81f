using System.Globalization;
using System.Text;

namespace ILGpuOptim.Data.ChatTemplates;

/// <summary>Python's rules for strings: white space, code points, and the text of values.</summary>
internal static class PythonText
{
    /// <summary>The line ends of <c>str.splitlines</c>.</summary>
    private const string LineEnds = "\n\r\v\f\u001c\u001d\u001e\u0085\u2028\u2029";

    /// <summary>True for the white space of <c>str.isspace</c>.</summary>
    public static bool IsSpace(char c) => char.IsWhiteSpace(c) || c is >= '\x1c' and <= '\x1f';

    /// <summary>True for a text of white space only, of at least one character.</summary>
    public static bool IsSpace(ReadOnlySpan<char> text)
    {
        foreach (char c in text)
        {
            if (!IsSpace(c))
                return false;
        }

        return text.Length > 0;
    }

    /// <summary><c>str.lstrip</c>.</summary>
    /// <param name="text">The text.</param>
    /// <param name="characters">Characters to remove; null: white space.</param>
    public static string TrimStart(string text, string? characters = null)
    {
        int start = 0;
        while (start < text.Length && (characters is null ? IsSpace(text[start]) : characters.Contains(text[start])))
            start++;
        return text[start..];
    }

    /// <summary><c>str.rstrip</c>; parameters as for <see cref="TrimStart"/>.</summary>
    public static string TrimEnd(string text, string? characters = null)
    {
        int end = text.Length;
        while (end > 0 && (characters is null ? IsSpace(text[end - 1]) : characters.Contains(text[end - 1])))
            end--;
        return text[..end];
    }

    /// <summary><c>str.strip</c>; parameters as for <see cref="TrimStart"/>.</summary>
    public static string Trim(string text, string? characters = null) => TrimEnd(TrimStart(text, characters), characters);

    /// <summary><c>str.splitlines</c>.</summary>
    public static List<string> Lines(string text)
    {
        var lines = new List<string>();
        int start = 0;
        for (int i = 0; i < text.Length; i++)
        {
            if (!LineEnds.Contains(text[i]))
                continue;
            lines.Add(text[start..i]);
            if (text[i] == '\r' && i + 1 < text.Length && text[i + 1] == '\n')
                i++;
            start = i + 1;
        }

        if (start < text.Length)
            lines.Add(text[start..]);
        return lines;
    }

    /// <summary><c>str.split</c> by white space.</summary>
    /// <param name="text">The text.</param>
    /// <param name="most">The maximum number of splits; negative: all.</param>
    public static List<string> Words(string text, long most)
    {
        var words = new List<string>();
        int i = 0;
        while (true)
        {
            while (i < text.Length && IsSpace(text[i]))
                i++;
            if (i >= text.Length)
                return words;
            if (words.Count == most)
            {
                words.Add(text[i..]);
                return words;
            }

            int start = i;
            while (i < text.Length && !IsSpace(text[i]))
                i++;
            words.Add(text[start..i]);
        }
    }

    /// <summary>The code points of a text, each as a string.</summary>
    public static List<string> Characters(string text)
    {
        var result = new List<string>(text.Length);
        for (int i = 0; i < text.Length; i++)
            result.Add(char.IsSurrogatePair(text, i) ? text.Substring(i++, 2) : text[i].ToString());
        return result;
    }

    /// <summary>The number of code points.</summary>
    public static int Length(string text)
    {
        int pairs = 0;
        for (int i = 0; i + 1 < text.Length; i++)
        {
            if (char.IsSurrogatePair(text[i], text[i + 1]))
                (pairs, i) = (pairs + 1, i + 1);
        }

        return text.Length - pairs;
    }

    /// <summary>Compares by code points.</summary>
    public static int Compare(string left, string right)
    {
        int i = 0;
        while (i < left.Length && i < right.Length && left[i] == right[i])
            i++;
        if (i == left.Length || i == right.Length)
            return left.Length.CompareTo(right.Length);

        // Surrogates stand for code points above all others.
        return char.IsSurrogate(left[i]) == char.IsSurrogate(right[i]) ? left[i].CompareTo(right[i]) : char.IsSurrogate(left[i]) ? 1 : -1;
    }

    /// <summary>Upper or lower case of a whole text, with the first letter of it or of each word in upper case.</summary>
    /// <param name="text">The text.</param>
    /// <param name="words">True: <c>str.title</c>; false: <c>str.capitalize</c>.</param>
    public static string Capitalize(string text, bool words)
    {
        var result = new StringBuilder(text.Length);
        bool starts = true;
        foreach (string character in Characters(text))
        {
            result.Append(starts ? character.ToUpperInvariant() : character.ToLowerInvariant());
            starts = words && !Rune.IsLetter(Rune.TryGetRuneAt(character, 0, out Rune rune) ? rune : Rune.ReplacementChar);
        }

        return result.ToString();
    }

    /// <summary><c>str</c> of a number.</summary>
    public static string Of(double value)
    {
        if (double.IsNaN(value))
            return "nan";
        if (double.IsInfinity(value))
            return value > 0 ? "inf" : "-inf";
        string text = value.ToString("E16", CultureInfo.InvariantCulture);
        int exponent = int.Parse(text[(text.IndexOf('E') + 1)..], NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
        string shortest = value.ToString("R", CultureInfo.InvariantCulture);
        if (value != 0 && exponent is < -4 or >= 16)
        {
            // The digits of the shortest form, in scientific notation.
            string mantissa = Digits(shortest, out string sign);
            return $"{sign}{mantissa[0]}{(mantissa.Length > 1 ? "." + mantissa[1..] : "")}e{(exponent < 0 ? "-" : "+")}{Math.Abs(exponent):00}";
        }

        if (shortest.Contains('E'))
            shortest = decimal.Parse(shortest, NumberStyles.Float, CultureInfo.InvariantCulture).ToString(CultureInfo.InvariantCulture);
        return shortest.Contains('.') ? shortest : shortest + ".0";
    }

    private static string Digits(string number, out string sign)
    {
        sign = number.StartsWith('-') ? "-" : "";
        string mantissa = number.TrimStart('-').Split('E')[0].Replace(".", "", StringComparison.Ordinal).TrimStart('0').TrimEnd('0');
        return mantissa.Length == 0 ? "0" : mantissa;
    }

    /// <summary><c>repr</c> of a string.</summary>
    public static string Quote(string text)
    {
        char quote = text.Contains('\'') && !text.Contains('"') ? '"' : '\'';
        var result = new StringBuilder().Append(quote);
        foreach (string character in Characters(text))
        {
            int code = character.Length == 2 ? char.ConvertToUtf32(character, 0) : character[0];
            if (character[0] == quote || code == '\\')
                result.Append('\\').Append(character);
            else if (code is '\n' or '\r' or '\t')
                result.Append(code switch { '\n' => "\\n", '\r' => "\\r", _ => "\\t" });
            else if (IsPrintable(character))
                result.Append(character);
            else
                result.Append(code < 0x100 ? $"\\x{code:x2}" : code < 0x10000 ? $"\\u{code:x4}" : $"\\U{code:x8}");
        }

        return result.Append(quote).ToString();
    }

    private static bool IsPrintable(string character) => character == " " || CharUnicodeInfo.GetUnicodeCategory(character, 0)
        is not (UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.Surrogate or UnicodeCategory.PrivateUse or UnicodeCategory.OtherNotAssigned
            or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator or UnicodeCategory.SpaceSeparator);
}
