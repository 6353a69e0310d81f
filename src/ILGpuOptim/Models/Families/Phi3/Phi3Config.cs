using System.Text.Json;
using System.Text.Json.Serialization;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>Phi-3 and Phi-4-mini (Abdin et al., 2024): packed projections, longrope scaling, optionally a window in every layer.</summary>
public record Phi3Config : DecoderConfig
{
    private static readonly string[] RotaryKinds = ["default", "longrope"];

    private static readonly Dictionary<string, string> OldKinds = new() { ["su"] = "longrope", ["yarn"] = "longrope" };

    /// <summary>The defaults of <c>transformers</c>.</summary>
    public Phi3Config()
    {
        Architectures = ["Phi3ForCausalLM"];
        ContextLength = 4096;
        NormEpsilon = 1e-5f;
        PadToken = 32000;
    }

    /// <summary>The family.</summary>
    public static ModelFamily Registration { get; } = ModelFamily.Of<Phi3Config>("phi3", "Phi-3");

    /// <summary>The attention window in tokens, the query's own included; null: no window.</summary>
    [JsonPropertyName("sliding_window")]
    public int? SlidingWindow { get; init; }

    /// <summary>The rotated fraction of a head; null: that of <see cref="DecoderConfig.RopeParameters"/>, or 1.</summary>
    [JsonPropertyName("partial_rotary_factor")]
    public double? RotaryPart { get; init; }

    /// <summary>The context length of pre-training, before scaling.</summary>
    [JsonPropertyName("original_max_position_embeddings")]
    public int OriginalPositions { get; init; } = 4096;

    /// <summary>Dropout of each branch.</summary>
    [JsonPropertyName("resid_pdrop")]
    public float ResidualDropout { get; init; }

    /// <summary>Dropout of the embeddings.</summary>
    [JsonPropertyName("embd_pdrop")]
    public float EmbeddingDropout { get; init; }

    /// <inheritdoc/>
    public override IReadOnlyList<string> LoraTargets => ["qkv_proj"];

    /// <inheritdoc/>
    protected override int? Window => SlidingWindow;

    /// <inheritdoc/>
    private protected override RotaryFields Rotary(bool slides) =>
        base.Rotary(slides) with { TopPart = RotaryPart, DefaultPart = 1, OriginalPositions = OriginalPositions, Kinds = RotaryKinds, OtherKinds = OldKinds };

    /// <inheritdoc/>
    protected override EmbeddingDescription Embedding() => base.Embedding() with { Dropout = EmbeddingDropout };

    /// <inheritdoc/>
    protected override BlockDescription Block(int layer) =>
        base.Block(layer) with { AttentionOutputDropout = ResidualDropout, FeedForwardOutputDropout = ResidualDropout };

    /// <inheritdoc/>
    protected override AttentionDescription Attention(int layer) => base.Attention(layer) with { Inputs = [Product(NameOf(layer) + "self_attn.qkv_proj", hasBias: false)] };

    /// <inheritdoc/>
    protected override FeedForwardDescription FeedForward(int layer) =>
        base.FeedForward(layer) with { Gate = null, Up = Product(NameOf(layer) + "mlp.gate_up_proj", hasBias: false), IsPacked = true };

    /// <inheritdoc/>
    public override ModelConfig Resized(int? vocabulary = null, int? positions = null, int? layers = null, int? heads = null, int? hiddenSize = null, double? dropout = null) =>
        (Phi3Config)base.Resized(vocabulary, positions, layers, heads, hiddenSize, dropout) with
        {
            ResidualDropout = (float?)dropout ?? ResidualDropout,
            EmbeddingDropout = (float?)dropout ?? EmbeddingDropout,
        };

    /// <inheritdoc/>
    public override void Check(string source)
    {
        ConfigChecks.Size(source, "original_max_position_embeddings", OriginalPositions, ConfigChecks.MaxRows);
        base.Check(source);
        ConfigChecks.Dropout(source, "resid_pdrop", ResidualDropout);
        ConfigChecks.Dropout(source, "embd_pdrop", EmbeddingDropout);
    }

    /// <inheritdoc/>
    protected override void ReadOthers(JsonFields fields)
    {
        base.ReadOthers(fields);

        // Published files name Python code that computes what transformers' own class does.
        fields.Only("auto_map", value => value.ValueKind == JsonValueKind.Object && value.EnumerateObject().All(item => item.Value.ValueKind == JsonValueKind.String && item.Value.GetString()!.Contains("_phi3.Phi3", StringComparison.Ordinal)),
            "the model is computed by Python code of its own, which cannot be run here");
    }
}
