using System.Diagnostics.CodeAnalysis;
using ILGpuOptim.Files;

namespace ILGpuOptim.Models;

/// <summary>A family of models: how its files are read. Registered once, it is known to every command.</summary>
/// <param name="ModelType">The <c>model_type</c> of its <c>config.json</c>.</param>
/// <param name="ConfigType">The class of its configuration, a <see cref="ModelConfig"/>.</param>
/// <param name="Read">Reads a configuration; <see cref="JsonFields.Finish"/> is left to the caller.</param>
public sealed record ModelFamily(string ModelType, Type ConfigType, Func<JsonFields, ModelConfig> Read);

/// <summary>The families that are known. Others can be added at run time.</summary>
public static class ModelFamilies
{
    private static readonly Dictionary<string, ModelFamily> Known = new(StringComparer.Ordinal);

    /// <summary>Every family, by <c>model_type</c>.</summary>
    public static IReadOnlyCollection<ModelFamily> All => Known.Values;

    /// <summary>Adds a family.</summary>
    /// <exception cref="ArgumentException">There is one of this <c>model_type</c>.</exception>
    public static void Register(ModelFamily family)
    {
        if (!Known.TryAdd(family.ModelType, family))
            throw new ArgumentException($"there is a family of model_type \"{family.ModelType}\" already", nameof(family));
    }

    /// <summary>Finds a family.</summary>
    public static bool TryFind(string modelType, [NotNullWhen(true)] out ModelFamily? family) => Known.TryGetValue(modelType, out family);
}
