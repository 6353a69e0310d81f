using System.Text.Json.Serialization;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>SmolLM3 (Hugging Face, 2025): every fourth layer has no positions (NoPE).</summary>
public record SmolLm3Config : DecoderConfig
{
    /// <summary>The defaults of <c>transformers</c>.</summary>
    public SmolLm3Config()
    {
        Architectures = ["SmolLM3ForCausalLM"];
        KeyHeads = 4;
        ContextLength = 32768;
        TieWordEmbeddings = true;
        PadToken = 128004;
    }

    /// <summary>The family.</summary>
    public static ModelFamily Registration { get; } = ModelFamily.Of<SmolLm3Config>("smollm3", "SmolLM3");

    /// <summary>For each layer 1 where it has rotary positions, 0 where it has none; null means <see cref="PlainInterval"/>.</summary>
    [JsonPropertyName("no_rope_layers")]
    public IReadOnlyList<int>? RotaryLayers { get; init; }

    /// <summary>One layer of this many has no rotary positions.</summary>
    [JsonPropertyName("no_rope_layer_interval")]
    public int PlainInterval { get; init; } = 4;

    /// <summary>Enables the window of layers without rotary positions.</summary>
    [JsonPropertyName("use_sliding_window")]
    public bool UseSlidingWindow { get; init; }

    /// <summary>The window of sliding layers in tokens, the query's own included.</summary>
    [JsonPropertyName("sliding_window")]
    public int? SlidingWindow { get; init; }

    /// <summary>Enables biases of the attention projections.</summary>
    [JsonPropertyName("attention_bias")]
    public bool AttentionBias { get; init; }

    /// <summary>Enables biases of the feed-forward projections.</summary>
    [JsonPropertyName("mlp_bias")]
    public bool MlpBias { get; init; }

    /// <inheritdoc/>
    protected override bool HasInputBias => AttentionBias;

    /// <inheritdoc/>
    protected override bool HasMlpBias => MlpBias;

    /// <inheritdoc/>
    protected override int? Window => UseSlidingWindow ? SlidingWindow : null;

    /// <inheritdoc/>
    protected override bool HasLayerKinds => true;

    /// <inheritdoc/>
    protected override bool SlidesByRule(int layer) => !IsRotary(layer);

    /// <inheritdoc/>
    private protected override RotaryFields Rotary(bool slides) => base.Rotary(slides) with { DefaultTheta = 2e6 };

    /// <inheritdoc/>
    protected override AttentionDescription Attention(int layer)
    {
        AttentionDescription attention = base.Attention(layer);
        return IsRotary(layer) ? attention : attention with { Rotary = null };
    }

    /// <inheritdoc/>
    public override ModelConfig Resized(int? vocabulary = null, int? positions = null, int? layers = null, int? heads = null, int? hiddenSize = null, double? dropout = null) =>
        (SmolLm3Config)base.Resized(vocabulary, positions, layers, heads, hiddenSize, dropout) with { RotaryLayers = LayerList.Repeated(RotaryLayers, layers ?? Layers) };

    /// <inheritdoc/>
    public override void Check(string source)
    {
        base.Check(source);
        ConfigChecks.Size(source, "no_rope_layer_interval", PlainInterval, int.MaxValue);
        ConfigChecks.PerLayer(source, "no_rope_layers", RotaryLayers, Layers, 0, 1);
    }

    private bool IsRotary(int layer) => RotaryLayers is { } layers ? layers[layer] == 1 : (layer + 1) % PlainInterval != 0;
}
