using System.Globalization;
using System.Text;

namespace ILGpuOptim.Data.ChatTemplates;

/// <summary>Jinja's filters, <c>value | name</c>, and <c>tojson</c> as transformers defines it.</summary>
internal static class TemplateFilters
{
    private static readonly Dictionary<string, Func<object?, TemplateArguments, object?>> Filters = new()
    {
        ["abs"] = (value, arguments) => Plain(arguments, TemplateOperators.Compare(value, 0L) < 0 ? TemplateOperators.Negate(value) : value),
        ["attr"] = (value, arguments) => TemplateOperators.String(arguments.Bind(1, "name")[0], "name") is var name && value is TemplateDictionary
            ? new TemplateUndefined($"the attribute '{name}'") : TemplateMembers.Attribute(value, name),
        ["capitalize"] = (value, arguments) => Plain(arguments, PythonText.Capitalize(TemplateOperators.Text(value), words: false)),
        ["count"] = (value, arguments) => Plain(arguments, TemplateOperators.Length(value)),
        ["d"] = Default,
        ["default"] = Default,
        ["dictsort"] = (value, arguments) => DictionarySort(value, arguments),
        ["first"] = (value, arguments) => Plain(arguments, TemplateOperators.Items(value).Take(1).ToList() is [var first] ? first : new TemplateUndefined("the first element of an empty sequence")),
        ["float"] = (value, arguments) => Float(value) ?? TemplateArguments.Or(arguments.Bind(0, "default")[0], 0.0),
        ["indent"] = Indent,
        ["int"] = (value, arguments) => arguments.Bind(0, "default", "base") is var values && ReferenceEquals(values[1], TemplateArguments.Missing)
            ? Integer(value) ?? TemplateArguments.Or(values[0], 0L) : throw new TemplateValueException("int with a base is not supported"),
        ["items"] = (value, arguments) => Plain(arguments, value switch
        {
            TemplateUndefined => new List<object?>(),
            TemplateDictionary dictionary => TemplateMembers.Pairs(dictionary),
            _ => throw new TemplateValueException($"items needs a dictionary, not {TemplateOperators.TypeOf(value)}"),
        }),
        ["join"] = (value, arguments) => arguments.Bind(0, "d", "attribute") is var values
            ? string.Join(TemplateOperators.Text(TemplateArguments.Or(values[0], "")), SequenceFilters.Attributes(value, TemplateArguments.Or(values[1], null)).Select(TemplateOperators.Text)) : null,
        ["last"] = (value, arguments) => Plain(arguments, TemplateOperators.Items(value).ToList() is [.., var last] ? last : new TemplateUndefined("the last element of an empty sequence")),
        ["length"] = (value, arguments) => Plain(arguments, TemplateOperators.Length(value)),
        ["list"] = (value, arguments) => Plain(arguments, TemplateOperators.Items(value).ToList()),
        ["lower"] = (value, arguments) => Plain(arguments, TemplateOperators.Text(value).ToLowerInvariant()),
        ["map"] = SequenceFilters.Map,
        ["max"] = (value, arguments) => SequenceFilters.Extreme(value, arguments, 1),
        ["min"] = (value, arguments) => SequenceFilters.Extreme(value, arguments, -1),
        ["reject"] = (value, arguments) => SequenceFilters.Select(value, arguments, byAttribute: false, keeps: false),
        ["rejectattr"] = (value, arguments) => SequenceFilters.Select(value, arguments, byAttribute: true, keeps: false),
        ["replace"] = (value, arguments) => arguments.Bind(2, "old", "new", "count") is var values
            ? StringMethods.Replace(TemplateOperators.Text(value), TemplateOperators.Text(values[0]), TemplateOperators.Text(values[1]),
                TemplateOperators.Integer(TemplateArguments.Or(values[2], null) ?? -1L, "count")) : null,
        ["reverse"] = (value, arguments) => Plain(arguments, value is string text ? string.Concat(Enumerable.Reverse(PythonText.Characters(text)))
            : new TemplateIterator(Enumerable.Reverse(TemplateOperators.Items(value).ToList()))),
        ["round"] = Round,
        ["safe"] = (value, arguments) => Plain(arguments, TemplateOperators.Text(value)),
        ["select"] = (value, arguments) => SequenceFilters.Select(value, arguments, byAttribute: false, keeps: true),
        ["selectattr"] = (value, arguments) => SequenceFilters.Select(value, arguments, byAttribute: true, keeps: true),
        ["sort"] = SequenceFilters.Sort,
        ["string"] = (value, arguments) => Plain(arguments, TemplateOperators.Text(value)),
        ["sum"] = (value, arguments) => arguments.Bind(0, "attribute", "start") is var values
            ? SequenceFilters.Attributes(value, TemplateArguments.Or(values[0], null)).Aggregate(TemplateArguments.Or(values[1], 0L), (sum, item) => TemplateOperators.Apply("+", sum, item)) : null,
        ["title"] = (value, arguments) => Plain(arguments, Title(TemplateOperators.Text(value))),
        ["tojson"] = TemplateJson.Filter,
        ["trim"] = (value, arguments) => PythonText.Trim(TemplateOperators.Text(value), TemplateArguments.Or(arguments.Bind(0, "chars")[0], null) is { } characters
            ? TemplateOperators.String(characters, "chars") : null),
        ["unique"] = SequenceFilters.Unique,
        ["upper"] = (value, arguments) => Plain(arguments, TemplateOperators.Text(value).ToUpperInvariant()),
    };

    /// <summary>True if there is a filter of this name.</summary>
    public static bool Has(string name) => Filters.ContainsKey(name);

    /// <summary>Applies a filter.</summary>
    public static object? Apply(string name, object? value, TemplateArguments arguments) =>
        Filters.TryGetValue(name, out Func<object?, TemplateArguments, object?>? filter) ? filter(value, arguments) : throw new TemplateValueException($"the filter '{name}' is not supported");

    private static object? Plain(TemplateArguments arguments, object? result)
    {
        arguments.Bind(0);
        return result;
    }

    private static object? Default(object? value, TemplateArguments arguments)
    {
        object?[] values = arguments.Bind(0, "default_value", "boolean");
        bool replaces = value is TemplateUndefined || (TemplateOperators.IsTrue(TemplateArguments.Or(values[1], false)) && !TemplateOperators.IsTrue(value));
        return replaces ? TemplateArguments.Or(values[0], "") : value;
    }

    private static object? Integer(object? value)
    {
        if (TemplateOperators.TryInteger(value, out long integer))
            return integer;
        if (value is string text && long.TryParse(text.Trim(), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out long parsed))
            return parsed;
        return Float(value) is { } number && double.IsFinite(number) && Math.Abs(number) < long.MaxValue ? (long)number : null;
    }

    private static double? Float(object? value) => TemplateOperators.TryNumber(value, out double number) ? number
        : value is string text && double.TryParse(text.Trim(), NumberStyles.Float, CultureInfo.InvariantCulture, out double parsed) ? parsed : null;

    private static object? Round(object? value, TemplateArguments arguments)
    {
        object?[] values = arguments.Bind(0, "precision", "method");
        if (!TemplateOperators.TryNumber(value, out double number))
            throw new TemplateValueException($"round needs a number, not {TemplateOperators.TypeOf(value)}");
        long precision = TemplateOperators.Integer(TemplateArguments.Or(values[0], 0L), "precision");
        if (precision is < 0 or > 15)
            throw new TemplateValueException($"round to {precision} digits is not supported; give 0 to 15");
        double scale = Math.Pow(10, precision);
        return TemplateArguments.Or(values[1], "common") switch
        {
            "common" when value is long => value,
            "common" => Math.Round(number, (int)precision, MidpointRounding.ToEven),
            "ceil" => Math.Ceiling(number * scale) / scale,
            "floor" => Math.Floor(number * scale) / scale,
            var other => throw new TemplateValueException($"round has no method '{TemplateOperators.Text(other)}'; there are common, ceil and floor"),
        };
    }

    private static string Title(string text)
    {
        var result = new StringBuilder(text.Length);
        bool starts = true;
        foreach (string character in PythonText.Characters(text))
        {
            result.Append(starts ? character.ToUpperInvariant() : character.ToLowerInvariant());
            starts = character[0] is '-' or '(' or '{' or '[' or '<' || PythonText.IsSpace(character[0]);
        }

        return result.ToString();
    }

    private static object? Indent(object? value, TemplateArguments arguments)
    {
        object?[] values = arguments.Bind(0, "width", "first", "blank");
        object? width = TemplateArguments.Or(values[0], 4L);
        string by = width as string ?? new string(' ', (int)Math.Clamp(TemplateOperators.Integer(width, "width"), 0, 1 << 12));
        bool blank = TemplateOperators.IsTrue(TemplateArguments.Or(values[2], false));
        List<string> lines = PythonText.Lines(TemplateOperators.Text(value) + "\n");
        IEnumerable<string> rest = lines.Skip(1).Select(line => blank || line.Length > 0 ? by + line : line);
        string result = string.Join("\n", rest.Prepend(lines[0]));
        return TemplateOperators.IsTrue(TemplateArguments.Or(values[1], false)) ? by + result : result;
    }

    private static List<object?> DictionarySort(object? value, TemplateArguments arguments)
    {
        object?[] values = arguments.Bind(0, "case_sensitive", "by", "reverse");
        if (value is not TemplateDictionary dictionary)
            throw new TemplateValueException($"dictsort needs a dictionary, not {TemplateOperators.TypeOf(value)}");
        int part = TemplateArguments.Or(values[1], "key") switch { "key" => 0, "value" => 1, var other => throw new TemplateValueException($"dictsort by '{TemplateOperators.Text(other)}' is not supported; use key or value") };
        return SequenceFilters.Sorted(TemplateMembers.Pairs(dictionary), pair => ((TemplateTuple)pair!)[part],
            TemplateOperators.IsTrue(TemplateArguments.Or(values[0], false)), TemplateOperators.IsTrue(TemplateArguments.Or(values[2], false)));
    }
}
