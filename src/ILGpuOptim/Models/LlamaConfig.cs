using System.Text.Json;
using System.Text.Json.Serialization;
using ILGpuOptim.Files;

namespace ILGpuOptim.Models;

/// <summary>The sizes of a LLaMA, under the names of Hugging Face's <c>config.json</c>.</summary>
public sealed record LlamaConfig : ModelConfig
{
    /// <summary>The largest head, in numbers; each has a table of angles.</summary>
    private const int MostHeadSize = 1 << 16;

    /// <summary>Numbers for each token.</summary>
    [JsonPropertyName("hidden_size")]
    public required int Channels { get; init; }

    /// <summary>The width inside the feed-forward layer.</summary>
    [JsonPropertyName("intermediate_size")]
    public required int Inner { get; init; }

    /// <summary>Layers.</summary>
    [JsonPropertyName("num_hidden_layers")]
    public required int Layers { get; init; }

    /// <summary>Query heads.</summary>
    [JsonPropertyName("num_attention_heads")]
    public required int Heads { get; init; }

    /// <summary>Key and value heads; null means as many as query heads.</summary>
    [JsonPropertyName("num_key_value_heads")]
    public int? KeyHeads { get; init; }

    /// <summary>Numbers per head; null means the channels divided by the query heads.</summary>
    [JsonPropertyName("head_dim")]
    public int? HeadSize { get; init; }

    /// <summary>The longest sequence.</summary>
    [JsonPropertyName("max_position_embeddings")]
    public int ContextLength { get; init; } = 2048;

    /// <summary>Keeps normalisation finite.</summary>
    [JsonPropertyName("rms_norm_eps")]
    public float NormEpsilon { get; init; } = 1e-6f;

    /// <summary>Base of the rotary frequencies; null means 10000, or what <see cref="Scaling"/> says.</summary>
    [JsonPropertyName("rope_theta")]
    public double? RopeTheta { get; init; }

    /// <summary>How the frequencies are stretched; or null.</summary>
    [JsonPropertyName("rope_scaling")]
    public RotaryScaling? RopeScaling { get; init; }

    /// <summary>What newer files have instead of <see cref="RopeTheta"/> and <see cref="RopeScaling"/>; or null.</summary>
    [JsonPropertyName("rope_parameters")]
    public RotaryScaling? RopeParameters { get; init; }

    /// <summary>Only SiLU exists in LLaMA.</summary>
    [JsonPropertyName("hidden_act")]
    public string Activation { get; init; } = "silu";

    /// <summary>Whether attention's projections have biases.</summary>
    [JsonPropertyName("attention_bias")]
    public bool AttentionBias { get; init; }

    /// <summary>Whether the feed-forward products have biases.</summary>
    [JsonPropertyName("mlp_bias")]
    public bool MlpBias { get; init; }

    /// <summary>Dropout of the attention weights.</summary>
    [JsonPropertyName("attention_dropout")]
    public float AttentionDropout { get; init; }

    /// <summary>Whether the head shares the token embedding.</summary>
    [JsonPropertyName("tie_word_embeddings")]
    public bool TieWordEmbeddings { get; init; }

    /// <summary>Standard deviation of fresh weights.</summary>
    [JsonPropertyName("initializer_range")]
    public float InitializerRange { get; init; } = 0.02f;

    /// <summary>What Hugging Face's library looks for.</summary>
    [JsonPropertyName("architectures")]
    public IReadOnlyList<string> Architectures { get; init; } = ["LlamaForCausalLM"];

    /// <inheritdoc/>
    [JsonIgnore]
    public override int Positions => ContextLength;

    /// <inheritdoc/>
    [JsonIgnore]
    public override int Depth => Layers;

    /// <inheritdoc/>
    [JsonIgnore]
    public override int Width => Channels;

    /// <summary>Numbers per head.</summary>
    [JsonIgnore]
    public int SizeOfHead => HeadSize ?? Channels / Heads;

    /// <summary>Key and value heads.</summary>
    [JsonIgnore]
    public int KeyHeadCount => KeyHeads ?? Heads;

    /// <summary>Base of the rotary frequencies; <see cref="RopeParameters"/> win over the older fields, as in Hugging Face's library.</summary>
    [JsonIgnore]
    public double Theta => RopeParameters?.Theta ?? RopeTheta ?? RopeScaling?.Theta ?? 10000;

    /// <summary>How the rotary frequencies are stretched; or null.</summary>
    [JsonIgnore]
    public RotaryScaling? Scaling => RopeParameters ?? RopeScaling;

    /// <summary>Its rotary positions.</summary>
    [JsonIgnore]
    public RotaryDescription Rotary => new(Theta, SizeOfHead, Scaling) { MaxPositions = ContextLength };

    /// <inheritdoc/>
    [JsonIgnore]
    public override int HeadCount => Heads;

    /// <inheritdoc/>
    [JsonIgnore]
    public override string Family => "LLaMA";

    /// <inheritdoc/>
    public override ModelConfig Resized(int? vocabulary = null, int? positions = null, int? layers = null, int? heads = null, int? channels = null, double? dropout = null) => this with
    {
        Vocabulary = vocabulary ?? Vocabulary,
        ContextLength = positions ?? ContextLength,
        Layers = layers ?? Layers,
        Heads = heads ?? Heads,
        KeyHeads = heads is { } count && KeyHeads is { } keys ? Math.Max(1, (int)((long)keys * count / Heads)) : KeyHeads,
        HeadSize = channels is null && heads is null ? HeadSize : null,
        Channels = channels ?? Channels,
        Inner = channels is { } width ? (int)((long)Inner * width / Channels) : Inner,
        AttentionDropout = (float?)dropout ?? AttentionDropout,
    };

    /// <summary>Reads the fields of a LLaMA; <see cref="JsonFields.Finish"/> is left to the caller.</summary>
    internal static LlamaConfig Read(JsonFields fields)
    {
        var config = new LlamaConfig
        {
            Vocabulary = fields.RequiredInt("vocab_size"),
            Channels = fields.RequiredInt("hidden_size"),
            Inner = fields.RequiredInt("intermediate_size"),
            Layers = fields.RequiredInt("num_hidden_layers"),
            Heads = fields.RequiredInt("num_attention_heads"),
            KeyHeads = fields.Int("num_key_value_heads"),
            HeadSize = fields.Int("head_dim"),
            ContextLength = fields.Int("max_position_embeddings") ?? 2048,
            NormEpsilon = fields.Float("rms_norm_eps") ?? 1e-6f,
            RopeTheta = fields.Number("rope_theta"),
            RopeScaling = RotaryScaling.Read(fields.Object("rope_scaling")),
            RopeParameters = RotaryScaling.Read(fields.Object("rope_parameters")),
            Activation = fields.Text("hidden_act") ?? "silu",
            AttentionBias = fields.Flag("attention_bias") ?? false,
            MlpBias = fields.Flag("mlp_bias") ?? false,
            AttentionDropout = fields.Float("attention_dropout") ?? 0,
            TieWordEmbeddings = fields.Flag("tie_word_embeddings") ?? false,
            InitializerRange = fields.Float("initializer_range") ?? 0.02f,
            Architectures = fields.Texts("architectures") ?? ["LlamaForCausalLM"],
            PadToken = fields.Int("pad_token_id"),
            MaskToken = fields.Int("mask_token_id"),
            Others = ConfigFields.Unmodelled(fields),
        };
        ConfigFields.ReadCommon(fields);
        bool slides = fields.Flag("use_sliding_window") ?? true;
        fields.Only("sliding_window", value => !slides || (value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out long window) && window >= config.ContextLength),
            $"attention within a window shorter than max_position_embeddings = {config.ContextLength} is not modelled");
        fields.Only("partial_rotary_factor", ConfigFields.IsOne, "rotary positions for part of a head are not modelled");
        fields.Only("layer_types", value => value.ValueKind == JsonValueKind.Array && value.EnumerateArray().All(layer => layer.ValueKind == JsonValueKind.String && layer.ValueEquals("full_attention")),
            "only layers with full attention are modelled");

        // pretraining_tp splits products into slices with the same sums.
        fields.Harmless("pretraining_tp", "max_window_layers", "max_sequence_length", "is_decoder");
        return config;
    }

    /// <inheritdoc/>
    [JsonIgnore]
    public override IReadOnlyList<string> IgnoredTensors => ["*.rotary_emb.inv_freq"];

    /// <inheritdoc/>
    [JsonIgnore]
    public override IReadOnlyDictionary<string, string> TiedCopies =>
        TieWordEmbeddings ? new Dictionary<string, string> { ["lm_head.weight"] = "model.embed_tokens.weight" } : base.TiedCopies;

    /// <inheritdoc/>
    [JsonIgnore]
    public override IReadOnlyList<string> LoraTargets => ["q_proj", "v_proj"];

    /// <inheritdoc/>
    public override TransformerDescription Describe()
    {
        RotaryDescription rotary = Rotary;
        NormDescription Norm(string name) => new(name, NormKind.RmsNorm, NormEpsilon);
        ProjectionDescription Product(string name, bool bias) => new(name) { HasBias = bias, StandardDeviation = InitializerRange };
        BlockDescription Block(int layer)
        {
            string name = $"model.layers.{layer}.";
            ProjectionDescription Attention(string part) => Product($"{name}self_attn.{part}_proj", AttentionBias);
            ProjectionDescription Mlp(string part) => Product($"{name}mlp.{part}_proj", MlpBias);
            return new BlockDescription
            {
                AttentionNorm = Norm(name + "input_layernorm"),
                Attention = new AttentionDescription
                {
                    Inputs = [Attention("q"), Attention("k"), Attention("v")],
                    Output = Attention("o"),
                    Heads = Heads,
                    KeyHeads = KeyHeadCount,
                    HeadSize = SizeOfHead,
                    Scale = 1 / MathF.Sqrt(SizeOfHead),
                    Rotary = rotary,
                    Dropout = AttentionDropout,
                },
                FeedForwardNorm = Norm(name + "post_attention_layernorm"),
                FeedForward = new FeedForwardDescription { Activation = Activation, IntermediateSize = Inner, Gate = Mlp("gate"), Up = Mlp("up"), Down = Mlp("down") },
            };
        }

        return new TransformerDescription
        {
            VocabularySize = Vocabulary,
            HiddenSize = Channels,
            MaxPositions = ContextLength,
            Embedding = new EmbeddingDescription { Tokens = "model.embed_tokens", PaddingToken = PadToken, StandardDeviation = InitializerRange },
            Blocks = [.. Enumerable.Range(0, Layers).Select(Block)],
            FinalNorm = Norm("model.norm"),
            Head = new HeadDescription { Projection = TieWordEmbeddings ? null : Product("lm_head", false) },
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
        Size(source, "num_key_value_heads", KeyHeadCount, MostWidth);
        Size(source, "max_position_embeddings", ContextLength, MostRows);
        Size(source, "head_dim", HeadSize ?? 1, MostHeadSize);
        if ((long)Heads * SizeOfHead > MostWidth)
            throw new UserException($"{source}: num_attention_heads = {Heads} heads of {SizeOfHead} numbers are wider than {MostWidth}");
        if (HeadSize is null)
            Divides(source, "num_attention_heads", Heads, "hidden_size", Channels);
        Divides(source, "num_key_value_heads", KeyHeadCount, "num_attention_heads", Heads);
        if (SizeOfHead > MostHeadSize)
            throw new UserException($"{source}: heads of {SizeOfHead} numbers are larger than {MostHeadSize}; use more heads, or a smaller head_dim");
        if (SizeOfHead % 2 != 0)
            throw new UserException($"{source}: heads of {SizeOfHead} numbers cannot be rotated in pairs; hidden_size / num_attention_heads, or head_dim, must be even");
        if (Activation is not ("silu" or "swish"))
            throw new UserException($"{source}: hidden_act = \"{Activation}\" is not supported; LLaMA has \"silu\"");
        Epsilon(source, "rms_norm_eps", NormEpsilon);
        Deviation(source, InitializerRange);
        if (!(Theta > 0 && double.IsFinite(Theta)))
            throw new UserException($"{source}: rope_theta = {Theta}; it must be positive");
        if (RopeParameters is not null && RopeScaling is not null && !RopeParameters.Agrees(RopeScaling))
            throw new UserException($"{source}: rope_parameters and rope_scaling contradict each other; remove one of the two");
        if (RopeTheta is { } theta && RopeScaling?.Theta is { } other && theta != other)
            throw new UserException($"{source}: rope_theta = {theta}, but rope_scaling has {other}; remove one of the two");
        if (Scaling?.Part is not (null or 1))
            throw new UserException($"{source}: {(RopeParameters is null ? "rope_scaling" : "rope_parameters")}.partial_rotary_factor = {Scaling.Part}: rotary positions for part of a head are not modelled");
        Scaling?.Check($"{source}: rope_scaling", RotaryScaling.Kinds, SizeOfHead, ContextLength, Theta);
        Dropout(source, "attention_dropout", AttentionDropout);
    }
}
