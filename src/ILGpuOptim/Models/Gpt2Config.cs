using System.Text.Json;
using System.Text.Json.Serialization;
using ILGpuOptim.Files;

namespace ILGpuOptim.Models;

/// <summary>The sizes of a GPT-2, under the names of Hugging Face's <c>config.json</c>.</summary>
public sealed record Gpt2Config : ModelConfig
{
    /// <summary>The longest sequence.</summary>
    [JsonPropertyName("n_positions")]
    public required int ContextLength { get; init; }

    /// <summary>Numbers for each token.</summary>
    [JsonPropertyName("n_embd")]
    public required int Channels { get; init; }

    /// <summary>Layers.</summary>
    [JsonPropertyName("n_layer")]
    public required int Layers { get; init; }

    /// <summary>Attention heads; divides the channels.</summary>
    [JsonPropertyName("n_head")]
    public required int Heads { get; init; }

    /// <summary>The width inside the feed-forward layer; null means four times the channels.</summary>
    [JsonPropertyName("n_inner")]
    public int? Inner { get; init; }

    /// <summary>Keeps layer normalisation finite.</summary>
    [JsonPropertyName("layer_norm_epsilon")]
    public float LayerNormEpsilon { get; init; } = 1e-5f;

    /// <summary>Standard deviation of fresh weights; residual projections have it divided by √(2 · layers).</summary>
    [JsonPropertyName("initializer_range")]
    public float InitializerRange { get; init; } = 0.02f;

    /// <summary>Dropout after each residual branch.</summary>
    [JsonPropertyName("resid_pdrop")]
    public float ResidualDropout { get; init; }

    /// <summary>Dropout of the embeddings.</summary>
    [JsonPropertyName("embd_pdrop")]
    public float EmbeddingDropout { get; init; }

    /// <summary>Dropout of the attention weights.</summary>
    [JsonPropertyName("attn_pdrop")]
    public float AttentionDropout { get; init; }

    /// <summary>The activation of the feed-forward layers; see <see cref="ActivationNames"/>.</summary>
    [JsonPropertyName("activation_function")]
    public string ActivationFunction { get; init; } = "gelu_new";

    /// <summary>Whether attention's scores are divided by the square root of the size of a head.</summary>
    [JsonPropertyName("scale_attn_weights")]
    public bool ScaleAttention { get; init; } = true;

    /// <summary>Whether the scores of layer i, counted from 0, are also divided by i + 1.</summary>
    [JsonPropertyName("scale_attn_by_inverse_layer_idx")]
    public bool ScaleAttentionByLayer { get; init; }

    /// <summary>Whether the head shares the token embedding; always so in GPT-2.</summary>
    [JsonPropertyName("tie_word_embeddings")]
    public bool TieWordEmbeddings { get; init; } = true;

    /// <summary>What Hugging Face's library looks for.</summary>
    [JsonPropertyName("architectures")]
    public IReadOnlyList<string> Architectures { get; init; } = ["GPT2LMHeadModel"];

    /// <inheritdoc/>
    [JsonIgnore]
    public override int Positions => ContextLength;

    /// <inheritdoc/>
    [JsonIgnore]
    public override int Depth => Layers;

    /// <inheritdoc/>
    [JsonIgnore]
    public override int Width => Channels;

    /// <inheritdoc/>
    [JsonIgnore]
    public override int HeadCount => Heads;

    /// <inheritdoc/>
    [JsonIgnore]
    public override string Family => "GPT-2";

    /// <inheritdoc/>
    public override ModelConfig Resized(int? vocabulary = null, int? positions = null, int? layers = null, int? heads = null, int? channels = null, double? dropout = null) => this with
    {
        Vocabulary = vocabulary ?? Vocabulary,
        ContextLength = positions ?? ContextLength,
        Layers = layers ?? Layers,
        Heads = heads ?? Heads,
        Channels = channels ?? Channels,
        Inner = channels is { } width && Inner is { } inner ? (int)((long)inner * width / Channels) : Inner,
        ResidualDropout = (float?)dropout ?? ResidualDropout,
        EmbeddingDropout = (float?)dropout ?? EmbeddingDropout,
        AttentionDropout = (float?)dropout ?? AttentionDropout,
    };

    /// <summary>The width inside the feed-forward layer.</summary>
    [JsonIgnore]
    public int InnerWidth => Inner ?? 4 * Channels;

    /// <summary>What a layer's attention scores are multiplied by.</summary>
    /// <param name="layer">Counted from 0.</param>
    public float AttentionScale(int layer) =>
        (ScaleAttention ? 1 / MathF.Sqrt((float)Channels / Heads) : 1) / (ScaleAttentionByLayer ? layer + 1 : 1);

    /// <summary>Reads the fields of a GPT-2; <see cref="JsonFields.Finish"/> is left to the caller.</summary>
    internal static Gpt2Config Read(JsonFields fields)
    {
        // Hugging Face's library takes both names of a size.
        int RequiredSize(string name, string otherName)
        {
            int? first = fields.Int(name), second = fields.Int(otherName);
            if (first is not null && second is not null && first != second)
                throw fields.Error(otherName, $"is {second}, but {name} is {first}; remove one of the two");
            return first ?? second ?? fields.RequiredInt(name);
        }

        var config = new Gpt2Config
        {
            Vocabulary = fields.RequiredInt("vocab_size"),
            ContextLength = RequiredSize("n_positions", "max_position_embeddings"),
            Channels = RequiredSize("n_embd", "hidden_size"),
            Layers = RequiredSize("n_layer", "num_hidden_layers"),
            Heads = RequiredSize("n_head", "num_attention_heads"),
            Inner = fields.Int("n_inner"),
            LayerNormEpsilon = fields.Float("layer_norm_epsilon") ?? 1e-5f,
            InitializerRange = fields.Float("initializer_range") ?? 0.02f,
            ResidualDropout = fields.Float("resid_pdrop") ?? 0.1f,
            EmbeddingDropout = fields.Float("embd_pdrop") ?? 0.1f,
            AttentionDropout = fields.Float("attn_pdrop") ?? 0.1f,
            ActivationFunction = fields.Text("activation_function") ?? "gelu_new",
            ScaleAttention = fields.Flag("scale_attn_weights") ?? true,
            ScaleAttentionByLayer = fields.Flag("scale_attn_by_inverse_layer_idx") ?? false,
            TieWordEmbeddings = fields.Flag("tie_word_embeddings") ?? true,
            Architectures = fields.Texts("architectures") ?? ["GPT2LMHeadModel"],
            PadToken = fields.Int("pad_token_id"),
            MaskToken = fields.Int("mask_token_id"),
            Others = ConfigFields.Unmodelled(fields),
        };
        ConfigFields.ReadCommon(fields);

        // reorder_and_upcast_attn divides by the same scale in 32 bits, which is how everything is computed here.
        fields.Only("reorder_and_upcast_attn", value => value.ValueKind is JsonValueKind.True or JsonValueKind.False, "it must be true or false");
        fields.Harmless("n_ctx", "n_special", "predict_special_tokens", "is_decoder",
            "summary_activation", "summary_first_dropout", "summary_proj_to_labels", "summary_type", "summary_use_proj");
        return config;
    }

    /// <inheritdoc/>
    [JsonIgnore]
    public override IReadOnlyList<string> IgnoredTensors => ["*.attn.bias", "*.attn.masked_bias"];

    /// <inheritdoc/>
    [JsonIgnore]
    public override IReadOnlyDictionary<string, string> TiedCopies => new Dictionary<string, string> { ["lm_head.weight"] = "wte.weight" };

    /// <inheritdoc/>
    [JsonIgnore]
    public override IReadOnlyList<string> LoraTargets => ["c_attn"];

    /// <inheritdoc/>
    [JsonIgnore]
    public override string ModulePrefix => "transformer.";

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
                    HeadSize = Channels / Heads,
                    Scale = AttentionScale(layer),
                    Dropout = AttentionDropout,
                },
                AttentionOutputDropout = ResidualDropout,
                FeedForwardNorm = Norm(name + "ln_2"),
                FeedForward = new FeedForwardDescription
                {
                    Activation = ActivationFunction,
                    IntermediateSize = InnerWidth,
                    Up = Product(name + "mlp.c_fc", false),
                    Down = Product(name + "mlp.c_proj", true),
                },
                FeedForwardOutputDropout = ResidualDropout,
            };
        }

        return new TransformerDescription
        {
            VocabularySize = Vocabulary,
            HiddenSize = Channels,
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
            Head = new HeadDescription(),
        };
    }

    /// <inheritdoc/>
    public override void Check(string source)
    {
        Size(source, "vocab_size", Vocabulary, MostRows);
        Size(source, "n_positions", ContextLength, MostRows);
        Size(source, "n_embd", Channels, MostWidth);
        Size(source, "n_layer", Layers, MostLayers);
        Size(source, "n_head", Heads, MostWidth);
        Size(source, "n_inner", Inner ?? 1, MostWidth);
        Divides(source, "n_head", Heads, "n_embd", Channels);
        Epsilon(source, "layer_norm_epsilon", LayerNormEpsilon);
        Deviation(source, InitializerRange);
        ActivationNames.Require(source, "activation_function", ActivationFunction);
        if (!TieWordEmbeddings)
            throw new UserException($"{source}: tie_word_embeddings = false is not supported; GPT-2 ties its head");
        Dropout(source, "resid_pdrop", ResidualDropout);
        Dropout(source, "embd_pdrop", EmbeddingDropout);
        Dropout(source, "attn_pdrop", AttentionDropout);
    }
}
