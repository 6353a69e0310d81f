using System.Text.Json;
using System.Text.Json.Serialization;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>LLaMA (Touvron et al., 2023) and what follows its layout: Llama 2 and 3, SmolLM, TinyLlama, …</summary>
public record LlamaConfig : DecoderConfig
{
    /// <summary>The defaults of <c>transformers</c>.</summary>
    public LlamaConfig() => Architectures = ["LlamaForCausalLM"];

    /// <summary>The family.</summary>
    public static ModelFamily Registration { get; } = ModelFamily.Of<LlamaConfig>("llama", "LLaMA");

    /// <summary>Enables biases of the attention projections.</summary>
    [JsonPropertyName("attention_bias")]
    public bool AttentionBias { get; init; }

    /// <summary>Enables biases of the feed-forward projections.</summary>
    [JsonPropertyName("mlp_bias")]
    public bool MlpBias { get; init; }

    /// <summary>Base of the rotary frequencies; <see cref="DecoderConfig.RopeParameters"/> win over the older fields, as in Hugging Face's library.</summary>
    public double Theta => Rotary(slides: false).Theta;

    /// <summary>The scaling of the rotary frequencies; or null.</summary>
    public RotaryScaling? Scaling => Rotary(slides: false).Effective;

    /// <inheritdoc/>
    protected override bool HasInputBias => AttentionBias;

    /// <inheritdoc/>
    protected override bool HasMlpBias => MlpBias;

    /// <inheritdoc/>
    protected override void ReadOthers(JsonFields fields)
    {
        base.ReadOthers(fields);
        bool slides = fields.Flag("use_sliding_window") ?? true;
        fields.Only("sliding_window", value => !slides || (value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out long window) && window >= ContextLength),
            $"attention within a window shorter than max_position_embeddings = {ContextLength} is not supported; the family mistral has it");
    }
}
