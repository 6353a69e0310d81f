using System.Text.Json;

namespace ILGpuOptim.Lab;

/// <summary>The named settings of a recorded case. A setting that is not read is an error.</summary>
internal sealed class GoldenSettings(JsonElement json, string where)
{
    private readonly HashSet<string> known = new(StringComparer.Ordinal);

    /// <summary>True if the setting exists, even if it is null.</summary>
    public bool Has(string name)
    {
        known.Add(name);
        return json.TryGetProperty(name, out _);
    }

    /// <summary>A number, or the default if it is missing.</summary>
    public double Number(string name, double otherwise) => MaybeNumber(name) ?? otherwise;

    /// <summary>A number, or null if it is missing.</summary>
    public double? MaybeNumber(string name) => Find(name) is not { } value ? null
        : value.ValueKind == JsonValueKind.Number ? value.GetDouble()
        : throw Wrong(name, value, "a number");

    /// <summary>An integer.</summary>
    public int Whole(string name, int otherwise) => Find(name) is not { } value ? otherwise
        : value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int whole) ? whole
        : throw Wrong(name, value, "a whole number");

    /// <summary>A Boolean.</summary>
    public bool Flag(string name, bool otherwise = false) => Find(name) is not { } value ? otherwise
        : value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean()
        : throw Wrong(name, value, "true or false");

    /// <summary>An element of a list of numbers; null if the list or the element is null.</summary>
    public double? Item(string name, int index)
    {
        if (Find(name) is not { } value)
            return null;
        if (value.ValueKind != JsonValueKind.Array || index >= value.GetArrayLength() || value[index].ValueKind is not (JsonValueKind.Number or JsonValueKind.Null))
            throw Wrong(name, value, "a list of numbers");
        return value[index].ValueKind == JsonValueKind.Null ? null : value[index].GetDouble();
    }

    /// <summary>The value of one of several words.</summary>
    public T Choice<T>(string name, T otherwise, params (string Word, T Value)[] choices)
    {
        if (Find(name) is not { } value)
            return otherwise;
        foreach ((string word, T meaning) in choices)
        {
            if (value.ValueKind == JsonValueKind.String && value.ValueEquals(word))
                return meaning;
        }

        throw Wrong(name, value, string.Join(" or ", choices.Select(choice => choice.Word)));
    }

    /// <summary>Throws if a setting was not read.</summary>
    /// <exception cref="UserException">Names the settings that were not read.</exception>
    public void RequireNothingElse()
    {
        string[] unknown = [.. json.EnumerateObject().Select(item => item.Name).Where(name => !known.Contains(name))];
        if (unknown.Length > 0)
            throw new UserException($"not supported: {where} {string.Join(", ", unknown)}");
    }

    /// <summary>Throws if there are settings other than these.</summary>
    /// <exception cref="UserException">Names the other settings.</exception>
    public void RequireNothingBut(params string[] names)
    {
        known.UnionWith(names);
        RequireNothingElse();
    }

    private JsonElement? Find(string name) => Has(name) && json.GetProperty(name) is { ValueKind: not JsonValueKind.Null } value ? value : null;

    private UserException Wrong(string name, JsonElement value, string wanted) => new($"not supported: {where} {name} = {value.GetRawText()} instead of {wanted}");
}
