using System.Text.Json;
using System.Text.Json.Serialization;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>
/// ModernBERT with its masked-language-model head (Warner et al., 2024): pre-norm blocks without biases, rotary positions of two bases, packed
/// gated feed-forward layers. Every third layer is full, the others see a window in both directions.
/// </summary>
public record ModernBertConfig : SizedConfig
{
    private const string Full = "full_attention", Sliding = "sliding_attention";

    /// <summary>The defaults of <c>transformers</c>.</summary>
    public ModernBertConfig()
    {
        Architectures = ["ModernBertForMaskedLM"];
        TieWordEmbeddings = true;
        PadToken = 50283;
        ContextLength = 8192;
    }

    /// <summary>The family.</summary>
    public static ModelFamily Registration { get; } = ModelFamily.Of<ModernBertConfig>("modernbert", "ModernBERT");

    /// <summary>The activation of the feed-forward layers.</summary>
    [JsonPropertyName("hidden_activation")]
    public string Activation { get; init; } = "gelu";

    /// <summary>The activation of the head's layer.</summary>
    [JsonPropertyName("classifier_activation")]
    public string HeadActivation { get; init; } = "gelu";

    /// <summary>ε of the norms.</summary>
    [JsonPropertyName("norm_eps")]
    public float NormEpsilon { get; init; } = 1e-5f;

    /// <summary>Enables biases of the norms.</summary>
    [JsonPropertyName("norm_bias")]
    public bool NormBias { get; init; }

    /// <summary>Enables biases of the attention projections.</summary>
    [JsonPropertyName("attention_bias")]
    public bool AttentionBias { get; init; }

    /// <summary>Enables biases of the feed-forward projections.</summary>
    [JsonPropertyName("mlp_bias")]
    public bool MlpBias { get; init; }

    /// <summary>Enables the bias of the head's dense layer.</summary>
    [JsonPropertyName("classifier_bias")]
    public bool HeadLayerBias { get; init; }

    /// <summary>Enables the bias of the logits.</summary>
    [JsonPropertyName("decoder_bias")]
    public bool LogitBias { get; init; } = true;

    /// <summary>One layer of this many, from the first on, has full attention.</summary>
    [JsonPropertyName("global_attn_every_n_layers")]
    public int FullInterval { get; init; } = 3;

    /// <summary>full_attention or sliding_attention for each layer; null means <see cref="FullInterval"/>.</summary>
    [JsonPropertyName("layer_types")]
    public IReadOnlyList<string>? LayerTypes { get; init; }

    /// <summary>The window of sliding layers: a query attends to half of this many keys on each side.</summary>
    [JsonPropertyName("local_attention")]
    public int LocalAttention { get; init; } = 128;

    /// <summary>The base of the rotary frequencies of full layers; null: that of <see cref="RopeParameters"/>, or 160000.</summary>
    [JsonPropertyName("global_rope_theta")]
    public double? FullTheta { get; init; }

    /// <summary>Base of the rotary frequencies of sliding layers; null means that of full ones.</summary>
    [JsonPropertyName("local_rope_theta")]
    public double? LocalTheta { get; init; } = 10000;

    /// <summary>Replaces <see cref="FullTheta"/> and <see cref="LocalTheta"/> in newer files; or null.</summary>
    [JsonPropertyName("rope_parameters")]
    public RotaryParameters? RopeParameters { get; init; }

    /// <summary>Dropout of the embeddings.</summary>
    [JsonPropertyName("embedding_dropout")]
    public float EmbeddingDropout { get; init; }

    /// <summary>Dropout of the attention weights and of attention's branch.</summary>
    [JsonPropertyName("attention_dropout")]
    public float AttentionDropout { get; init; }

    /// <summary>Dropout within the feed-forward layers.</summary>
    [JsonPropertyName("mlp_dropout")]
    public float MlpDropout { get; init; }

    /// <summary>Truncates the normal distribution of initial weights at ± this many standard deviations.</summary>
    [JsonPropertyName("initializer_cutoff_factor")]
    public float InitializerCutoff { get; init; } = 2;

    /// <inheritdoc/>
    public override bool PredictsMaskedTokens => true;

    /// <inheritdoc/>
    public override string HeadTensor => "decoder.weight";

    /// <inheritdoc/>
    public override string TokenTensor => "model.embeddings.tok_embeddings.weight";

    /// <inheritdoc/>
    public override string BasePrefix => "model.";

    /// <inheritdoc/>
    public override IReadOnlyList<string> LoraTargets => ["Wqkv"];

    /// <inheritdoc/>
    public override TransformerDescription Describe()
    {
        NormDescription Norm(string name) => new(name, NormKind.LayerNorm, NormEpsilon) { HasBias = NormBias };
        ProjectionDescription Product(string name, bool hasBias, bool isOutput) => new(name)
        {
            HasBias = hasBias,
            StandardDeviation = isOutput ? InitializerRange / MathF.Sqrt(2 * Layers) : InitializerRange,
            Truncation = InitializerCutoff,
        };
        BlockDescription Block(int layer)
        {
            string name = $"model.layers.{layer}.";
            bool slides = Slides(layer);
            return new BlockDescription
            {
                AttentionNorm = layer == 0 ? null : Norm(name + "attn_norm"),
                Attention = new AttentionDescription
                {
                    Inputs = [Product(name + "attn.Wqkv", AttentionBias, isOutput: false)],
                    Output = Product(name + "attn.Wo", AttentionBias, isOutput: true),
                    Heads = Heads,
                    KeyHeads = Heads,
                    HeadSize = HiddenSize / Heads,
                    Scale = 1 / MathF.Sqrt((float)HiddenSize / Heads),
                    KeysBefore = slides ? LocalAttention / 2 : null,
                    KeysAfter = slides ? LocalAttention / 2 : null,
                    Rotary = Rotary(slides).Describe(HiddenSize / Heads, ContextLength),
                    Dropout = AttentionDropout,
                },
                AttentionOutputDropout = AttentionDropout,
                FeedForwardNorm = Norm(name + "mlp_norm"),
                FeedForward = new FeedForwardDescription
                {
                    Activation = Activation,
                    IntermediateSize = IntermediateSize,
                    Up = Product(name + "mlp.Wi", MlpBias, isOutput: false),
                    IsPacked = true,
                    Down = Product(name + "mlp.Wo", MlpBias, isOutput: true),
                    Dropout = MlpDropout,
                },
            };
        }

        return new TransformerDescription
        {
            VocabularySize = VocabularySize,
            HiddenSize = HiddenSize,
            MaxPositions = ContextLength,
            IsCausal = false,
            Embedding = new EmbeddingDescription
            {
                Tokens = "model.embeddings.tok_embeddings",
                Norm = Norm("model.embeddings.norm"),
                Dropout = EmbeddingDropout,
                PaddingToken = PaddingRow,
                StandardDeviation = InitializerRange,
                Truncation = InitializerCutoff,
            },
            Blocks = [.. Enumerable.Range(0, Layers).Select(Block)],
            FinalNorm = Norm("model.final_norm"),
            Head = new HeadDescription
            {
                Projection = TieWordEmbeddings ? null : Product("decoder", hasBias: false, isOutput: true),
                Bias = LogitBias ? "decoder.bias" : null,
                Transform = new HeadTransformDescription(Product("head.dense", HeadLayerBias, isOutput: true), HeadActivation, Norm("head.norm")),
            },
        };
    }

    /// <inheritdoc/>
    public override ModelConfig Resized(int? vocabulary = null, int? positions = null, int? layers = null, int? heads = null, int? hiddenSize = null, double? dropout = null) => (ModernBertConfig)base.Resized(vocabulary, positions, layers, heads, hiddenSize, dropout) with
    {
        LayerTypes = LayerList.Repeated(LayerTypes, layers ?? Layers),
        EmbeddingDropout = (float?)dropout ?? EmbeddingDropout,
        AttentionDropout = (float?)dropout ?? AttentionDropout,
        MlpDropout = (float?)dropout ?? MlpDropout,
    };

    /// <inheritdoc/>
    public override void Check(string source)
    {
        base.Check(source);
        ConfigChecks.Divides(source, "num_attention_heads", Heads, "hidden_size", HiddenSize);
        ConfigChecks.Size(source, "hidden_size / num_attention_heads", HiddenSize / Heads, ConfigChecks.MaxHeadSize);
        ConfigChecks.Size(source, "global_attn_every_n_layers", FullInterval, ConfigChecks.MaxLayers);
        ConfigChecks.Size(source, "local_attention", LocalAttention, int.MaxValue);
        ConfigChecks.PerLayer(source, "layer_types", LayerTypes, Layers, Full, Sliding);
        ConfigChecks.Activation(source, "hidden_activation", Activation);
        ConfigChecks.Activation(source, "classifier_activation", HeadActivation);
        ConfigChecks.Epsilon(source, "norm_eps", NormEpsilon);
        ConfigChecks.Positive(source, "initializer_cutoff_factor", InitializerCutoff);
        ConfigChecks.Dropout(source, "embedding_dropout", EmbeddingDropout);
        ConfigChecks.Dropout(source, "attention_dropout", AttentionDropout);
        ConfigChecks.Dropout(source, "mlp_dropout", MlpDropout);
        LayerKindRotary.CheckNested(source, RopeParameters);
        Rotary(slides: false).Check(source, HiddenSize / Heads, ContextLength);
        Rotary(slides: true).Check(source, HiddenSize / Heads, ContextLength);
    }

    /// <inheritdoc/>
    protected override void ReadOthers(JsonFields fields)
    {
        // The family reads norm_eps; its files also have a layer_norm_eps that nothing reads. The others say how the library computes, or are of other tasks.
        fields.Ignore("layer_norm_eps", "classifier_dropout", "classifier_pooling", "deterministic_flash_attn", "sparse_prediction", "sparse_pred_ignore_index",
            "reference_compile", "repad_logits_with_grad");
        fields.Only("position_embedding_type", value => value.ValueKind == JsonValueKind.String && (value.ValueEquals("absolute") || value.ValueEquals("rope")), "only rotary positions are supported");
        fields.Only("is_decoder", ConfigFields.IsFalse, "a ModernBERT whose attention is causal is not supported");
    }

    private bool Slides(int layer) => LayerTypes is { } types ? types[layer] == Sliding : layer % FullInterval != 0;

    private RotaryFields Rotary(bool slides)
    {
        var full = new RotaryFields(RopeParameters?.Full, null) { Place = "rope_parameters.full_attention", TopTheta = FullTheta, ThetaField = "global_rope_theta", DefaultTheta = 160000 };
        return slides
            ? new RotaryFields(RopeParameters?.Sliding, null) { Place = "rope_parameters.sliding_attention", TopTheta = LocalTheta, ThetaField = "local_rope_theta", DefaultTheta = full.Theta }
            : full;
    }
}
