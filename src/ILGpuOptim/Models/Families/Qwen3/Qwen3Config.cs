using System.Text.Json.Serialization;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>Qwen 3 (Yang et al., 2025): queries and keys of each head are normalised before rotation.</summary>
public record Qwen3Config : Qwen2Config
{
    /// <summary>The defaults of <c>transformers</c>.</summary>
    public Qwen3Config()
    {
        Architectures = ["Qwen3ForCausalLM"];
        HeadSize = 128;
    }

    /// <summary>The family.</summary>
    public static new ModelFamily Registration { get; } = ModelFamily.Of<Qwen3Config>("qwen3", "Qwen 3");

    /// <summary>Enables biases of the attention projections.</summary>
    [JsonPropertyName("attention_bias")]
    public bool AttentionBias { get; init; }

    /// <inheritdoc/>
    protected override bool HasInputBias => AttentionBias;

    /// <inheritdoc/>
    protected override bool HasOutputBias => AttentionBias;

    /// <inheritdoc/>
    protected override AttentionDescription Attention(int layer) => base.Attention(layer) with
    {
        QueryNorm = Norm(NameOf(layer) + "self_attn.q_norm"),
        KeyNorm = Norm(NameOf(layer) + "self_attn.k_norm"),
    };
}
