using System.Text.Json;
using System.Text.Json.Serialization;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;
using ILGpuOptim.Ops;

namespace ILGpuOptim.Models;

/// <summary>GPT-2 (Radford et al., 2019): pre-norm blocks, learned positions, biases everywhere.</summary>
public record Gpt2Config : ModelConfig
{
    /// <summary>The defaults of <c>transformers</c>, without its dropouts.</summary>
    public Gpt2Config()
    {
        Architectures = ["GPT2LMHeadModel"];
        TieWordEmbeddings = true;
    }

    /// <summary>The family.</summary>
    public static ModelFamily Registration { get; } = ModelFamily.Of<Gpt2Config>("gpt2", "GPT-2");

    /// <summary>The longest sequence, in tokens.</summary>
    [JsonPropertyName("n_positions"), OtherName("max_position_embeddings")]
    public override required int ContextLength { get; init; }

    /// <summary>The hidden size: the elements of each token's vector.</summary>
    [JsonPropertyName("n_embd"), OtherName("hidden_size")]
    public override required int HiddenSize { get; init; }

    /// <summary>Layers.</summary>
    [JsonPropertyName("n_layer"), OtherName("num_hidden_layers")]
    public override required int Layers { get; init; }

    /// <summary>The number of attention heads, a divisor of the hidden size.</summary>
    [JsonPropertyName("n_head"), OtherName("num_attention_heads")]
    public override required int Heads { get; init; }

    /// <summary>The intermediate size of the feed-forward layers; null: four times the hidden size.</summary>
    [JsonPropertyName("n_inner")]
    public int? IntermediateSize { get; init; }

    /// <summary>ε of the layer norms.</summary>
    [JsonPropertyName("layer_norm_epsilon")]
    public float LayerNormEpsilon { get; init; } = 1e-5f;

    /// <summary>The standard deviation of initial weights; residual projections have it divided by √(2 · layers).</summary>
    [JsonPropertyName("initializer_range")]
    public float InitializerRange { get; init; } = 0.02f;

    /// <summary>Dropout after each residual branch.</summary>
    [JsonPropertyName("resid_pdrop"), AbsentValue(0.1f)]
    public float ResidualDropout { get; init; }

    /// <summary>Dropout of the embeddings.</summary>
    [JsonPropertyName("embd_pdrop"), AbsentValue(0.1f)]
    public float EmbeddingDropout { get; init; }

    /// <summary>Dropout of the attention weights.</summary>
    [JsonPropertyName("attn_pdrop"), AbsentValue(0.1f)]
    public float AttentionDropout { get; init; }

    /// <summary>The activation of the feed-forward layers; see <see cref="ActivationNames"/>.</summary>
    [JsonPropertyName("activation_function")]
    public string ActivationFunction { get; init; } = "gelu_new";

    /// <summary>Divides attention scores by the square root of the head size.</summary>
    [JsonPropertyName("scale_attn_weights")]
    public bool ScaleAttention { get; init; } = true;

    /// <summary>Also divides the scores of layer i, counted from 0, by i + 1.</summary>
    [JsonPropertyName("scale_attn_by_inverse_layer_idx")]
    public bool ScaleAttentionByLayer { get; init; }

    /// <summary>The intermediate size of the feed-forward layers.</summary>
    public int FeedForwardSize => IntermediateSize ?? 4 * HiddenSize;

    /// <inheritdoc/>
    public override string TokenTensor => "wte.weight";

    /// <inheritdoc/>
    public override string BasePrefix => "transformer.";

    /// <inheritdoc/>
    public override string ModulePrefix => "transformer.";

    /// <inheritdoc/>
    public override IReadOnlyList<string> IgnoredTensors => ["*.attn.bias", "*.attn.masked_bias", .. base.IgnoredTensors];

    /// <inheritdoc/>
    public override IReadOnlyList<string> LoraTargets => ["c_attn"];

    /// <inheritdoc/>
    protected override bool HasPaddingRow => false;

    /// <summary>The scale of a layer's attention scores.</summary>
    /// <param name="layer">Counted from 0.</param>
    public float AttentionScale(int layer) =>
        (ScaleAttention ? 1 / MathF.Sqrt((float)HiddenSize / Heads) : 1) / (ScaleAttentionByLayer ? layer + 1 : 1);

    /// <inheritdoc/>
    public override TransformerDescription Describe()
    {
        NormDescription Norm(string name) => new(name, NormKind.LayerNorm, LayerNormEpsilon) { HasBias = true };
        ProjectionDescription Product(string name, bool isResidual) =>
            new(name) { HasBias = true, InputsFirst = true, StandardDeviation = isResidual ? InitializerRange / MathF.Sqrt(2 * Layers) : InitializerRange };
        BlockDescription Block(int layer)
        {
            string name = $"h.{layer}.";
            return new BlockDescription
            {
                AttentionNorm = Norm(name + "ln_1"),
                Attention = new AttentionDescription
                {
                    Inputs = [Product(name + "attn.c_attn", false)],
                    Output = Product(name + "attn.c_proj", true),
                    Heads = Heads,
                    KeyHeads = Heads,
                    HeadSize = HiddenSize / Heads,
                    Scale = AttentionScale(layer),
                    Dropout = AttentionDropout,
                },
                AttentionOutputDropout = ResidualDropout,
                FeedForwardNorm = Norm(name + "ln_2"),
                FeedForward = new FeedForwardDescription
                {
                    Activation = ActivationFunction,
                    IntermediateSize = FeedForwardSize,
                    Up = Product(name + "mlp.c_fc", false),
                    Down = Product(name + "mlp.c_proj", true),
                },
                FeedForwardOutputDropout = ResidualDropout,
            };
        }

        return new TransformerDescription
        {
            VocabularySize = VocabularySize,
            HiddenSize = HiddenSize,
            MaxPositions = ContextLength,
            Embedding = new EmbeddingDescription
            {
                Tokens = "wte",
                Positions = new PositionTableDescription("wpe", ContextLength),
                Dropout = EmbeddingDropout,
                StandardDeviation = InitializerRange,
            },
            Blocks = [.. Enumerable.Range(0, Layers).Select(Block)],
            FinalNorm = Norm("ln_f"),
            Head = new HeadDescription { Projection = TieWordEmbeddings ? null : new ProjectionDescription("lm_head") { StandardDeviation = InitializerRange } },
        };
    }

    /// <inheritdoc/>
    public override ModelConfig Resized(int? vocabulary = null, int? positions = null, int? layers = null, int? heads = null, int? hiddenSize = null, double? dropout = null) => (Gpt2Config)base.Resized(vocabulary, positions, layers, heads, hiddenSize, dropout) with
    {
        IntermediateSize = hiddenSize is { } width && IntermediateSize is { } inner ? (int)((long)inner * width / HiddenSize) : IntermediateSize,
        ResidualDropout = (float?)dropout ?? ResidualDropout,
        EmbeddingDropout = (float?)dropout ?? EmbeddingDropout,
        AttentionDropout = (float?)dropout ?? AttentionDropout,
    };

    /// <inheritdoc/>
    public override void Check(string source)
    {
        base.Check(source);
        ConfigChecks.Size(source, "n_positions", ContextLength, ConfigChecks.MaxRows);
        ConfigChecks.Size(source, "n_embd", HiddenSize, ConfigChecks.MaxWidth);
        ConfigChecks.Size(source, "n_layer", Layers, ConfigChecks.MaxLayers);
        ConfigChecks.Size(source, "n_head", Heads, ConfigChecks.MaxWidth);
        ConfigChecks.Size(source, "n_inner", IntermediateSize ?? 1, ConfigChecks.MaxWidth);
        ConfigChecks.Divides(source, "n_head", Heads, "n_embd", HiddenSize);
        ConfigChecks.Epsilon(source, "layer_norm_epsilon", LayerNormEpsilon);
        ConfigChecks.StandardDeviation(source, "initializer_range", InitializerRange);
        ActivationNames.Require(source, "activation_function", ActivationFunction);
        ConfigChecks.Dropout(source, "resid_pdrop", ResidualDropout);
        ConfigChecks.Dropout(source, "embd_pdrop", EmbeddingDropout);
        ConfigChecks.Dropout(source, "attn_pdrop", AttentionDropout);
    }

    /// <inheritdoc/>
    protected override void ReadOthers(JsonFields fields)
    {
        // reorder_and_upcast_attn divides by the same scale in 32 bits, which is how everything is computed here.
        fields.Only("reorder_and_upcast_attn", value => value.ValueKind is JsonValueKind.True or JsonValueKind.False, "it must be true or false");
        fields.Ignore("n_ctx", "n_special", "predict_special_tokens", "is_decoder",
            "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj");
    }
}
