using System.Text.Json.Serialization;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>
/// Gemma 2 (Gemma Team, 2024): norms before and after each branch with factors 1 + weight, scaled embeddings, soft-capped scores and logits, a
/// window in every other layer.
/// </summary>
public record Gemma2Config : DecoderConfig
{
    /// <summary>The defaults of <c>transformers</c>.</summary>
    public Gemma2Config()
    {
        Architectures = ["Gemma2ForCausalLM"];
        KeyHeads = 4;
        HeadSize = 256;
        ContextLength = 8192;
        TieWordEmbeddings = true;
        PadToken = 0;
    }

    /// <summary>The family.</summary>
    public static ModelFamily Registration { get; } = ModelFamily.Of<Gemma2Config>("gemma2", "Gemma 2");

    /// <inheritdoc/>
    [JsonPropertyName("hidden_activation")]
    public override string Activation { get; init; } = "gelu_pytorch_tanh";

    /// <summary>Enables biases of the attention projections.</summary>
    [JsonPropertyName("attention_bias")]
    public bool AttentionBias { get; init; }

    /// <summary>Scores are divided by the square root of this, not of the head's size.</summary>
    [JsonPropertyName("query_pre_attn_scalar")]
    public float QueryScalar { get; init; } = 256;

    /// <summary>The soft-cap of attention scores; null: none.</summary>
    [JsonPropertyName("attn_logit_softcapping")]
    public virtual float? AttentionCap { get; init; } = 50;

    /// <summary>The soft-cap of logits; null: none.</summary>
    [JsonPropertyName("final_logit_softcapping")]
    public virtual float? FinalCap { get; init; } = 30;

    /// <summary>The window of sliding layers in tokens, the query's own included; null: no window.</summary>
    [JsonPropertyName("sliding_window")]
    public int? SlidingWindow { get; init; } = 4096;

    /// <inheritdoc/>
    protected override string ActivationField => "hidden_activation";

    /// <inheritdoc/>
    protected override bool HasInputBias => AttentionBias;

    /// <inheritdoc/>
    protected override int? Window => SlidingWindow;

    /// <inheritdoc/>
    protected override bool HasLayerKinds => true;

    /// <inheritdoc/>
    protected override bool SlidesByRule(int layer) => layer % 2 == 0;

    /// <inheritdoc/>
    protected override float ScoreScale => 1 / MathF.Sqrt(QueryScalar);

    /// <inheritdoc/>
    protected override NormDescription Norm(string name) => base.Norm(name) with { AddsOne = true };

    /// <inheritdoc/>
    protected override EmbeddingDescription Embedding() => base.Embedding() with { Scale = MathF.Sqrt(HiddenSize) };

    /// <inheritdoc/>
    protected override AttentionDescription Attention(int layer) => base.Attention(layer) with { SoftCap = AttentionCap };

    /// <inheritdoc/>
    protected override BlockDescription Block(int layer) => base.Block(layer) with
    {
        AttentionOutputNorm = Norm(NameOf(layer) + "post_attention_layernorm"),
        FeedForwardNorm = Norm(NameOf(layer) + "pre_feedforward_layernorm"),
        FeedForwardOutputNorm = Norm(NameOf(layer) + "post_feedforward_layernorm"),
    };

    /// <inheritdoc/>
    public override TransformerDescription Describe()
    {
        TransformerDescription description = base.Describe();
        return description with { Head = description.Head with { SoftCap = FinalCap } };
    }

    /// <inheritdoc/>
    public override ModelConfig Resized(int? vocabulary = null, int? positions = null, int? layers = null, int? heads = null, int? hiddenSize = null, double? dropout = null)
    {
        var resized = (Gemma2Config)base.Resized(vocabulary, positions, layers, heads, hiddenSize, dropout);
        return QueryScalar == SizeOfHead ? resized with { QueryScalar = resized.SizeOfHead } : resized;
    }

    /// <inheritdoc/>
    public override void Check(string source)
    {
        base.Check(source);
        ConfigChecks.Positive(source, "query_pre_attn_scalar", QueryScalar);
        ConfigChecks.Positive(source, "attn_logit_softcapping", AttentionCap);
        ConfigChecks.Positive(source, "final_logit_softcapping", FinalCap);
    }

    /// <inheritdoc/>
    protected override void ReadOthers(JsonFields fields)
    {
        base.ReadOthers(fields);

        // The family reads hidden_activation; its files have a hidden_act that nothing reads.
        fields.Ignore("hidden_act", "cache_implementation");
        fields.Only("use_bidirectional_attention", ConfigFields.IsFalse, "attention in both directions is not supported for this family");
    }
}
