using System.Text.Json;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>A <c>pattern</c> of a JSON file: <c>{"String": …}</c>, which is matched literally, or <c>{"Regex": …}</c> in Oniguruma's syntax.</summary>
internal sealed class TextPattern
{
    /// <summary>The maximum number of characters that one normalizer inserts: a chain of them could grow a text without limit.</summary>
    private const int MaxCharacters = 1 << 28;

    private readonly string? literal;
    private readonly CodePointRegex? regex;

    private TextPattern(string? literal, CodePointRegex? regex) => (this.literal, this.regex) = (literal, regex);

    /// <summary>Reads the field <c>pattern</c>.</summary>
    /// <exception cref="UserException">The field is missing, or its expression is not supported.</exception>
    public static TextPattern Read(JsonFields fields)
    {
        if (fields.Element("pattern") is { ValueKind: JsonValueKind.String } plain)
            throw fields.Error("pattern", $"is {JsonFields.Describe(plain)}; it must be an object with String or Regex");
        JsonFields pattern = fields.RequiredObject("pattern");
        string? literal = pattern.Text("String"), expression = pattern.Text("Regex");
        pattern.Finish();
        if (literal is null == expression is null)
            throw fields.Error("pattern", "must have either String or Regex");
        if (literal is { Length: > 0 })
            return new(literal, null);
        try
        {
            // The empty literal matches wherever the empty expression does: at every code point.
            return new(null, CodePointRegex.Of(expression ?? ""));
        }
        catch (UserException e)
        {
            throw new UserException($"{fields.Source}: {(fields.Path.Length == 0 ? "" : fields.Path + ": ")}{e.Message}", e);
        }
    }

    /// <summary>Appends the matches from left to right, as char offsets.</summary>
    public void Find(ReadOnlySpan<char> text, List<(int Start, int End)> matches)
    {
        if (regex is not null)
        {
            regex.Find(text, matches);
            return;
        }

        for (int start = 0; text[start..].IndexOf(literal, StringComparison.Ordinal) is >= 0 and var next; start += next + literal!.Length)
            matches.Add((start + next, start + next + literal!.Length));
    }

    /// <summary>The text with each match replaced.</summary>
    /// <exception cref="UserException">The result would be too large.</exception>
    public string Replace(string text, string content)
    {
        if (literal?.Length >= content.Length)
            return text.Replace(literal, content, StringComparison.Ordinal);
        var matches = new List<(int Start, int End)>();
        if (text.Length > 0)
            Find(text, matches);
        if (matches.Count == 0)
            return text;
        if ((long)matches.Count * content.Length > MaxCharacters)
            throw new UserException($"the tokenizer's normalizer Replace would insert more than {MaxCharacters:N0} characters; encode the text in parts, or use another tokenizer");
        var result = new System.Text.StringBuilder(text.Length);
        int end = 0;
        foreach ((int start, int next) in matches)
        {
            result.Append(text, end, start - end).Append(content);
            end = next;
        }

        return result.Append(text, end, text.Length - end).ToString();
    }
}
