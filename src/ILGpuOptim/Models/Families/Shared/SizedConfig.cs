using System.Text.Json.Serialization;

namespace ILGpuOptim.Models;

/// <summary>The sizes of a stack of equal blocks under the names that most families have for them, with their checks and how they change.</summary>
public abstract record SizedConfig : ModelConfig
{
    /// <summary>The hidden size: the elements of each token's vector.</summary>
    [JsonPropertyName("hidden_size")]
    public override required int HiddenSize { get; init; }

    /// <summary>The intermediate size of the feed-forward layers.</summary>
    [JsonPropertyName("intermediate_size")]
    public required int IntermediateSize { get; init; }

    /// <summary>Layers.</summary>
    [JsonPropertyName("num_hidden_layers")]
    public override required int Layers { get; init; }

    /// <summary>Query heads.</summary>
    [JsonPropertyName("num_attention_heads")]
    public override required int Heads { get; init; }

    /// <summary>The longest sequence, in tokens.</summary>
    [JsonPropertyName("max_position_embeddings")]
    public override int ContextLength { get; init; } = 2048;

    /// <summary>The standard deviation of initial weights.</summary>
    [JsonPropertyName("initializer_range")]
    public float InitializerRange { get; init; } = 0.02f;

    /// <summary>As <see cref="ModelConfig.Resized"/>, for the sizes alone: a family adds its dropouts and other fields that depend on a size.</summary>
    /// <inheritdoc cref="ModelConfig.Resized"/>
    public override ModelConfig Resized(int? vocabulary = null, int? positions = null, int? layers = null, int? heads = null, int? hiddenSize = null, double? dropout = null) => (SizedConfig)base.Resized(vocabulary, positions, layers, heads, hiddenSize, dropout) with
    {
        IntermediateSize = (int)((long)IntermediateSize * (hiddenSize ?? HiddenSize) / HiddenSize),
    };

    /// <inheritdoc/>
    public override void Check(string source)
    {
        base.Check(source);
        ConfigChecks.Size(source, "hidden_size", HiddenSize, ConfigChecks.MaxWidth);
        ConfigChecks.Size(source, "intermediate_size", IntermediateSize, ConfigChecks.MaxWidth);
        ConfigChecks.Size(source, "num_hidden_layers", Layers, ConfigChecks.MaxLayers);
        ConfigChecks.Size(source, "num_attention_heads", Heads, ConfigChecks.MaxWidth);
        ConfigChecks.Size(source, "max_position_embeddings", ContextLength, ConfigChecks.MaxRows);
        ConfigChecks.StandardDeviation(source, "initializer_range", InitializerRange);
    }
}
