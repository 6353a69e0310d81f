namespace ILGpuOptim.Data.ChatTemplates;

/// <summary>The filters of sequences.</summary>
internal static class SequenceFilters
{
    /// <summary>The elements, or an attribute of each (names joined by dots; integers are places).</summary>
    public static IEnumerable<object?> Attributes(object? value, object? attribute) =>
        attribute is null ? TemplateOperators.Items(value) : TemplateOperators.Items(value).Select(item => AttributeOf(item, attribute));

    /// <summary><c>map('filter', …)</c> and <c>map(attribute = name)</c>.</summary>
    public static object? Map(object? value, TemplateArguments arguments)
    {
        if (arguments.Positional.Count == 0)
        {
            object?[] values = new TemplateArguments("map", [], arguments.Named).Bind(1, "attribute", "default");
            return new TemplateIterator(Attributes(value, values[0]).Select(item => item is TemplateUndefined && !ReferenceEquals(values[1], TemplateArguments.Missing) ? values[1] : item));
        }

        string name = TemplateOperators.String(arguments.Positional[0], "the filter of map");
        return new TemplateIterator(TemplateOperators.Items(value).Select(item => TemplateFilters.Apply(name, item, arguments.Skip(1, name))));
    }

    /// <summary><c>select</c>, <c>reject</c>, <c>selectattr</c>, <c>rejectattr</c>.</summary>
    public static object? Select(object? value, TemplateArguments arguments, bool byAttribute, bool keeps)
    {
        if (byAttribute && arguments.Positional.Count == 0)
            throw new TemplateValueException($"{arguments.Name} needs the name of an attribute");
        object? attribute = byAttribute ? arguments.Positional[0] : null;
        TemplateArguments rest = arguments.Skip(byAttribute ? 1 : 0, arguments.Name);
        string? test = rest.Positional.Count == 0 ? null : TemplateOperators.String(rest.Positional[0], "the test");
        bool Holds(object? item)
        {
            object? tested = byAttribute ? AttributeOf(item, attribute) : item;
            return test is null ? TemplateOperators.IsTrue(tested) : TemplateTests.Holds(test, tested, rest.Skip(1, test));
        }

        return new TemplateIterator(TemplateOperators.Items(value).Where(item => Holds(item) == keeps));
    }

    /// <summary><c>sort</c>.</summary>
    public static object? Sort(object? value, TemplateArguments arguments)
    {
        object?[] values = arguments.Bind(0, "reverse", "case_sensitive", "attribute");
        object? attribute = TemplateArguments.Or(values[2], null);
        return Sorted(TemplateOperators.Items(value), item => attribute is null ? item : AttributeOf(item, attribute),
            TemplateOperators.IsTrue(TemplateArguments.Or(values[1], false)), TemplateOperators.IsTrue(TemplateArguments.Or(values[0], false)));
    }

    /// <summary>A stable sort.</summary>
    public static List<object?> Sorted(IEnumerable<object?> items, Func<object?, object?> key, bool caseSensitive, bool descending)
    {
        var comparer = Comparer<object?>.Create((left, right) => TemplateOperators.Compare(left, right) ?? 0);
        object? Key(object? item) => Folded(key(item), caseSensitive);
        return descending ? [.. items.OrderByDescending(Key, comparer)] : [.. items.OrderBy(Key, comparer)];
    }

    /// <summary><c>unique</c>.</summary>
    public static object? Unique(object? value, TemplateArguments arguments)
    {
        object?[] values = arguments.Bind(0, "case_sensitive", "attribute");
        object? attribute = TemplateArguments.Or(values[1], null);
        bool caseSensitive = TemplateOperators.IsTrue(TemplateArguments.Or(values[0], false));
        var seen = new List<object?>();
        return new TemplateIterator(TemplateOperators.Items(value).Where(item =>
        {
            object? key = Folded(attribute is null ? item : AttributeOf(item, attribute), caseSensitive);
            if (seen.Exists(other => TemplateOperators.AreEqual(other, key)))
                return false;
            seen.Add(key);
            return true;
        }));
    }

    /// <summary><c>max</c> (<paramref name="sign"/> 1) and <c>min</c> (−1).</summary>
    public static object? Extreme(object? value, TemplateArguments arguments, int sign)
    {
        object?[] values = arguments.Bind(0, "case_sensitive", "attribute");
        object? attribute = TemplateArguments.Or(values[1], null);
        bool caseSensitive = TemplateOperators.IsTrue(TemplateArguments.Or(values[0], false));
        object? Key(object? item) => Folded(attribute is null ? item : AttributeOf(item, attribute), caseSensitive);
        List<object?> items = [.. TemplateOperators.Items(value)];
        return items.Count == 0 ? new TemplateUndefined("the extreme of an empty sequence")
            : items.Aggregate((best, item) => TemplateOperators.Compare(Key(item), Key(best)) * sign > 0 ? item : best);
    }

    private static object? Folded(object? value, bool caseSensitive) => value is string text && !caseSensitive ? text.ToLowerInvariant() : value;

    private static object? AttributeOf(object? item, object? attribute)
    {
        if (attribute is not string path)
            return TemplateMembers.Item(item, attribute);
        foreach (string name in path.Split('.'))
            item = TemplateMembers.Item(item, long.TryParse(name, out long index) ? index : name);
        return item;
    }
}
