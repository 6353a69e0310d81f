using System.Text.Json.Serialization;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>OLMo 2 (OLMo Team, 2025): norms after the branches alone, and of the whole projections of queries and keys.</summary>
public record Olmo2Config : DecoderConfig
{
    /// <summary>The defaults of <c>transformers</c>.</summary>
    public Olmo2Config()
    {
        Architectures = ["Olmo2ForCausalLM"];
        NormEpsilon = 1e-5f;
        PadToken = 1;
    }

    /// <summary>The family.</summary>
    public static ModelFamily Registration { get; } = ModelFamily.Of<Olmo2Config>("olmo2", "OLMo 2");

    /// <summary>Enables biases of the attention projections.</summary>
    [JsonPropertyName("attention_bias")]
    public bool AttentionBias { get; init; }

    /// <inheritdoc/>
    protected override bool HasInputBias => AttentionBias;

    /// <inheritdoc/>
    protected override BlockDescription Block(int layer) => base.Block(layer) with
    {
        AttentionNorm = null,
        AttentionOutputNorm = Norm(NameOf(layer) + "post_attention_layernorm"),
        FeedForwardNorm = null,
        FeedForwardOutputNorm = Norm(NameOf(layer) + "post_feedforward_layernorm"),
    };

    /// <inheritdoc/>
    protected override AttentionDescription Attention(int layer) => base.Attention(layer) with
    {
        QueryNorm = Norm(NameOf(layer) + "self_attn.q_norm"),
        KeyNorm = Norm(NameOf(layer) + "self_attn.k_norm"),
        NormsHeads = false,
    };
}
