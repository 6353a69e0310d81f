using System.Text.Json.Serialization;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>
/// The text model of Gemma 3 (Gemma Team, 2025): Gemma 2 with normalised queries and keys, and rotary positions of two bases. Every sixth layer
/// is full, the others slide.
/// </summary>
public record Gemma3Config : Gemma2Config
{
    /// <summary>The defaults of <c>transformers</c>.</summary>
    public Gemma3Config()
    {
        Architectures = ["Gemma3ForCausalLM"];
        ContextLength = 131072;
    }

    /// <summary>The family.</summary>
    public static new ModelFamily Registration { get; } = ModelFamily.Of<Gemma3Config>("gemma3_text", "Gemma 3");

    /// <summary>Without effect: <c>transformers</c> reads the field, but does not cap the scores of Gemma 3.</summary>
    [JsonPropertyName("attn_logit_softcapping")]
    public override float? AttentionCap { get; init; }

    /// <inheritdoc/>
    [JsonPropertyName("final_logit_softcapping")]
    public override float? FinalCap { get; init; }

    /// <summary>One layer of this many has full attention.</summary>
    [JsonPropertyName("sliding_window_pattern"), OtherName("_sliding_window_pattern")]
    public int SlidingPattern { get; init; } = 6;

    /// <summary>The base of the rotary frequencies of sliding layers; null: that of <see cref="DecoderConfig.RopeParameters"/>, or 10000.</summary>
    [JsonPropertyName("rope_local_base_freq")]
    public double? LocalTheta { get; init; }

    /// <inheritdoc/>
    protected override bool SlidesByRule(int layer) => (layer + 1) % SlidingPattern != 0;

    /// <inheritdoc/>
    private protected override RotaryFields Rotary(bool slides) => slides
        ? new RotaryFields(RopeParameters?.Sliding, null) { Place = "rope_parameters.sliding_attention", TopTheta = LocalTheta, ThetaField = "rope_local_base_freq" }
        : new RotaryFields(RopeParameters?.Full, RopeScaling) { Place = "rope_parameters.full_attention", TopTheta = RopeTheta, DefaultTheta = 1e6 };

    /// <inheritdoc/>
    private protected override void CheckRotary(string source)
    {
        LayerKindRotary.CheckNested(source, RopeParameters);
        Rotary(slides: false).Check(source, SizeOfHead, ContextLength);
        Rotary(slides: true).Check(source, SizeOfHead, ContextLength);
    }

    /// <inheritdoc/>
    protected override AttentionDescription Attention(int layer) => base.Attention(layer) with
    {
        QueryNorm = Norm(NameOf(layer) + "self_attn.q_norm"),
        KeyNorm = Norm(NameOf(layer) + "self_attn.k_norm"),
        SoftCap = null,
    };

    /// <inheritdoc/>
    public override void Check(string source)
    {
        base.Check(source);
        ConfigChecks.Size(source, "sliding_window_pattern", SlidingPattern, ConfigChecks.MaxLayers);
    }
}
