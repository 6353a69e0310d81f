using System.Text;

namespace ILGpuOptim.Data.ChatTemplates;

/// <summary>The methods of Python's strings that templates use.</summary>
internal static class StringMethods
{
    /// <summary>A method of a string; null if there is none of this name.</summary>
    public static Func<TemplateArguments, object?>? Find(string text, string name) => name switch
    {
        "strip" => arguments => PythonText.Trim(text, Characters(arguments)),
        "lstrip" => arguments => PythonText.TrimStart(text, Characters(arguments)),
        "rstrip" => arguments => PythonText.TrimEnd(text, Characters(arguments)),
        "upper" => Plain(() => text.ToUpperInvariant()),
        "lower" => Plain(() => text.ToLowerInvariant()),
        "title" => Plain(() => PythonText.Capitalize(text, words: true)),
        "capitalize" => Plain(() => PythonText.Capitalize(text, words: false)),
        "splitlines" => Plain(() => PythonText.Lines(text).ToList<object?>()),
        "isdigit" => Plain(() => All(text, Rune.IsDigit)),
        "isalpha" => Plain(() => All(text, Rune.IsLetter)),
        "isalnum" => Plain(() => All(text, Rune.IsLetterOrDigit)),
        "isspace" => Plain(() => PythonText.IsSpace(text)),
        "isupper" => Plain(() => text.EnumerateRunes().Any(Rune.IsUpper) && !text.EnumerateRunes().Any(Rune.IsLower)),
        "islower" => Plain(() => text.EnumerateRunes().Any(Rune.IsLower) && !text.EnumerateRunes().Any(Rune.IsUpper)),
        "startswith" => arguments => Affixes(arguments).Any(affix => text.StartsWith(affix, StringComparison.Ordinal)),
        "endswith" => arguments => Affixes(arguments).Any(affix => text.EndsWith(affix, StringComparison.Ordinal)),
        "removeprefix" => arguments => One(arguments, "prefix") is var prefix && text.StartsWith(prefix, StringComparison.Ordinal) ? text[prefix.Length..] : text,
        "removesuffix" => arguments => One(arguments, "suffix") is { Length: > 0 } suffix && text.EndsWith(suffix, StringComparison.Ordinal) ? text[..^suffix.Length] : text,
        "find" => arguments => Place(text, text.IndexOf(One(arguments, "sub"), StringComparison.Ordinal)),
        "rfind" => arguments => Place(text, text.LastIndexOf(One(arguments, "sub"), StringComparison.Ordinal)),
        "count" => arguments => One(arguments, "sub") is { Length: > 0 } part ? (long)(text.Split(part).Length - 1) : PythonText.Length(text) + 1L,
        "join" => arguments => arguments.Bind(1, "iterable") is var values
            ? string.Join(text, TemplateOperators.Items(values[0]).Select(item => TemplateOperators.String(item, "an element of join"))) : null,
        "replace" => arguments => arguments.Bind(2, "old", "new", "count") is var values ? Replace(text, TemplateOperators.String(values[0], "old"),
            TemplateOperators.String(values[1], "new"), TemplateOperators.Integer(TemplateArguments.Or(values[2], -1L), "count")) : null,
        "split" => arguments => Split(text, arguments, fromEnd: false),
        "rsplit" => arguments => Split(text, arguments, fromEnd: true),
        "partition" => arguments => One(arguments, "sep") is var separator && text.IndexOf(separator, StringComparison.Ordinal) is >= 0 and var at
            ? new TemplateTuple([text[..at], separator, text[(at + separator.Length)..]]) : new TemplateTuple([text, "", ""]),
        "rpartition" => arguments => One(arguments, "sep") is var separator && text.LastIndexOf(separator, StringComparison.Ordinal) is >= 0 and var at
            ? new TemplateTuple([text[..at], separator, text[(at + separator.Length)..]]) : new TemplateTuple(["", "", text]),
        "format" => arguments => Format(text, arguments),
        _ => null,
    };

    /// <summary><c>str.replace</c>.</summary>
    public static string Replace(string text, string old, string with, long count)
    {
        var result = new StringBuilder();
        int start = 0;
        if (old.Length == 0)
        {
            // An empty text is found before each character and at the end.
            foreach (string character in PythonText.Characters(text))
                result.Append(count-- != 0 ? with : "").Append(character);
            return result.Append(count != 0 ? with : "").ToString();
        }

        for (int found; count != 0 && (found = text.IndexOf(old, start, StringComparison.Ordinal)) >= 0; count--)
        {
            result.Append(text, start, found - start).Append(with);
            start = found + old.Length;
        }

        return result.Append(text, start, text.Length - start).ToString();
    }

    private static List<object?> Split(string text, TemplateArguments arguments, bool fromEnd)
    {
        object?[] values = arguments.Bind(0, "sep", "maxsplit");
        long most = TemplateOperators.Integer(TemplateArguments.Or(values[1], -1L), "maxsplit");
        if (TemplateArguments.Or(values[0], null) is not { } given)
            return fromEnd && most >= 0 ? throw new TemplateValueException("rsplit by white space with a limit is not supported; give a separator") : [.. PythonText.Words(text, most)];
        string separator = TemplateOperators.String(given, "sep");
        if (separator.Length == 0)
            throw new TemplateValueException("split: the separator is empty");
        List<object?> parts = [.. text.Split(separator)];
        while (most >= 0 && parts.Count > most + 1)
        {
            int join = fromEnd ? 0 : (int)most;
            (parts[join], _) = ($"{parts[join]}{separator}{parts[join + 1]}", 0);
            parts.RemoveAt(join + 1);
        }

        return parts;
    }

    /// <summary><c>str.format</c> with fields that have no format: <c>{}</c>, <c>{0}</c>, <c>{name}</c>.</summary>
    private static string Format(string text, TemplateArguments arguments)
    {
        var result = new StringBuilder();
        int next = 0;
        for (int i = 0; i < text.Length; i++)
        {
            if (text[i] is '{' or '}' && i + 1 < text.Length && text[i + 1] == text[i])
            {
                result.Append(text[i++]);
            }
            else if (text[i] == '{')
            {
                int end = text.IndexOf('}', i);
                string field = end < 0 ? "" : text[(i + 1)..end];
                if (end < 0 || !field.All(c => char.IsLetterOrDigit(c) || c == '_'))
                    throw new TemplateValueException($"format: the field \"{{{field}}}\" is not supported; use {{}}, {{0}} or {{name}}");
                bool isIndex = int.TryParse(field, out int index);
                if (field.Length == 0)
                    (isIndex, index) = (true, next++);
                object? value = isIndex && index < arguments.Positional.Count ? arguments.Positional[index]
                    : !isIndex && arguments.Named.TryGetValue(field, out object? named) ? named : throw new TemplateValueException($"format: there is no argument for {{{field}}}");
                result.Append(TemplateOperators.Text(value));
                i = end;
            }
            else if (text[i] == '}')
            {
                throw new TemplateValueException("format: a } without {; write }}");
            }
            else
            {
                result.Append(text[i]);
            }
        }

        return result.ToString();
    }

    private static string? Characters(TemplateArguments arguments) =>
        TemplateArguments.Or(arguments.Bind(0, "chars")[0], null) is { } characters ? TemplateOperators.String(characters, "chars") : null;

    private static string One(TemplateArguments arguments, string name) => TemplateOperators.String(arguments.Bind(1, name)[0], name);

    private static IEnumerable<string> Affixes(TemplateArguments arguments) => arguments.Bind(1, "affix")[0] is TemplateTuple several
        ? several.Select(affix => TemplateOperators.String(affix, "the affix")) : [TemplateOperators.String(arguments.Positional[0], "the affix")];

    private static long Place(string text, int index) => index < 0 ? -1 : PythonText.Length(text[..index]);

    private static bool All(string text, Func<Rune, bool> holds) => text.Length > 0 && text.EnumerateRunes().All(holds);

    private static Func<TemplateArguments, object?> Plain(Func<object?> method) => arguments =>
    {
        arguments.Bind(0);
        return method();
    };
}
