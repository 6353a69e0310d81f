using System.IO.Enumeration;
using ILGpuOptim.Files;

namespace ILGpuOptim.Models;

/// <summary>
/// Finds a model's tensors in a file under any of their names: files hold the same weights with and without the base model's prefix, such as
/// <c>bert.</c>; old files name a norm's weight gamma, and a family may have more names.
/// </summary>
internal sealed class TensorNames
{
    private readonly Safetensors file;
    private readonly ModelConfig config;
    private readonly Dictionary<string, string> byBareName = new(StringComparer.Ordinal);

    public TensorNames(Safetensors file, ModelConfig config)
    {
        this.file = file;
        this.config = config;
        foreach (string name in file.Tensors.Keys)
            byBareName.TryAdd(Bare(name, config), name);
    }

    /// <summary>The file's name of a parameter; null when there is none.</summary>
    public string? Find(string parameter) =>
        file.Tensors.ContainsKey(parameter) ? parameter : byBareName.GetValueOrDefault(Bare(parameter, config));

    /// <summary>Checks that every tensor of the file is a parameter or ignored.</summary>
    /// <exception cref="SafetensorsException">With the first of them.</exception>
    public void CheckOthers(IEnumerable<string> used, IReadOnlyList<string> ignored)
    {
        var known = used.ToHashSet(StringComparer.Ordinal);
        known.UnionWith(Matching(ignored));
        string[] unknown = [.. file.Tensors.Keys.Where(name => !known.Contains(name)).Order(StringComparer.Ordinal)];
        if (unknown.Length > 0)
            throw new SafetensorsException($"{file.Path}: the model of config.json has no {List(unknown)}; the file belongs to another model");
    }

    /// <summary>The file's names that match any of some patterns.</summary>
    public IReadOnlyList<string> Matching(IReadOnlyList<string> patterns) =>
        [.. file.Tensors.Keys.Where(name => patterns.Any(pattern => FileSystemName.MatchesSimpleExpression(pattern, name, ignoreCase: false)))];

    /// <summary>The first three names, and the number of the others.</summary>
    public static string List(IReadOnlyList<string> names) =>
        string.Join(", ", names.Take(3)) + (names.Count > 3 ? $" and {names.Count - 3} more" : "");

    /// <summary>A name without the base model's prefix, in its present spelling.</summary>
    internal static string Bare(string name, ModelConfig config)
    {
        if (config.BasePrefix.Length > 0 && name.StartsWith(config.BasePrefix, StringComparison.Ordinal))
            name = name[config.BasePrefix.Length..];
        foreach ((string other, string known) in config.OtherTensorNames)
            name = name.Replace(other, known, StringComparison.Ordinal);

        return name.EndsWith(".gamma", StringComparison.Ordinal) ? name[..^"gamma".Length] + "weight"
            : name.EndsWith(".beta", StringComparison.Ordinal) ? name[..^"beta".Length] + "bias"
            : name;
    }
}
