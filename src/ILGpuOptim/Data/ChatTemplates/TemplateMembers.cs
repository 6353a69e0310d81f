namespace ILGpuOptim.Data.ChatTemplates;

/// <summary>Attributes, items, slices and methods of values.</summary>
internal static class TemplateMembers
{
    /// <summary>Methods that change their object, which Jinja's immutable sandbox refuses.</summary>
    private static readonly string[] Changing = ["append", "extend", "insert", "pop", "remove", "clear", "update", "setdefault", "popitem", "sort", "reverse"];

    /// <summary><c>value.name</c>: a method or attribute, else the item of a dictionary.</summary>
    public static object? Attribute(object? value, string name)
    {
        if (Member(value, name) is (true, var member))
            return member;
        return value is TemplateDictionary dictionary && dictionary.TryGet(name, out object? item) ? item : Missing(value, name);
    }

    /// <summary><c>value[key]</c>: an item, else a method or attribute.</summary>
    public static object? Item(object? value, object? key)
    {
        switch (value)
        {
            case TemplateUndefined undefined:
                throw undefined.Error();
            case TemplateDictionary dictionary when dictionary.TryGet(key, out object? item):
                return item;
            case string or List<object?> when TemplateOperators.TryInteger(key, out long index):
                List<object?> items = value as List<object?> ?? [.. PythonText.Characters((string)value)];
                long place = index < 0 ? index + items.Count : index;
                return place >= 0 && place < items.Count ? items[(int)place] : new TemplateUndefined($"the element {index} of {items.Count}");
            default:
                return key is string name && Member(value, name) is (true, var member) ? member
                    : key is string missing ? Missing(value, missing) : new TemplateUndefined($"the element {TemplateOperators.Text(key)} of {TemplateOperators.TypeOf(value)}");
        }
    }

    /// <summary><c>value[start:stop:step]</c>, with Python's rules for negative and omitted bounds.</summary>
    public static object? Slice(object? value, object? start, object? stop, object? step)
    {
        if (value is TemplateUndefined undefined)
            throw undefined.Error();
        if (value is not (string or List<object?>))
            throw new TemplateValueException($"{TemplateOperators.TypeOf(value)} has no slices");
        List<object?> items = value as List<object?> ?? [.. PythonText.Characters((string)value)];
        long by = step is null ? 1 : TemplateOperators.Integer(step, "the step of a slice"), count = items.Count;
        if (by == 0)
            throw new TemplateValueException("the step of a slice is zero");
        long Bound(object? bound, long missing)
        {
            if (bound is null)
                return missing;
            long place = TemplateOperators.Integer(bound, "the bound of a slice");
            place = place < 0 ? place + count : place;
            return by > 0 ? Math.Clamp(place, 0, count) : Math.Clamp(place, -1, count - 1);
        }

        long first = Bound(start, by > 0 ? 0 : count - 1), last = Bound(stop, by > 0 ? count : -1);
        var result = new List<object?>();
        for (long i = first; by > 0 ? i < last : i > last; i += by)
            result.Add(items[(int)i]);
        return value switch { string => string.Concat(result), TemplateTuple => new TemplateTuple(result), _ => result };
    }

    private static TemplateUndefined Missing(object? value, string name) =>
        value is TemplateUndefined undefined ? throw undefined.Error() : new TemplateUndefined($"'{name}' of {TemplateOperators.TypeOf(value)}");

    private static (bool Found, object? Value) Member(object? value, string name)
    {
        if (name.StartsWith('_') && !(value is TemplateDictionary internals && internals.TryGet(name, out _)))
            return (true, new TemplateUndefined($"the internal attribute '{name}'"));
        if (value is List<object?> or TemplateDictionary && Changing.Contains(name) && !(value is TemplateDictionary dictionary && dictionary.TryGet(name, out _)))
            throw new TemplateValueException($"the method '{name}' changes {TemplateOperators.TypeOf(value)}, which templates may not; use + and set, or a namespace");
        return value switch
        {
            TemplateNamespace space => (space.Attributes.TryGetValue(name, out object? attribute), attribute),
            TemplateLoop loop => loop.Attribute(name),
            string text => Function(StringMethods.Find(text, name)),
            TemplateDictionary entries => Function(DictionaryMethod(entries, name)),
            List<object?> list => Function(ListMethod(list, name)),
            _ => (false, null),
        };
    }

    private static (bool, object?) Function(Func<TemplateArguments, object?>? method) => (method is not null, method is null ? null : new TemplateFunction(method));

    private static Func<TemplateArguments, object?> WithoutArguments(Func<object?> method) => arguments =>
    {
        arguments.Bind(0);
        return method();
    };

    private static Func<TemplateArguments, object?>? DictionaryMethod(TemplateDictionary dictionary, string name) => name switch
    {
        "get" => arguments => arguments.Bind(1, "key", "default") is var values && dictionary.TryGet(values[0], out object? value) ? value : TemplateArguments.Or(values[1], null),
        "items" => WithoutArguments(() => Pairs(dictionary)),
        "keys" => WithoutArguments(() => dictionary.Keys.ToList<object?>()),
        "values" => WithoutArguments(() => dictionary.Select(pair => pair.Value).ToList()),
        "copy" => WithoutArguments(() => Copy(dictionary)),
        _ => null,
    };

    /// <summary>The entries as tuples.</summary>
    public static List<object?> Pairs(TemplateDictionary dictionary) => [.. dictionary.Select(pair => new TemplateTuple([pair.Key, pair.Value]))];

    private static TemplateDictionary Copy(TemplateDictionary dictionary)
    {
        var copy = new TemplateDictionary();
        foreach ((object key, object? value) in dictionary)
            copy[key] = value;
        return copy;
    }

    private static Func<TemplateArguments, object?>? ListMethod(List<object?> list, string name) => name switch
    {
        "count" => arguments => arguments.Bind(1, "value") is var values ? (long)list.Count(item => TemplateOperators.AreEqual(item, values[0])) : null,
        "index" => arguments => arguments.Bind(1, "value") is var values && list.FindIndex(item => TemplateOperators.AreEqual(item, values[0])) is >= 0 and var index ? (long)index
            : throw new TemplateValueException("index: the value is not in the list"),
        "copy" when list is not TemplateTuple => WithoutArguments(list.ToList),
        _ => null,
    };
}
