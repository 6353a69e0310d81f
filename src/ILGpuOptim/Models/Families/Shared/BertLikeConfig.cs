using System.Text.Json.Serialization;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>The fields and layers that BERT and RoBERTa share: post-norm blocks that see both directions, learned positions and segments.</summary>
public abstract record BertLikeConfig : SizedConfig
{
    /// <summary>The defaults of <c>transformers</c>.</summary>
    protected BertLikeConfig() => ContextLength = 512;

    /// <summary>The number of segments of an input, such as two sentences.</summary>
    [JsonPropertyName("type_vocab_size")]
    public int Segments { get; init; } = 2;

    /// <summary>ε of the layer norms.</summary>
    [JsonPropertyName("layer_norm_eps")]
    public float LayerNormEpsilon { get; init; } = 1e-12f;

    /// <summary>Dropout of the embeddings and of each residual branch.</summary>
    [JsonPropertyName("hidden_dropout_prob")]
    public float HiddenDropout { get; init; } = 0.1f;

    /// <summary>Dropout of the attention weights.</summary>
    [JsonPropertyName("attention_probs_dropout_prob")]
    public float AttentionDropout { get; init; } = 0.1f;

    /// <summary>The activation of the feed-forward layers.</summary>
    [JsonPropertyName("hidden_act")]
    public string Activation { get; init; } = "gelu";

    /// <summary>Only learned absolute positions exist.</summary>
    [JsonPropertyName("position_embedding_type")]
    public string PositionKind { get; init; } = "absolute";

    /// <inheritdoc/>
    public override bool PredictsMaskedTokens => true;

    /// <inheritdoc/>
    public override string TokenTensor => BasePrefix + "embeddings.word_embeddings.weight";

    /// <inheritdoc/>
    public override IReadOnlyList<string> IgnoredTensors => [.. (IEnumerable<string>)(HasOwnHeadBias ? [HeadParts.Bias] : []), "*.position_ids", .. base.IgnoredTensors];

    /// <inheritdoc/>
    public override IReadOnlyList<string> LoraTargets => ["query", "value"];

    /// <summary>The names of the head's layer and its norm, of the bias of the logits, and the layer's activation.</summary>
    protected abstract (string Dense, string Norm, string Bias, string Activation) HeadParts { get; }

    /// <summary>True if an untied head has its own bias, as in files of transformers 5; the bias that a tied head has is then unused.</summary>
    internal bool HasOwnHeadBias { get; init; }

    private string OwnHeadBias => HeadTensor.Replace(".weight", ".bias", StringComparison.Ordinal);

    /// <summary>The padding id that positions count from; null: they count from the start of a sequence.</summary>
    protected virtual int? PositionPadding => null;

    /// <inheritdoc/>
    public override IReadOnlyDictionary<string, string> TiedCopies =>
        HasOwnHeadBias ? base.TiedCopies : new Dictionary<string, string>(base.TiedCopies) { [OwnHeadBias] = HeadParts.Bias };

    /// <inheritdoc/>
    internal override ModelConfig FittedTo(TensorNames names) => this with { HasOwnHeadBias = !TieWordEmbeddings && names.Find(OwnHeadBias) is not null };

    /// <inheritdoc/>
    public override TransformerDescription Describe() => new()
    {
        VocabularySize = VocabularySize,
        HiddenSize = HiddenSize,
        MaxPositions = ContextLength,
        IsCausal = false,
        Embedding = new EmbeddingDescription
        {
            Tokens = BasePrefix + "embeddings.word_embeddings",
            Positions = new PositionTableDescription(BasePrefix + "embeddings.position_embeddings", ContextLength + (PositionPadding + 1 ?? 0), PositionPadding),
            Segments = BasePrefix + "embeddings.token_type_embeddings",
            SegmentCount = Segments,
            Norm = Norm(BasePrefix + "embeddings.LayerNorm"),
            Dropout = HiddenDropout,
            PaddingToken = PaddingRow,
            StandardDeviation = InitializerRange,
        },
        Blocks = [.. Enumerable.Range(0, Layers).Select(Block)],
        Head = new HeadDescription
        {
            Projection = TieWordEmbeddings ? null : new ProjectionDescription(HeadTensor.Replace(".weight", "", StringComparison.Ordinal)) { StandardDeviation = InitializerRange },
            Bias = HasOwnHeadBias ? OwnHeadBias : HeadParts.Bias,
            Transform = new HeadTransformDescription(Product(HeadParts.Dense), HeadParts.Activation, Norm(HeadParts.Norm)),
        },
    };

    /// <inheritdoc/>
    public override ModelConfig Resized(int? vocabulary = null, int? positions = null, int? layers = null, int? heads = null, int? hiddenSize = null, double? dropout = null) => (BertLikeConfig)base.Resized(vocabulary, positions, layers, heads, hiddenSize, dropout) with
    {
        HiddenDropout = (float?)dropout ?? HiddenDropout,
        AttentionDropout = (float?)dropout ?? AttentionDropout,
    };

    /// <inheritdoc/>
    public override void Check(string source)
    {
        base.Check(source);
        ConfigChecks.Size(source, "type_vocab_size", Segments, ConfigChecks.MaxRows);
        ConfigChecks.Divides(source, "num_attention_heads", Heads, "hidden_size", HiddenSize);
        ConfigChecks.Epsilon(source, "layer_norm_eps", LayerNormEpsilon);
        if (PositionKind != "absolute")
            throw new UserException($"{source}: position_embedding_type = \"{PositionKind}\" is not supported; {Family} has \"absolute\"");
        ConfigChecks.Dropout(source, "hidden_dropout_prob", HiddenDropout);
        ConfigChecks.Dropout(source, "attention_probs_dropout_prob", AttentionDropout);
    }

    /// <inheritdoc/>
    protected override void ReadOthers(JsonFields fields)
    {
        fields.Only("is_decoder", ConfigFields.IsFalse, "a model of this family whose attention is causal is not supported; take a GPT-2 or LLaMA for causal models");
        fields.Ignore("classifier_dropout");
    }

    private BlockDescription Block(int layer)
    {
        string name = $"{BasePrefix}encoder.layer.{layer}.";
        return new BlockDescription
        {
            Residual = ResidualKind.NormAfterSum,
            Attention = new AttentionDescription
            {
                Inputs = [Product(name + "attention.self.query"), Product(name + "attention.self.key"), Product(name + "attention.self.value")],
                Output = Product(name + "attention.output.dense"),
                Heads = Heads,
                KeyHeads = Heads,
                HeadSize = HiddenSize / Heads,
                Scale = 1 / MathF.Sqrt((float)HiddenSize / Heads),
                Dropout = AttentionDropout,
            },
            AttentionOutputDropout = HiddenDropout,
            AttentionOutputNorm = Norm(name + "attention.output.LayerNorm"),
            FeedForward = new FeedForwardDescription
            {
                Activation = Activation,
                IntermediateSize = IntermediateSize,
                Up = Product(name + "intermediate.dense"),
                Down = Product(name + "output.dense"),
            },
            FeedForwardOutputDropout = HiddenDropout,
            FeedForwardOutputNorm = Norm(name + "output.LayerNorm"),
        };
    }

    private NormDescription Norm(string name) => new(name, NormKind.LayerNorm, LayerNormEpsilon) { HasBias = true };

    private ProjectionDescription Product(string name) => new(name) { HasBias = true, StandardDeviation = InitializerRange };
}
