using System.Text.Json;
using System.Text.Json.Serialization;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>
/// T5 (Raffel et al., 2020) and T5 v1.1 (Shazeer, 2020): an encoder and a decoder with relative position biases and unscaled scores. v1.1 has
/// gated feed-forward layers and a head of its own.
/// </summary>
public record T5Config : ModelConfig
{
    private const string Gated = "gated-";

    /// <summary>The defaults of <c>transformers</c>.</summary>
    public T5Config()
    {
        Architectures = ["T5ForConditionalGeneration"];
        TieWordEmbeddings = true;
        PadToken = 0;
        EndToken = 1;
    }

    /// <summary>The family.</summary>
    public static ModelFamily Registration { get; } = ModelFamily.Of<T5Config>("t5", "T5");

    /// <summary>The hidden size: the elements of each token's vector.</summary>
    [JsonPropertyName("d_model"), OtherName("hidden_size")]
    public override int HiddenSize { get; init; } = 512;

    /// <summary>The head size; heads times head size need not be the hidden size.</summary>
    [JsonPropertyName("d_kv"), OtherName("head_dim")]
    public int HeadSize { get; init; } = 64;

    internal override int HeadWidth => HeadSize;

    /// <summary>The intermediate size of the feed-forward layers.</summary>
    [JsonPropertyName("d_ff")]
    public int IntermediateSize { get; init; } = 2048;

    /// <summary>Layers of the encoder.</summary>
    [JsonPropertyName("num_layers"), OtherName("num_hidden_layers")]
    public override int Layers { get; init; } = 6;

    /// <summary>Layers of the decoder; null means as many as the encoder has.</summary>
    [JsonPropertyName("num_decoder_layers")]
    public int? DecoderLayers { get; init; }

    /// <summary>Attention heads.</summary>
    [JsonPropertyName("num_heads"), OtherName("num_attention_heads")]
    public override int Heads { get; init; } = 8;

    /// <summary>Rows of the tables of relative positions.</summary>
    [JsonPropertyName("relative_attention_num_buckets")]
    public int Buckets { get; init; } = 32;

    /// <summary>Distances from this one on share the last bucket.</summary>
    [JsonPropertyName("relative_attention_max_distance")]
    public int MaxDistance { get; init; } = 128;

    /// <summary>The longest sequence of pre-training, in tokens. Relative positions have no limit of their own.</summary>
    [JsonPropertyName("n_positions")]
    public override int ContextLength { get; init; } = 512;

    /// <summary>ε of the norms.</summary>
    [JsonPropertyName("layer_norm_epsilon")]
    public float NormEpsilon { get; init; } = 1e-6f;

    /// <summary>The activation, with the prefix <c>gated-</c> for gated layers.</summary>
    [JsonPropertyName("feed_forward_proj")]
    public string FeedForwardKind { get; init; } = "relu";

    /// <summary>Every dropout.</summary>
    [JsonPropertyName("dropout_rate")]
    public float Dropout { get; init; } = 0.1f;

    /// <summary>Multiplies the standard deviations of initial weights.</summary>
    [JsonPropertyName("initializer_factor")]
    public float InitializerFactor { get; init; } = 1;

    /// <summary>Divides the decoder's states by √hidden size before the head; null: only for a tied head.</summary>
    [JsonPropertyName("scale_decoder_outputs")]
    public bool? ScaleDecoderOutputs { get; init; }

    /// <summary>The first token of the decoder's input; null means the padding id.</summary>
    [JsonPropertyName("decoder_start_token_id")]
    public int? DecoderStartToken { get; init; }

    /// <summary>The end token of the encoder's and the decoder's sequences; null: none.</summary>
    [JsonPropertyName("eos_token_id")]
    public int? EndToken { get; init; }

    /// <summary>The sentinel tokens of span corruption in order; null if only the tokenizer has them.</summary>
    [JsonPropertyName("sentinel_token_ids")]
    public IReadOnlyList<int>? SentinelTokens { get; init; }

    /// <inheritdoc/>
    public override SpanTokens? SpanTokens => new(PadToken ?? FirstToken, EndToken, SentinelTokens ?? []);

    /// <inheritdoc/>
    public override string TokenTensor => "shared.weight";

    /// <inheritdoc/>
    public override IReadOnlyList<string> IgnoredTensors => ["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight", .. base.IgnoredTensors];

    /// <inheritdoc/>
    public override IReadOnlyDictionary<string, string> TiedCopies => new Dictionary<string, string>(base.TiedCopies)
    {
        ["encoder.embed_tokens.weight"] = TokenTensor,
        ["decoder.embed_tokens.weight"] = TokenTensor,
    };

    /// <inheritdoc/>
    public override IReadOnlyList<string> LoraTargets => ["q", "v"];

    /// <inheritdoc/>
    protected override bool HasPaddingRow => false;

    private bool IsGated => FeedForwardKind.StartsWith(Gated, StringComparison.Ordinal);

    /// <summary>"gated-gelu" is the tanh form, "gelu" the exact one.</summary>
    private string Activation => FeedForwardKind == "gated-gelu" ? "gelu_new" : IsGated ? FeedForwardKind[Gated.Length..] : FeedForwardKind;

    private int FirstToken => DecoderStartToken ?? PadToken ?? 0;

    private bool ScalesOutputs => ScaleDecoderOutputs ?? TieWordEmbeddings;

    /// <summary>The head's own weight does not change how the decoder's states are scaled.</summary>
    public override ModelConfig Untied() => this with { TieWordEmbeddings = false, ScaleDecoderOutputs = ScalesOutputs };

    /// <summary>A padding token is also the decoder's start token.</summary>
    public override ModelConfig WithSpanTokens(SpanTokens tokens, int vocabulary)
    {
        bool isNew = tokens.Padding != (PadToken ?? FirstToken);
        return this with
        {
            VocabularySize = vocabulary,
            PadToken = isNew ? tokens.Padding : PadToken,
            DecoderStartToken = isNew ? tokens.Padding : DecoderStartToken,
            EndToken = tokens.End,
            SentinelTokens = tokens.Sentinels.Count == 0 ? null : tokens.Sentinels,
        };
    }

    /// <inheritdoc/>
    public override TransformerDescription Describe()
    {
        var head = new HeadDescription
        {
            Projection = TieWordEmbeddings ? null : Product("lm_head", 1),
            Scale = ScalesOutputs ? 1 / MathF.Sqrt(HiddenSize) : 1,
        };
        var embedding = new EmbeddingDescription { Tokens = "shared", Dropout = Dropout, StandardDeviation = InitializerFactor };
        TransformerDescription Stack(string name, int layers, bool isDecoder) => new()
        {
            VocabularySize = VocabularySize,
            HiddenSize = HiddenSize,
            MaxPositions = ContextLength,
            IsCausal = isDecoder,
            Embedding = embedding,
            Blocks = [.. Enumerable.Range(0, layers).Select(layer => Block(name, layer, isDecoder))],
            FinalNorm = Norm(name + ".final_layer_norm"),
            FinalDropout = Dropout,
            Head = head,
        };
        return Stack("decoder", DecoderLayers ?? Layers, isDecoder: true) with { Encoder = Stack("encoder", Layers, isDecoder: false), DecoderStartToken = FirstToken };
    }

    /// <inheritdoc/>
    public override ModelConfig Resized(int? vocabulary = null, int? positions = null, int? layers = null, int? heads = null, int? hiddenSize = null, double? dropout = null)
    {
        int count = heads ?? Heads, width = hiddenSize ?? HiddenSize;
        return (T5Config)base.Resized(vocabulary, positions, layers, heads, hiddenSize, dropout) with
        {
            DecoderLayers = DecoderLayers is null ? null : layers ?? DecoderLayers,
            HeadSize = heads is null && hiddenSize is null ? HeadSize : Math.Max(1, (int)((long)HeadSize * Heads * width / HiddenSize / count)),
            IntermediateSize = (int)((long)IntermediateSize * width / HiddenSize),
            Dropout = (float?)dropout ?? Dropout,
        };
    }

    /// <inheritdoc/>
    public override void Check(string source)
    {
        base.Check(source);
        ConfigChecks.Size(source, "d_model", HiddenSize, ConfigChecks.MaxWidth);
        ConfigChecks.Size(source, "d_kv", HeadSize, ConfigChecks.MaxHeadSize);
        ConfigChecks.Size(source, "d_ff", IntermediateSize, ConfigChecks.MaxWidth);
        ConfigChecks.Size(source, "num_layers", Layers, ConfigChecks.MaxLayers);
        ConfigChecks.Size(source, "num_decoder_layers", DecoderLayers ?? 1, ConfigChecks.MaxLayers);
        ConfigChecks.Size(source, "num_heads", Heads, ConfigChecks.MaxWidth);
        if ((long)Heads * HeadSize > ConfigChecks.MaxWidth)
            throw new UserException($"{source}: num_heads = {Heads} heads of {HeadSize} elements are wider than {ConfigChecks.MaxWidth}");
        ConfigChecks.Size(source, "n_positions", ContextLength, ConfigChecks.MaxRows);
        ConfigChecks.Size(source, "relative_attention_num_buckets", Buckets, ConfigChecks.MaxWidth);
        if (Buckets < 4)
            throw new UserException($"{source}: relative_attention_num_buckets = {Buckets}; the encoder has half of them on each side, so there must be at least 4");
        ConfigChecks.Size(source, "relative_attention_max_distance", MaxDistance, ConfigChecks.MaxDistance);
        if (MaxDistance <= Buckets / 2)
            throw new UserException($"{source}: relative_attention_max_distance = {MaxDistance}; it must be above half of the {Buckets} buckets");
        ConfigChecks.Activation(source, $"feed_forward_proj = \"{FeedForwardKind}\", activation", Activation);
        ConfigChecks.Epsilon(source, "layer_norm_epsilon", NormEpsilon);
        ConfigChecks.StandardDeviation(source, "initializer_factor", InitializerFactor);
        ConfigChecks.Dropout(source, "dropout_rate", Dropout);
        if ((uint)FirstToken >= (uint)VocabularySize)
            throw new UserException($"{source}: decoder_start_token_id = {FirstToken} lies outside the vocabulary of {VocabularySize}");
        if (PadToken is { } pad && (uint)pad >= (uint)VocabularySize)
            throw new UserException($"{source}: pad_token_id = {pad} lies outside the vocabulary of {VocabularySize}");
        foreach (int sentinel in SentinelTokens ?? [])
        {
            if ((uint)sentinel >= (uint)VocabularySize)
                throw new UserException($"{source}: sentinel_token_ids has {sentinel}, which lies outside the vocabulary of {VocabularySize}");
        }
    }

    /// <inheritdoc/>
    protected override void ReadOthers(JsonFields fields)
    {
        fields.Only("is_encoder_decoder", value => value.ValueKind == JsonValueKind.True, "a T5 without its decoder is not supported");
        fields.Only("is_decoder", ConfigFields.IsFalse, "a T5 without its encoder is not supported");
        fields.Only("dense_act_fn", value => value.ValueKind == JsonValueKind.String && value.ValueEquals(Activation), $"feed_forward_proj = \"{FeedForwardKind}\" makes it \"{Activation}\"; remove one of the two");
        fields.Only("is_gated_act", value => value.ValueKind == (IsGated ? JsonValueKind.True : JsonValueKind.False), $"feed_forward_proj = \"{FeedForwardKind}\" says otherwise; remove one of the two");
        fields.Ignore("classifier_dropout");
    }

    private BlockDescription Block(string stack, int layer, bool isDecoder)
    {
        string name = $"{stack}.block.{layer}.layer.", last = name + (isDecoder ? 2 : 1);
        return new BlockDescription
        {
            AttentionNorm = Norm(name + "0.layer_norm"),
            Attention = Attention(name + "0.SelfAttention") with
            {
                RelativeBias = new RelativeBiasDescription($"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias", Buckets, MaxDistance)
                {
                    IsBidirectional = !isDecoder,
                    StandardDeviation = InitializerFactor / MathF.Sqrt(HiddenSize),
                },
            },
            AttentionOutputDropout = Dropout,
            CrossAttentionNorm = isDecoder ? Norm(name + "1.layer_norm") : null,
            CrossAttention = isDecoder ? Attention(name + "1.EncDecAttention") : null,
            FeedForwardNorm = Norm(last + ".layer_norm"),
            FeedForward = new FeedForwardDescription
            {
                Activation = Activation,
                IntermediateSize = IntermediateSize,
                Gate = IsGated ? Product(last + ".DenseReluDense.wi_0", 1 / MathF.Sqrt(HiddenSize)) : null,
                Up = Product(last + (IsGated ? ".DenseReluDense.wi_1" : ".DenseReluDense.wi"), 1 / MathF.Sqrt(HiddenSize)),
                Down = Product(last + ".DenseReluDense.wo", 1 / MathF.Sqrt(IntermediateSize)),
                Dropout = Dropout,
            },
            FeedForwardOutputDropout = Dropout,
        };
    }

    /// <summary>Scores are not scaled; the initial query weights are smaller instead.</summary>
    private AttentionDescription Attention(string name) => new()
    {
        Inputs =
        [
            Product(name + ".q", 1 / MathF.Sqrt((float)HiddenSize * HeadSize)), Product(name + ".k", 1 / MathF.Sqrt(HiddenSize)), Product(name + ".v", 1 / MathF.Sqrt(HiddenSize)),
        ],
        Output = Product(name + ".o", 1 / MathF.Sqrt((float)Heads * HeadSize)),
        Heads = Heads,
        KeyHeads = Heads,
        HeadSize = HeadSize,
        Scale = 1,
        Dropout = Dropout,
    };

    private NormDescription Norm(string name) => new(name, NormKind.RmsNorm, NormEpsilon);

    private ProjectionDescription Product(string name, float standardDeviation) => new(name) { StandardDeviation = standardDeviation * InitializerFactor };
}
