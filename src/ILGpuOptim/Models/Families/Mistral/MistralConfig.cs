using System.Text.Json.Serialization;

namespace ILGpuOptim.Models;

/// <summary>Mistral 7B (Jiang et al., 2023): attention within a window in every layer.</summary>
public record MistralConfig : DecoderConfig
{
    /// <summary>The defaults of <c>transformers</c>.</summary>
    public MistralConfig()
    {
        Architectures = ["MistralForCausalLM"];
        KeyHeads = 8;
        ContextLength = 131072;
    }

    /// <summary>The family.</summary>
    public static ModelFamily Registration { get; } = ModelFamily.Of<MistralConfig>("mistral", "Mistral");

    /// <summary>The attention window in tokens, the query's own included; null: no window.</summary>
    [JsonPropertyName("sliding_window")]
    public int? SlidingWindow { get; init; } = 4096;

    /// <inheritdoc/>
    protected override int? Window => SlidingWindow;
}
