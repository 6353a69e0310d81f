using System.Text.Json;
using System.Text.Json.Serialization;
using ILGpuOptim.Files;

namespace ILGpuOptim.Models;

/// <summary>The sizes of a BERT, under the names of Hugging Face's <c>config.json</c>.</summary>
public sealed record BertConfig : ModelConfig
{
    /// <summary>A configuration with the defaults of a BERT.</summary>
    public BertConfig() => PadToken = 0;

    /// <summary>Numbers for each token.</summary>
    [JsonPropertyName("hidden_size")]
    public required int Channels { get; init; }

    /// <summary>The width inside the feed-forward layer.</summary>
    [JsonPropertyName("intermediate_size")]
    public required int Inner { get; init; }

    /// <summary>Layers.</summary>
    [JsonPropertyName("num_hidden_layers")]
    public required int Layers { get; init; }

    /// <summary>Attention heads; divides the channels.</summary>
    [JsonPropertyName("num_attention_heads")]
    public required int Heads { get; init; }

    /// <summary>The longest sequence.</summary>
    [JsonPropertyName("max_position_embeddings")]
    public int ContextLength { get; init; } = 512;

    /// <summary>Segments of an input, such as two sentences.</summary>
    [JsonPropertyName("type_vocab_size")]
    public int Segments { get; init; } = 2;

    /// <summary>Keeps layer normalisation finite.</summary>
    [JsonPropertyName("layer_norm_eps")]
    public float LayerNormEpsilon { get; init; } = 1e-12f;

    /// <summary>Dropout of the embeddings and of each residual branch.</summary>
    [JsonPropertyName("hidden_dropout_prob")]
    public float HiddenDropout { get; init; } = 0.1f;

    /// <summary>Dropout of the attention weights.</summary>
    [JsonPropertyName("attention_probs_dropout_prob")]
    public float AttentionDropout { get; init; } = 0.1f;

    /// <summary>Standard deviation of fresh weights.</summary>
    [JsonPropertyName("initializer_range")]
    public float InitializerRange { get; init; } = 0.02f;

    /// <summary>The activation of the feed-forward layers and of the head; see <see cref="ActivationNames"/>.</summary>
    [JsonPropertyName("hidden_act")]
    public string Activation { get; init; } = "gelu";

    /// <summary>Only learned absolute positions exist in BERT.</summary>
    [JsonPropertyName("position_embedding_type")]
    public string PositionKind { get; init; } = "absolute";

    /// <summary>Whether the head shares the token embedding; always so in BERT.</summary>
    [JsonPropertyName("tie_word_embeddings")]
    public bool TieWordEmbeddings { get; init; } = true;

    /// <summary>What Hugging Face's library looks for.</summary>
    [JsonPropertyName("architectures")]
    public IReadOnlyList<string> Architectures { get; init; } = ["BertForMaskedLM"];

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
    public override string Family => "BERT";

    /// <inheritdoc/>
    public override ModelConfig Resized(int? vocabulary = null, int? positions = null, int? layers = null, int? heads = null, int? channels = null, double? dropout = null) => this with
    {
        Vocabulary = vocabulary ?? Vocabulary,
        ContextLength = positions ?? ContextLength,
        Layers = layers ?? Layers,
        Heads = heads ?? Heads,
        Channels = channels ?? Channels,
        Inner = channels is { } width ? (int)((long)Inner * width / Channels) : Inner,
        HiddenDropout = (float?)dropout ?? HiddenDropout,
        AttentionDropout = (float?)dropout ?? AttentionDropout,
    };

    /// <summary>Reads the fields of a BERT; <see cref="JsonFields.Finish"/> is left to the caller.</summary>
    internal static BertConfig Read(JsonFields fields)
    {
        var config = new BertConfig
        {
            Vocabulary = fields.RequiredInt("vocab_size"),
            Channels = fields.RequiredInt("hidden_size"),
            Inner = fields.RequiredInt("intermediate_size"),
            Layers = fields.RequiredInt("num_hidden_layers"),
            Heads = fields.RequiredInt("num_attention_heads"),
            ContextLength = fields.Int("max_position_embeddings") ?? 512,
            Segments = fields.Int("type_vocab_size") ?? 2,
            LayerNormEpsilon = fields.Float("layer_norm_eps") ?? 1e-12f,
            HiddenDropout = fields.Float("hidden_dropout_prob") ?? 0.1f,
            AttentionDropout = fields.Float("attention_probs_dropout_prob") ?? 0.1f,
            InitializerRange = fields.Float("initializer_range") ?? 0.02f,
            Activation = fields.Text("hidden_act") ?? "gelu",
            PositionKind = fields.Text("position_embedding_type") ?? "absolute",
            TieWordEmbeddings = fields.Flag("tie_word_embeddings") ?? true,
            PadToken = fields.Names.Contains("pad_token_id") ? fields.Int("pad_token_id") : 0,
            MaskToken = fields.Int("mask_token_id"),
            Architectures = fields.Texts("architectures") ?? ["BertForMaskedLM"],
            Others = ConfigFields.Unmodelled(fields),
        };
        ConfigFields.ReadCommon(fields);
        fields.Only("is_decoder", ConfigFields.IsFalse, "a BERT whose attention is causal is not modelled; take a GPT-2 or LLaMA for causal models");
        fields.Only("directionality", value => value.ValueKind == JsonValueKind.String && value.ValueEquals("bidi"), "only attention in both directions (bidi) is modelled");
        fields.Harmless("classifier_dropout", "pooler_fc_size", "pooler_num_attention_heads", "pooler_num_fc_layers", "pooler_size_per_head", "pooler_type");
        return config;
    }

    /// <inheritdoc/>
    [JsonIgnore]
    public override bool PredictsMaskedTokens => true;

    /// <inheritdoc/>
    [JsonIgnore]
    public override IReadOnlyList<string> IgnoredTensors => ["*.position_ids"];

    /// <inheritdoc/>
    [JsonIgnore]
    public override IReadOnlyList<string> OtherHeads => ["*pooler.dense.weight", "*pooler.dense.bias", "cls.seq_relationship.*"];

    /// <inheritdoc/>
    [JsonIgnore]
    public override IReadOnlyDictionary<string, string> TiedCopies => new Dictionary<string, string>
    {
        ["cls.predictions.decoder.weight"] = "bert.embeddings.word_embeddings.weight",
        ["cls.predictions.decoder.bias"] = "cls.predictions.bias",
    };

    /// <inheritdoc/>
    [JsonIgnore]
    public override IReadOnlyList<string> LoraTargets => ["query", "value"];

    /// <inheritdoc/>
    public override TransformerDescription Describe()
    {
        NormDescription Norm(string name) => new(name + ".LayerNorm", NormKind.LayerNorm, LayerNormEpsilon) { HasBias = true };
        ProjectionDescription Product(string name) => new(name) { HasBias = true, StandardDeviation = InitializerRange };
        BlockDescription Block(int layer)
        {
            string name = $"bert.encoder.layer.{layer}.";
            return new BlockDescription
            {
                Residual = ResidualKind.NormAfterSum,
                Attention = new AttentionDescription
                {
                    Inputs = [Product(name + "attention.self.query"), Product(name + "attention.self.key"), Product(name + "attention.self.value")],
                    Output = Product(name + "attention.output.dense"),
                    Heads = Heads,
                    KeyHeads = Heads,
                    HeadSize = Channels / Heads,
                    Scale = 1 / MathF.Sqrt((float)Channels / Heads),
                    Dropout = AttentionDropout,
                },
                AttentionOutputDropout = HiddenDropout,
                AttentionOutputNorm = Norm(name + "attention.output"),
                FeedForward = new FeedForwardDescription
                {
                    Activation = Activation,
                    IntermediateSize = Inner,
                    Up = Product(name + "intermediate.dense"),
                    Down = Product(name + "output.dense"),
                },
                FeedForwardOutputDropout = HiddenDropout,
                FeedForwardOutputNorm = Norm(name + "output"),
            };
        }

        return new TransformerDescription
        {
            VocabularySize = Vocabulary,
            HiddenSize = Channels,
            MaxPositions = ContextLength,
            IsCausal = false,
            Embedding = new EmbeddingDescription
            {
                Tokens = "bert.embeddings.word_embeddings",
                Positions = new PositionTableDescription("bert.embeddings.position_embeddings", ContextLength),
                Segments = "bert.embeddings.token_type_embeddings",
                SegmentCount = Segments,
                Norm = Norm("bert.embeddings"),
                Dropout = HiddenDropout,
                PaddingToken = PadToken,
                StandardDeviation = InitializerRange,
            },
            Blocks = [.. Enumerable.Range(0, Layers).Select(Block)],
            Head = new HeadDescription
            {
                Bias = "cls.predictions.bias",
                Transform = new HeadTransformDescription(Product("cls.predictions.transform.dense"), Activation, Norm("cls.predictions.transform")),
            },
        };
    }

    /// <inheritdoc/>
    public override void Check(string source)
    {
        Size(source, "vocab_size", Vocabulary, MostRows);
        Size(source, "hidden_size", Channels, MostWidth);
        Size(source, "intermediate_size", Inner, MostWidth);
        Size(source, "num_hidden_layers", Layers, MostLayers);
        Size(source, "num_attention_heads", Heads, MostWidth);
        Size(source, "max_position_embeddings", ContextLength, MostRows);
        Size(source, "type_vocab_size", Segments, MostRows);
        Divides(source, "num_attention_heads", Heads, "hidden_size", Channels);
        Epsilon(source, "layer_norm_eps", LayerNormEpsilon);
        Deviation(source, InitializerRange);
        ActivationNames.Require(source, "hidden_act", Activation);
        if (PositionKind != "absolute")
            throw new UserException($"{source}: position_embedding_type = \"{PositionKind}\" is not supported; BERT has \"absolute\"");
        if (!TieWordEmbeddings)
            throw new UserException($"{source}: tie_word_embeddings = false is not supported; BERT ties its head");
        if (PadToken is { } pad && (uint)pad >= (uint)Vocabulary)
            throw new UserException($"{source}: pad_token_id = {pad} lies outside the vocabulary of {Vocabulary}");
        if (MaskToken is { } mask && (uint)mask >= (uint)Vocabulary)
            throw new UserException($"{source}: mask_token_id = {mask} lies outside the vocabulary of {Vocabulary}");
        Dropout(source, "hidden_dropout_prob", HiddenDropout);
        Dropout(source, "attention_probs_dropout_prob", AttentionDropout);
    }
}
