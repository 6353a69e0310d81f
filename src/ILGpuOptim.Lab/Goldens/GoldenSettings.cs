using System.Text.Json;
using ILGpuOptim.Optim;

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

    /// <summary>A list of numbers, or null if it is missing.</summary>
    public double[]? Numbers(string name) => Find(name) is not { } value ? null
        : value.ValueKind == JsonValueKind.Array && value.GetArrayLength() > 0 && value.EnumerateArray().All(item => item.ValueKind == JsonValueKind.Number) ? [.. value.EnumerateArray().Select(item => item.GetDouble())]
        : throw Wrong(name, value, "a list of numbers");

    /// <summary>An integer.</summary>
    public int Whole(string name, int otherwise) => Find(name) is not { } value ? otherwise
        : value.ValueKind == JsonValueKind.Number && value.TryGetInt32(out int whole) ? whole
        : throw Wrong(name, value, "a whole number");

    /// <summary>Text, or null if it is missing.</summary>
    public string? Text(string name) => Find(name) is not { } value ? null
        : value.ValueKind == JsonValueKind.String ? value.GetString()
        : throw Wrong(name, value, "text");

    /// <summary>A list of numbers, or null if it is missing.</summary>
    public double[]? Numbers(string name, int count) => Find(name) is not { } value ? null
        : value.ValueKind == JsonValueKind.Array && value.GetArrayLength() == count && value.EnumerateArray().All(item => item.ValueKind == JsonValueKind.Number) ? [.. value.EnumerateArray().Select(item => item.GetDouble())]
        : throw Wrong(name, value, $"a list of {count} numbers");

    /// <summary>The settings within a setting; none if it is missing.</summary>
    public GoldenSettings Of(string name) => Find(name) is not { } value ? new(JsonDocument.Parse("{}").RootElement, where)
        : value.ValueKind == JsonValueKind.Object ? new(value, $"{where} {name}:")
        : throw Wrong(name, value, "an object");

    /// <summary>A Boolean.</summary>
    public bool Flag(string name, bool otherwise = false) => Find(name) is not { } value ? otherwise
        : value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean()
        : throw Wrong(name, value, "true or false");

    /// <summary>
    /// The value of an option under the first of some names that is not missing or null; null if all are. <c>beta2</c> and <c>epsilon1</c> may stand in the lists
    /// <c>betas</c> and <c>eps</c>, and <c>epsilon</c> may be <c>eps</c>.
    /// </summary>
    public string? ValueOf(OptimizerOption option, IEnumerable<string> names)
    {
        string? text = null;
        foreach (string name in names)
        {
            if (Find(name) is { } value)
                text ??= Scalar(option, name, value);
        }

        string? list = option.Name.StartsWith("beta", StringComparison.Ordinal) ? "betas" : option.Name.StartsWith("epsilon", StringComparison.Ordinal) ? "eps" : null;
        if (list is null || Find(list) is not { } items)
            return text;
        if (!char.IsAsciiDigit(option.Name[^1]))
            return text ?? (option.Name == "epsilon" ? Scalar(option, list, items) : null);
        int index = option.Name[^1] - '1';
        if (option.Default is null && items.ValueKind == JsonValueKind.Array && index >= items.GetArrayLength())
            return text;
        if (items.ValueKind != JsonValueKind.Array || index >= items.GetArrayLength())
            throw Wrong(list, items, "a list of numbers");
        return text ?? (items[index].ValueKind == JsonValueKind.Null ? null : Scalar(option, list, items[index]));
    }

    private string Scalar(OptimizerOption option, string name, JsonElement value)
    {
        string text = value.ValueKind == JsonValueKind.String ? value.GetString()! : value.GetRawText();
        return option.IsWord == (value.ValueKind == JsonValueKind.String) && option.Accepts(text) ? text : throw Wrong(name, value, option.ValidValues);
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

    /// <summary>A setting; null if it is missing or null, or <c>"inf"</c>: no limit.</summary>
    private JsonElement? Find(string name) => Has(name) && json.GetProperty(name) is { ValueKind: not JsonValueKind.Null } value && !(value.ValueKind == JsonValueKind.String && value.ValueEquals("inf")) ? value : null;

    private UserException Wrong(string name, JsonElement value, string wanted) => new($"not supported: {where} {name} = {value.GetRawText()} instead of {wanted}");
}
