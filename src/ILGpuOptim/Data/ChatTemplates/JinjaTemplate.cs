using System.Text.Json;

namespace ILGpuOptim.Data.ChatTemplates;

/// <summary>The text of a template.</summary>
/// <param name="Text">The text.</param>
/// <param name="Generated">The starts and ends, in the text, of <c>{% generation %}</c> blocks.</param>
internal sealed record RenderedTemplate(string Text, IReadOnlyList<(int Start, int End)> Generated);

/// <summary>
/// A template in the part of Jinja's language that chat templates use, rendered as transformers renders them (<c>trim_blocks</c>, <c>lstrip_blocks</c>, loop
/// controls, generation blocks, an immutable sandbox). Everything else of the language is refused by name. Templates cannot reach files, the network or .NET.
/// </summary>
internal sealed class JinjaTemplate
{
    /// <summary>The most elements of a range, as in Jinja's sandbox.</summary>
    private const long MaxRange = 100_000;

    private readonly IReadOnlyList<TemplateStatement> statements;

    private JinjaTemplate(IReadOnlyList<TemplateStatement> statements, string source) => (this.statements, Source) = (statements, source);

    /// <summary>The template's name, for messages.</summary>
    public string Source { get; }

    /// <summary>Parses a template.</summary>
    /// <param name="text">The template.</param>
    /// <param name="source">Its name, for messages.</param>
    /// <exception cref="UserException">It is damaged, or uses what is not supported.</exception>
    public static JinjaTemplate Parse(string text, string source) => new(TemplateParser.Parse(text, source), source);

    /// <summary>Renders the template.</summary>
    /// <param name="variables">The variables, as <see cref="FromJson"/> gives them.</param>
    /// <param name="clock">The time of <c>strftime_now</c>.</param>
    /// <exception cref="UserException">The template calls <c>raise_exception</c>, or a value lacks what is done with it.</exception>
    public RenderedTemplate Render(IEnumerable<KeyValuePair<string, object?>> variables, TimeProvider clock)
    {
        var rendering = new TemplateRendering(Source);
        var globals = new TemplateScope(rendering);
        globals.Set("range", new TemplateFunction(Range));
        globals.Set("dict", new TemplateFunction(Dictionary));
        globals.Set("namespace", new TemplateFunction(Namespace));
        globals.Set("raise_exception", new TemplateFunction(arguments => throw new UserException($"{Source}: {TemplateOperators.Text(arguments.Bind(1, "message")[0])}")));
        globals.Set("strftime_now", new TemplateFunction(arguments => PythonTime.Format(clock.GetLocalNow(), TemplateOperators.String(arguments.Bind(1, "format")[0], "format"))));
        foreach ((string name, object? value) in variables)
            globals.Set(name, value);
        TemplateStatement.RunAll(statements, globals.Inner());
        return new RenderedTemplate(rendering.Output.ToString(), rendering.Generated);
    }

    /// <summary>A JSON value as a value of templates.</summary>
    /// <exception cref="UserException">A number has more than 64 bits, or a text is damaged.</exception>
    public static object? FromJson(JsonElement value)
    {
        switch (value.ValueKind)
        {
            case JsonValueKind.Object:
                var dictionary = new TemplateDictionary();
                foreach (JsonProperty property in value.EnumerateObject())
                    dictionary[property.Name] = FromJson(property.Value);
                return dictionary;
            case JsonValueKind.Array:
                return value.EnumerateArray().Select(FromJson).ToList();
            case JsonValueKind.String:
                return value.GetString();
            case JsonValueKind.Number:
                string text = value.GetRawText();
                if (text.AsSpan().ContainsAny(".eE"))
                    return value.GetDouble();
                return value.TryGetInt64(out long integer) ? integer : throw new UserException($"the integer {text} has more than 64 bits");
            case JsonValueKind.True or JsonValueKind.False:
                return value.GetBoolean();
            default:
                return null;
        }
    }

    private static object Range(TemplateArguments arguments)
    {
        object?[] values = arguments.Bind(1, "start", "stop", "step");
        bool hasStop = !ReferenceEquals(values[1], TemplateArguments.Missing);
        long first = hasStop ? TemplateOperators.Integer(values[0], "start") : 0, last = TemplateOperators.Integer(values[hasStop ? 1 : 0], "stop");
        long step = TemplateOperators.Integer(TemplateArguments.Or(values[2], 1L), "step");
        if (step == 0)
            throw new TemplateValueException("the step of a range is zero");
        var result = new List<object?>();
        for (long i = first; step > 0 ? i < last : i > last; i = checked(i + step))
        {
            if (result.Count == MaxRange)
                throw new TemplateValueException($"the range has more than {MaxRange:N0} elements");
            result.Add(i);
        }

        return result;
    }

    private static TemplateDictionary Dictionary(TemplateArguments arguments)
    {
        var result = new TemplateDictionary();
        foreach (object? given in arguments.Positional)
        {
            foreach ((object key, object? value) in given as TemplateDictionary ?? throw new TemplateValueException("dict needs a dictionary or named values"))
                result[key] = value;
        }

        foreach ((string name, object? value) in arguments.Named)
            result[name] = value;
        return result;
    }

    private static TemplateNamespace Namespace(TemplateArguments arguments)
    {
        var result = new TemplateNamespace();
        foreach ((object key, object? value) in Dictionary(arguments))
            result.Attributes[TemplateOperators.String(key, "the name of an attribute")] = value;
        return result;
    }
}
