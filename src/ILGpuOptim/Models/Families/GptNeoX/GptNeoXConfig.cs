using System.Text.Json.Serialization;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Models;

/// <summary>GPT-NeoX (Black et al., 2022) and Pythia: parallel branches, rotary positions for a quarter of each head, projections packed by head.</summary>
public record GptNeoXConfig : SizedConfig
{
    /// <summary>The defaults of <c>transformers</c>.</summary>
    public GptNeoXConfig() => Architectures = ["GPTNeoXForCausalLM"];

    /// <summary>The family.</summary>
    public static ModelFamily Registration { get; } = ModelFamily.Of<GptNeoXConfig>("gpt_neox", "GPT-NeoX");

    /// <summary>The activation of the feed-forward layers.</summary>
    [JsonPropertyName("hidden_act")]
    public string Activation { get; init; } = "gelu";

    /// <summary>ε of the norms.</summary>
    [JsonPropertyName("layer_norm_eps")]
    public float NormEpsilon { get; init; } = 1e-5f;

    /// <summary>The rotated fraction of a head; null: that of <see cref="RopeParameters"/>, or a quarter.</summary>
    [JsonPropertyName("rotary_pct"), OtherName("partial_rotary_factor")]
    public double? RotaryPart { get; init; }

    /// <summary>The base of the rotary frequencies; null: that of <see cref="RopeParameters"/>, or 10000.</summary>
    [JsonPropertyName("rotary_emb_base"), OtherName("rope_theta")]
    public double? RopeTheta { get; init; }

    /// <summary>The scaling of the rotary frequencies; or null.</summary>
    [JsonPropertyName("rope_scaling")]
    public RotaryScaling? RopeScaling { get; init; }

    /// <summary>Replaces <see cref="RotaryPart"/>, <see cref="RopeTheta"/> and <see cref="RopeScaling"/> in newer files; or null.</summary>
    [JsonPropertyName("rope_parameters")]
    public RotaryParameters? RopeParameters { get; init; }

    /// <summary>Enables parallel residual branches: attention and feed-forward layer read the same input.</summary>
    [JsonPropertyName("use_parallel_residual")]
    public bool IsParallel { get; init; } = true;

    /// <summary>Enables biases of the attention projections.</summary>
    [JsonPropertyName("attention_bias")]
    public bool AttentionBias { get; init; } = true;

    /// <summary>Dropout of the embeddings and of each branch.</summary>
    [JsonPropertyName("hidden_dropout")]
    public float HiddenDropout { get; init; }

    /// <summary>Dropout of the attention weights.</summary>
    [JsonPropertyName("attention_dropout")]
    public float AttentionDropout { get; init; }

    /// <inheritdoc/>
    public override string HeadTensor => "embed_out.weight";

    /// <inheritdoc/>
    public override string TokenTensor => "gpt_neox.embed_in.weight";

    /// <inheritdoc/>
    public override string BasePrefix => "gpt_neox.";

    /// <inheritdoc/>
    public override IReadOnlyList<string> IgnoredTensors => ["*.attention.bias", "*.attention.masked_bias", .. base.IgnoredTensors];

    /// <inheritdoc/>
    public override IReadOnlyList<string> LoraTargets => ["query_key_value"];

    /// <inheritdoc/>
    protected override bool HasPaddingRow => false;

    private RotaryFields Rotary => new(RopeParameters, RopeScaling) { TopTheta = RopeTheta, ThetaField = "rotary_emb_base", TopPart = RotaryPart, PartField = "rotary_pct", DefaultPart = 0.25 };

    /// <inheritdoc/>
    public override TransformerDescription Describe()
    {
        RotaryDescription rotary = Rotary.Describe(HiddenSize / Heads, ContextLength);
        NormDescription Norm(string name) => new(name, NormKind.LayerNorm, NormEpsilon) { HasBias = true };
        ProjectionDescription Product(string name, bool hasBias) => new(name) { HasBias = hasBias, StandardDeviation = InitializerRange };
        BlockDescription Block(int layer)
        {
            string name = $"gpt_neox.layers.{layer}.";
            return new BlockDescription
            {
                Residual = IsParallel ? ResidualKind.Parallel : ResidualKind.Sequential,
                AttentionNorm = Norm(name + "input_layernorm"),
                Attention = new AttentionDescription
                {
                    Inputs = [Product(name + "attention.query_key_value", AttentionBias)],
                    Order = PackedOrder.Heads,
                    Output = Product(name + "attention.dense", AttentionBias),
                    Heads = Heads,
                    KeyHeads = Heads,
                    HeadSize = HiddenSize / Heads,
                    Scale = 1 / MathF.Sqrt((float)HiddenSize / Heads),
                    Rotary = rotary,
                    Dropout = AttentionDropout,
                },
                AttentionOutputDropout = HiddenDropout,
                FeedForwardNorm = Norm(name + "post_attention_layernorm"),
                FeedForward = new FeedForwardDescription
                {
                    Activation = Activation,
                    IntermediateSize = IntermediateSize,
                    Up = Product(name + "mlp.dense_h_to_4h", hasBias: true),
                    Down = Product(name + "mlp.dense_4h_to_h", hasBias: true),
                },
                FeedForwardOutputDropout = HiddenDropout,
            };
        }

        return new TransformerDescription
        {
            VocabularySize = VocabularySize,
            HiddenSize = HiddenSize,
            MaxPositions = ContextLength,
            Embedding = new EmbeddingDescription { Tokens = "gpt_neox.embed_in", Dropout = HiddenDropout, StandardDeviation = InitializerRange },
            Blocks = [.. Enumerable.Range(0, Layers).Select(Block)],
            FinalNorm = Norm("gpt_neox.final_layer_norm"),
            Head = new HeadDescription { Projection = TieWordEmbeddings ? null : Product("embed_out", hasBias: false) },
        };
    }

    /// <inheritdoc/>
    public override ModelConfig Resized(int? vocabulary = null, int? positions = null, int? layers = null, int? heads = null, int? hiddenSize = null, double? dropout = null) => (GptNeoXConfig)base.Resized(vocabulary, positions, layers, heads, hiddenSize, dropout) with
    {
        HiddenDropout = (float?)dropout ?? HiddenDropout,
        AttentionDropout = (float?)dropout ?? AttentionDropout,
    };

    /// <inheritdoc/>
    public override void Check(string source)
    {
        base.Check(source);
        ConfigChecks.Divides(source, "num_attention_heads", Heads, "hidden_size", HiddenSize);
        ConfigChecks.Size(source, "hidden_size / num_attention_heads", HiddenSize / Heads, ConfigChecks.MaxHeadSize);
        ConfigChecks.Activation(source, "hidden_act", Activation);
        ConfigChecks.Epsilon(source, "layer_norm_eps", NormEpsilon);
        ConfigChecks.Dropout(source, "hidden_dropout", HiddenDropout);
        ConfigChecks.Dropout(source, "attention_dropout", AttentionDropout);
        Rotary.Check(source, HiddenSize / Heads, ContextLength);
    }

    /// <inheritdoc/>
    protected override void ReadOthers(JsonFields fields) => fields.Ignore("classifier_dropout", "is_decoder");
}
