using System.Text.Json.Serialization;
using ILGpuOptim.Files;

namespace ILGpuOptim.Models;

/// <summary>Qwen 2 and 2.5 (Yang et al., 2024): biases of queries, keys and values; upper layers may have a sliding window.</summary>
public record Qwen2Config : DecoderConfig
{
    /// <summary>The defaults of <c>transformers</c>.</summary>
    public Qwen2Config()
    {
        Architectures = ["Qwen2ForCausalLM"];
        KeyHeads = 32;
        ContextLength = 32768;
    }

    /// <summary>The family.</summary>
    public static ModelFamily Registration { get; } = ModelFamily.Of<Qwen2Config>("qwen2", "Qwen 2");

    /// <summary>Enables the window. Files have a <see cref="SlidingWindow"/> even where it is off.</summary>
    [JsonPropertyName("use_sliding_window")]
    public bool UseSlidingWindow { get; init; }

    /// <summary>The window of sliding layers in tokens, the query's own included.</summary>
    [JsonPropertyName("sliding_window")]
    public int? SlidingWindow { get; init; } = 4096;

    /// <summary>The first layer with a sliding window.</summary>
    [JsonPropertyName("max_window_layers")]
    public int MaxWindowLayers { get; init; } = 28;

    /// <inheritdoc/>
    protected override bool HasInputBias => true;

    /// <inheritdoc/>
    protected override bool HasOutputBias => false;

    /// <inheritdoc/>
    protected override int? Window => UseSlidingWindow ? SlidingWindow : null;

    /// <inheritdoc/>
    protected override bool HasLayerKinds => true;

    /// <inheritdoc/>
    protected override bool SlidesByRule(int layer) => layer >= MaxWindowLayers;

    /// <inheritdoc/>
    protected override void ReadOthers(JsonFields fields)
    {
        base.ReadOthers(fields);
        fields.Only("use_mrope", ConfigFields.IsFalse, "rotary positions in several dimensions are not supported");
    }
}
