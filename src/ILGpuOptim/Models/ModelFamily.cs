using System.Diagnostics.CodeAnalysis;
using ILGpuOptim.Files;

namespace ILGpuOptim.Models;

/// <summary>A family of models: the class that reads its <c>config.json</c>. A registered family is known to every command and file.</summary>
/// <param name="ModelType">The <c>model_type</c> of its <c>config.json</c>.</param>
/// <param name="Name">The display name.</param>
/// <param name="ConfigType">The class of its configuration: a <see cref="ModelConfig"/> whose properties with a <c>JsonPropertyName</c> are its fields.</param>
public sealed record ModelFamily(string ModelType, string Name, Type ConfigType)
{
    /// <summary>The family of a configuration's class.</summary>
    /// <typeparam name="TConfig">A class with a constructor without parameters, whose values are the defaults.</typeparam>
    /// <param name="modelType">The <c>model_type</c> of its <c>config.json</c>.</param>
    /// <param name="name">The display name.</param>
    public static ModelFamily Of<TConfig>(string modelType, string name) where TConfig : ModelConfig => new(modelType, name, typeof(TConfig));

    /// <summary>Reads a configuration; the caller calls <see cref="JsonFields.Finish"/>.</summary>
    internal ModelConfig Read(JsonFields fields) => (ModelConfig)ConfigSchema.Of(ConfigType).Read(fields);
}

/// <summary>The known families. Programs can register others.</summary>
public static class ModelFamilies
{
    private static readonly Lock Gate = new();

    private static Dictionary<string, ModelFamily> known = new ModelFamily[]
    {
        BertConfig.Registration, Gemma2Config.Registration, Gemma3Config.Registration, Gpt2Config.Registration, GptNeoXConfig.Registration, LlamaConfig.Registration,
        MistralConfig.Registration, MixtralConfig.Registration, ModernBertConfig.Registration, Olmo2Config.Registration, Phi3Config.Registration, Qwen2Config.Registration,
        Qwen3Config.Registration, Qwen3MoeConfig.Registration, RobertaConfig.Registration, SmolLm3Config.Registration, T5Config.Registration,
    }.ToDictionary(family => family.ModelType, StringComparer.Ordinal);

    /// <summary>Every family.</summary>
    public static IReadOnlyCollection<ModelFamily> All => known.Values;

    /// <summary>Adds a family.</summary>
    /// <exception cref="ArgumentException">There is one of this <c>model_type</c> or class, or the class is no configuration that can be made.</exception>
    public static void Register(ModelFamily family)
    {
        Type type = family.ConfigType;
        if (!type.IsAssignableTo(typeof(ModelConfig)) || type.IsAbstract || type.GetConstructor(Type.EmptyTypes) is null)
            throw new ArgumentException($"{type.Name} is no {nameof(ModelConfig)} with a public constructor without parameters", nameof(family));
        lock (Gate)
        {
            if (known.Values.FirstOrDefault(other => other.ModelType == family.ModelType || other.ConfigType == type) is { } other)
                throw new ArgumentException($"there is a family of model_type \"{other.ModelType}\" with the class {other.ConfigType.Name} already", nameof(family));
            known = new(known, StringComparer.Ordinal) { [family.ModelType] = family };
        }
    }

    /// <summary>Finds a family.</summary>
    public static bool TryFind(string modelType, [NotNullWhen(true)] out ModelFamily? family) => known.TryGetValue(modelType, out family);

    /// <summary>The family of a configuration.</summary>
    /// <exception cref="InvalidOperationException">Its class is not registered.</exception>
    public static ModelFamily Of(ModelConfig config) => known.Values.FirstOrDefault(family => family.ConfigType == config.GetType())
        ?? throw new InvalidOperationException($"{config.GetType().Name} is the class of no family; call {nameof(ModelFamilies)}.{nameof(Register)} first");
}
