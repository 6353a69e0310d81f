namespace ILGpuOptim.Data.ChatTemplates;

/// <summary>Jinja's tests, <c>value is name</c>.</summary>
internal static class TemplateTests
{
    private static readonly Dictionary<string, Func<object?, bool>> Tests = new()
    {
        ["defined"] = value => value is not TemplateUndefined,
        ["undefined"] = value => value is TemplateUndefined,
        ["none"] = value => value is null,
        ["string"] = value => value is string,
        ["mapping"] = value => value is TemplateDictionary,
        ["sequence"] = value => value is string or List<object?> or TemplateDictionary or TemplateUndefined,
        ["iterable"] = value => value is string or List<object?> or TemplateDictionary or TemplateIterator or TemplateUndefined,
        ["callable"] = value => value is TemplateFunction,
        ["number"] = value => value is long or double or bool,
        ["integer"] = value => value is long,
        ["float"] = value => value is double,
        ["boolean"] = value => value is bool,
        ["true"] = value => value is true,
        ["false"] = value => value is false,
        ["odd"] = value => Remainder(value, 2) == 1,
        ["even"] = value => Remainder(value, 2) == 0,
        ["lower"] = value => StringMethods.Find(TemplateOperators.Text(value), "islower")!(new TemplateArguments("islower", [], new Dictionary<string, object?>())) is true,
        ["upper"] = value => StringMethods.Find(TemplateOperators.Text(value), "isupper")!(new TemplateArguments("isupper", [], new Dictionary<string, object?>())) is true,
        ["filter"] = value => value is string name && TemplateFilters.Has(name),
        ["test"] = value => value is string name && Has(name),
    };

    /// <summary>Tests with an argument.</summary>
    private static readonly Dictionary<string, Func<object?, object?, bool>> Comparisons = new()
    {
        ["equalto"] = TemplateOperators.AreEqual,
        ["eq"] = TemplateOperators.AreEqual,
        ["=="] = TemplateOperators.AreEqual,
        ["ne"] = (value, other) => !TemplateOperators.AreEqual(value, other),
        ["!="] = (value, other) => !TemplateOperators.AreEqual(value, other),
        ["lt"] = (value, other) => TemplateOperators.Compare(value, other) < 0,
        ["lessthan"] = (value, other) => TemplateOperators.Compare(value, other) < 0,
        ["<"] = (value, other) => TemplateOperators.Compare(value, other) < 0,
        ["le"] = (value, other) => TemplateOperators.Compare(value, other) <= 0,
        ["<="] = (value, other) => TemplateOperators.Compare(value, other) <= 0,
        ["gt"] = (value, other) => TemplateOperators.Compare(value, other) > 0,
        ["greaterthan"] = (value, other) => TemplateOperators.Compare(value, other) > 0,
        [">"] = (value, other) => TemplateOperators.Compare(value, other) > 0,
        ["ge"] = (value, other) => TemplateOperators.Compare(value, other) >= 0,
        [">="] = (value, other) => TemplateOperators.Compare(value, other) >= 0,
        ["in"] = (value, other) => TemplateOperators.Contains(other, value),
        ["divisibleby"] = (value, other) => Remainder(value, TemplateOperators.Integer(other, "divisibleby")) == 0,
        ["sameas"] = (value, other) => value is bool or long or double or string ? value.Equals(other) : ReferenceEquals(value, other),
    };

    /// <summary>True if there is a test of this name.</summary>
    public static bool Has(string name) => Tests.ContainsKey(name) || Comparisons.ContainsKey(name);

    /// <summary>Runs a test.</summary>
    public static bool Holds(string name, object? value, TemplateArguments arguments)
    {
        if (Tests.TryGetValue(name, out Func<object?, bool>? test))
        {
            arguments.Bind(0);
            return test(value);
        }

        return Comparisons.TryGetValue(name, out Func<object?, object?, bool>? comparison) ? comparison(value, arguments.Bind(1, "other")[0])
            : throw new TemplateValueException($"the test '{name}' is not supported");
    }

    private static long Remainder(object? value, long by) => TemplateOperators.Apply("%", TemplateOperators.Integer(value, "the tested value"), by) is long rest ? rest : 0;
}
