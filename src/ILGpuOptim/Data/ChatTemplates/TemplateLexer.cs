using System.Globalization;
using System.Text;

namespace ILGpuOptim.Data.ChatTemplates;

/// <summary>
/// Splits a template into tokens, with Jinja's white-space control under <c>trim_blocks</c> and <c>lstrip_blocks</c>: the line feed after a statement or
/// comment is removed, and so are spaces before one at the start of a line. <c>-</c> at a tag removes all white space on that side, <c>+</c> keeps it.
/// </summary>
internal sealed class TemplateLexer
{
    /// <summary>Operators, longer ones first.</summary>
    private static readonly string[] Operators = ["==", "!=", "<=", ">=", "//", "**", "+", "-", "*", "/", "%", "~", "<", ">", "=", "(", ")", "[", "]", "{", "}", ",", ":", ".", "|", ";"];

    private readonly string text, source;
    private readonly List<TemplateToken> tokens = [];
    private int position, line = 1;

    /// <summary>True if the previous tag ended a line, or at the start of the template.</summary>
    private bool startsLine = true;

    private TemplateLexer(string text, string source) => (this.text, this.source) = (text, source);

    /// <summary>The tokens of a template.</summary>
    /// <param name="template">The template. A line feed at its end is ignored.</param>
    /// <param name="source">Its name, for messages.</param>
    /// <exception cref="UserException">A tag or string does not end, or a character has no meaning.</exception>
    public static List<TemplateToken> Read(string template, string source)
    {
        string text = template.Replace("\r\n", "\n", StringComparison.Ordinal).Replace('\r', '\n');
        var lexer = new TemplateLexer(text.EndsWith('\n') ? text[..^1] : text, source);
        lexer.ReadAll();
        return lexer.tokens;
    }

    private void ReadAll()
    {
        while (position < text.Length)
        {
            int start = NextTag();
            if (start < 0)
            {
                AddText(text[position..]);
                break;
            }

            char kind = text[start + 1], sign = start + 2 < text.Length && text[start + 2] is '-' or '+' ? text[start + 2] : ' ';
            AddText(Before(text[position..start], kind, sign));
            Move(start);
            int tagLine = line;
            Move(position + (sign == ' ' ? 2 : 3));
            if (kind == '#')
                SkipComment(tagLine);
            else if (kind == '%' && RawEnd() is { } raw)
                ReadRaw(raw, tagLine);
            else
                ReadTag(kind == '%', tagLine);
        }

        tokens.Add(new TemplateToken(TemplateTokenKind.End, "", line));
    }

    /// <summary>The text before a tag, without the white space that the tag removes.</summary>
    private string Before(string before, char kind, char sign)
    {
        if (sign == '-')
            return PythonText.TrimEnd(before);
        if (sign == '+' || kind == '{')
            return before;
        int lineStart = before.LastIndexOf('\n') + 1;
        return (lineStart > 0 || startsLine) && PythonText.IsSpace(before.AsSpan(lineStart)) ? before[..lineStart] : before;
    }

    private int NextTag()
    {
        for (int i = position; (i = text.IndexOf('{', i)) >= 0 && i + 1 < text.Length; i++)
        {
            if (text[i + 1] is '{' or '%' or '#')
                return i;
        }

        return -1;
    }

    private void AddText(string value)
    {
        if (value.Length > 0)
            tokens.Add(new TemplateToken(TemplateTokenKind.Text, value, line));
    }

    /// <summary>Moves on and counts lines.</summary>
    private void Move(int to)
    {
        line += text.AsSpan(position, to - position).Count('\n');
        position = to;
    }

    private void SkipComment(int tagLine)
    {
        int end = text.IndexOf("#}", position, StringComparison.Ordinal);
        if (end < 0)
            throw Error(tagLine, "the comment {# does not end with #}");
        char sign = text[end - 1];
        Move(end + 2);
        EndTag(sign, trimsLine: true);
    }

    /// <summary>Removes white space after a tag.</summary>
    /// <param name="sign">The character before the tag's end.</param>
    /// <param name="trimsLine">True: removes the line feed after a tag without a sign.</param>
    private void EndTag(char sign, bool trimsLine)
    {
        int end = position;
        if (sign == '-')
        {
            while (end < text.Length && PythonText.IsSpace(text[end]))
                end++;
        }
        else if (sign != '+' && trimsLine && end < text.Length && text[end] == '\n')
        {
            end++;
        }

        Move(end);
        startsLine = text[end - 1] == '\n';
    }

    /// <summary>The position after <c>raw %}</c> if the statement is that; else null.</summary>
    private int? RawEnd()
    {
        int i = Skip(position);
        if (!text.AsSpan(i).StartsWith("raw"))
            return null;
        i = Skip(i + 3);
        return text.AsSpan(i).StartsWith("-%}") ? Skip(i + 3) : text.AsSpan(i).StartsWith("%}") ? i + 2 : null;
    }

    private int Skip(int i)
    {
        while (i < text.Length && PythonText.IsSpace(text[i]))
            i++;
        return i;
    }

    private void ReadRaw(int start, int tagLine)
    {
        Move(start);
        for (int end = start; (end = text.IndexOf("{%", end, StringComparison.Ordinal)) >= 0; end += 2)
        {
            char sign = end + 2 < text.Length && text[end + 2] is '-' or '+' ? text[end + 2] : ' ';
            int word = Skip(end + (sign == ' ' ? 2 : 3));
            if (!text.AsSpan(word).StartsWith("endraw"))
                continue;
            int close = Skip(word + 6);
            bool hasSign = close < text.Length && text[close] is '-' or '+';
            if (!text.AsSpan(close + (hasSign ? 1 : 0)).StartsWith("%}"))
                continue;
            startsLine = text[start - 1] == '\n';
            AddText(Before(text[start..end], '%', sign));
            Move(close + (hasSign ? 3 : 2));
            EndTag(hasSign ? text[close] : ' ', trimsLine: true);
            return;
        }

        throw Error(tagLine, "{% raw %} does not end with {% endraw %}");
    }

    private void ReadTag(bool isStatement, int tagLine)
    {
        tokens.Add(new TemplateToken(isStatement ? TemplateTokenKind.StatementStart : TemplateTokenKind.OutputStart, isStatement ? "{%" : "{{", tagLine));
        string end = isStatement ? "%}" : "}}";
        int depth = 0;
        while (true)
        {
            Move(Skip(position));
            if (position >= text.Length)
                throw Error(tagLine, $"the tag {(isStatement ? "{%" : "{{")} does not end with {end}");
            char c = text[position];
            bool hasSign = (c == '-' || (c == '+' && isStatement)) && text.AsSpan(position + 1).StartsWith(end);
            if (depth == 0 && (hasSign || text.AsSpan(position).StartsWith(end)))
            {
                tokens.Add(new TemplateToken(isStatement ? TemplateTokenKind.StatementEnd : TemplateTokenKind.OutputEnd, end, line));
                Move(position + (hasSign ? 3 : 2));
                EndTag(hasSign ? c : ' ', isStatement);
                return;
            }

            if (c is '\'' or '"')
                ReadString(c);
            else if (char.IsAsciiDigit(c))
                ReadNumber();
            else if (c == '_' || char.IsLetter(c))
                ReadName();
            else
                depth += ReadOperator();
        }
    }

    private void ReadName()
    {
        int end = position;
        while (end < text.Length && (text[end] == '_' || char.IsLetterOrDigit(text[end])))
            end++;
        Add(TemplateTokenKind.Name, text[position..end], end);
    }

    private void ReadNumber()
    {
        int end = Digits(position);
        bool isFloat = false;
        if (end + 1 < text.Length && text[end] == '.' && char.IsAsciiDigit(text[end + 1]))
            (isFloat, end) = (true, Digits(end + 1));
        if (end < text.Length && text[end] is 'e' or 'E')
        {
            int digits = end + 1 < text.Length && text[end + 1] is '+' or '-' ? end + 2 : end + 1;
            if (digits < text.Length && char.IsAsciiDigit(text[digits]))
                (isFloat, end) = (true, Digits(digits));
        }

        if (end < text.Length && (text[end] == '_' || char.IsLetterOrDigit(text[end])))
            throw Error(line, $"the number {text[position..(end + 1)]}… is not decimal; write it in decimal digits");
        Add(isFloat ? TemplateTokenKind.Float : TemplateTokenKind.Integer, text[position..end].Replace("_", "", StringComparison.Ordinal), end);
    }

    private int Digits(int i)
    {
        while (i < text.Length && (char.IsAsciiDigit(text[i]) || (text[i] == '_' && i + 1 < text.Length && char.IsAsciiDigit(text[i + 1]))))
            i++;
        return i;
    }

    /// <summary>Reads an operator; returns how it changes the depth of brackets.</summary>
    private int ReadOperator()
    {
        foreach (string name in Operators)
        {
            if (!text.AsSpan(position).StartsWith(name))
                continue;
            Add(TemplateTokenKind.Operator, name, position + name.Length);
            return name switch { "(" or "[" or "{" => 1, ")" or "]" or "}" => -1, _ => 0 };
        }

        throw Error(line, $"the character '{text[position]}' has no meaning here");
    }

    private void ReadString(char quote)
    {
        var value = new StringBuilder();
        int i = position + 1;
        for (; i < text.Length && text[i] != quote; i++)
        {
            if (text[i] == '\\' && i + 1 < text.Length)
                i = ReadEscape(i + 1, value);
            else
                value.Append(text[i]);
        }

        if (i >= text.Length)
            throw Error(line, $"the string that begins with {quote} does not end");
        Add(TemplateTokenKind.String, value.ToString(), i + 1);
    }

    /// <summary>Reads Python's escape sequence whose character after the backslash is at <paramref name="i"/>; returns the position of its last character.</summary>
    private int ReadEscape(int i, StringBuilder value)
    {
        const string Letters = "abfnrtv\\'\"", Values = "\a\b\f\n\r\t\v\\'\"";
        char c = text[i];
        if (Letters.IndexOf(c) is >= 0 and var known)
        {
            value.Append(Values[known]);
            return i;
        }

        if (c is >= '0' and <= '7')
        {
            int code = 0, last = i;
            for (; last < text.Length && last < i + 3 && text[last] is >= '0' and <= '7'; last++)
                code = (code * 8) + text[last] - '0';
            value.Append((char)code);
            return last - 1;
        }

        if (c == 'N')
            throw Error(line, "the escape \\N{…} is not supported; write the character itself");
        int digits = c switch { 'x' => 2, 'u' => 4, 'U' => 8, _ => 0 };
        if (digits == 0)
        {
            // As in Python, an unknown escape stays as it is, and a backslash joins lines.
            if (c != '\n')
                value.Append('\\').Append(c);
            return i;
        }

        if (i + digits >= text.Length || !int.TryParse(text.AsSpan(i + 1, digits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out int point) || point is < 0 or > 0x10FFFF)
            throw Error(line, $"the escape \\{c} needs {digits} hexadecimal digits of a character");
        value.Append(point is >= 0xD800 and < 0xE000 ? ((char)point).ToString() : char.ConvertFromUtf32(point));
        return i + digits;
    }

    private void Add(TemplateTokenKind kind, string value, int end)
    {
        tokens.Add(new TemplateToken(kind, value, line));
        Move(end);
    }

    private UserException Error(int at, string problem) => TemplateError.At(source, at, problem);
}
