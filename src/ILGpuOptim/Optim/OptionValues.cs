using System.Collections;

namespace ILGpuOptim.Optim;

/// <summary>
/// Values of an optimizer's own options, as text by their names in files, such as <c>beta2</c> and <c>0.99</c>. Immutable; equal if all values are.
/// </summary>
public sealed class OptionValues : IReadOnlyCollection<KeyValuePair<string, string>>, IEquatable<OptionValues>
{
    private readonly SortedDictionary<string, string> values = new(StringComparer.Ordinal);

    private OptionValues()
    {
    }

    /// <summary>No values: every option has its default.</summary>
    public static OptionValues None { get; } = new();

    /// <inheritdoc/>
    public int Count => values.Count;

    /// <summary>The value of an option; null if it is not set.</summary>
    public string? this[string name] => values.GetValueOrDefault(name);

    /// <summary>These values with one more or another; null removes it.</summary>
    internal OptionValues With(string name, string? value)
    {
        var changed = new OptionValues();
        foreach ((string key, string text) in values)
            changed.values[key] = text;
        if (value is null)
            changed.values.Remove(name);
        else
            changed.values[name] = value;
        return changed;
    }

    /// <inheritdoc/>
    public bool Equals(OptionValues? other) => other is not null && values.SequenceEqual(other.values);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as OptionValues);

    /// <inheritdoc/>
    public override int GetHashCode() => values.Aggregate(0, (hash, item) => HashCode.Combine(hash, item.Key, item.Value));

    /// <summary>The assignments, such as <c>beta2=0.99, rank=4</c>.</summary>
    public override string ToString() => string.Join(", ", values.Select(item => $"{item.Key}={item.Value}"));

    /// <inheritdoc/>
    public IEnumerator<KeyValuePair<string, string>> GetEnumerator() => values.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
