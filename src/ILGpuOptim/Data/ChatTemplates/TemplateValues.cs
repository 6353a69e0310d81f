using System.Collections;

namespace ILGpuOptim.Data.ChatTemplates;

/// <summary>A name, key or attribute without a value. It prints as nothing, is false and has no elements; other uses are errors.</summary>
/// <param name="name">What has no value, for messages.</param>
internal sealed class TemplateUndefined(string name)
{
    /// <summary>The error of a use that needs a value.</summary>
    public TemplateValueException Error() => new($"{name} is undefined");
}

/// <summary>A tuple.</summary>
internal sealed class TemplateTuple(IEnumerable<object?> items) : List<object?>(items);

/// <summary>A dictionary that keeps the order of insertion. Keys are values of templates.</summary>
internal sealed class TemplateDictionary : IEnumerable<KeyValuePair<object, object?>>
{
    private readonly List<object> keys = [];
    private readonly Dictionary<object, object?> values = new(KeyComparer.Instance);

    /// <summary>The number of entries.</summary>
    public int Count => keys.Count;

    /// <summary>The keys, in order.</summary>
    public IReadOnlyList<object> Keys => keys;

    /// <summary>Sets the value of a key.</summary>
    public object? this[object key]
    {
        set
        {
            if (!values.ContainsKey(key))
                keys.Add(key);
            values[key] = value;
        }
    }

    /// <summary>The value of a key.</summary>
    public bool TryGet(object? key, out object? value)
    {
        value = null;
        return key is not null && values.TryGetValue(key, out value);
    }

    /// <inheritdoc/>
    public IEnumerator<KeyValuePair<object, object?>> GetEnumerator() => keys.Select(key => KeyValuePair.Create(key, values[key])).GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <summary>Equality of keys: as Python's, in which 1, 1.0 and True are equal.</summary>
    private sealed class KeyComparer : IEqualityComparer<object>
    {
        public static KeyComparer Instance { get; } = new();

        public new bool Equals(object? left, object? right) => TemplateOperators.AreEqual(left, right);

        public int GetHashCode(object key) => key switch
        {
            bool flag => (flag ? 1.0 : 0.0).GetHashCode(),
            long integer => ((double)integer).GetHashCode(),
            double number => number.GetHashCode(),
            string text => text.GetHashCode(StringComparison.Ordinal),
            TemplateTuple tuple => tuple.Count,
            _ => throw new TemplateValueException($"{TemplateOperators.TypeOf(key)} cannot be a key"),
        };
    }
}

/// <summary>The result of <c>map</c>, <c>select</c> and the like: its elements can be read once, and it is true even without elements.</summary>
internal sealed class TemplateIterator(IEnumerable<object?> items)
{
    private readonly IEnumerator<object?> items = items.GetEnumerator();

    /// <summary>The elements that were not read yet.</summary>
    public IEnumerable<object?> Rest()
    {
        while (items.MoveNext())
            yield return items.Current;
    }
}

/// <summary>An object with attributes that <c>{% set ns.name = … %}</c> may assign, also from inner scopes.</summary>
internal sealed class TemplateNamespace
{
    /// <summary>The attributes.</summary>
    public Dictionary<string, object?> Attributes { get; } = [];
}

/// <summary>The arguments of a call.</summary>
/// <param name="name">The name of what is called, for messages.</param>
/// <param name="positional">Arguments without a name.</param>
/// <param name="named">Arguments with a name.</param>
internal sealed class TemplateArguments(string name, IReadOnlyList<object?> positional, IReadOnlyDictionary<string, object?> named)
{
    /// <summary>The name of what is called.</summary>
    public string Name => name;

    /// <summary>Arguments without a name.</summary>
    public IReadOnlyList<object?> Positional => positional;

    /// <summary>Arguments with a name.</summary>
    public IReadOnlyDictionary<string, object?> Named => named;

    /// <summary>Binds the arguments to parameters.</summary>
    /// <param name="required">The number of parameters that need an argument.</param>
    /// <param name="parameters">The names of the parameters.</param>
    /// <returns>A value for each parameter; <see cref="Missing"/> for those without an argument.</returns>
    /// <exception cref="TemplateValueException">There are too many or too few arguments, or an unknown name.</exception>
    public object?[] Bind(int required, params string[] parameters)
    {
        if (positional.Count > parameters.Length)
            throw new TemplateValueException($"{name} takes at most {parameters.Length} arguments, not {positional.Count}");
        object?[] values = [.. parameters.Select((_, i) => i < positional.Count ? positional[i] : Missing)];
        foreach ((string key, object? value) in named)
        {
            int i = Array.IndexOf(parameters, key);
            if (i < 0)
                throw new TemplateValueException($"{name} has no argument \"{key}\"");
            if (i < positional.Count)
                throw new TemplateValueException($"{name} has two values for its argument \"{key}\"");
            values[i] = value;
        }

        for (int i = 0; i < required; i++)
        {
            if (ReferenceEquals(values[i], Missing))
                throw new TemplateValueException($"{name} needs an argument \"{parameters[i]}\"");
        }

        return values;
    }

    /// <summary>The arguments after the first ones.</summary>
    public TemplateArguments Skip(int count, string callee) => new(callee, [.. positional.Skip(count)], named);

    /// <summary>Stands for an argument that was not given.</summary>
    public static object Missing { get; } = new();

    /// <summary>A value, or a default if it was not given.</summary>
    public static object? Or(object? value, object? other) => ReferenceEquals(value, Missing) ? other : value;
}

/// <summary>A function or macro of a template.</summary>
/// <param name="call">Computes the result.</param>
internal sealed class TemplateFunction(Func<TemplateArguments, object?> call)
{
    /// <summary>Calls it.</summary>
    public object? Call(TemplateArguments arguments) => call(arguments);
}
