using System.Text.Json.Serialization;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>The sizes of a LLaMA, under the names of Hugging Face's <c>config.json</c>.</summary>
public sealed record LlamaConfig : ModelConfig
{
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

    /// <summary>Base of the rotary frequencies; null means 10000, or what <see cref="RopeParameters"/> says.</summary>
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

    /// <summary>Base of the rotary frequencies.</summary>
    [JsonIgnore]
    public double Theta => RopeParameters?.Theta ?? RopeTheta ?? 10000;

    /// <summary>How the rotary frequencies are stretched; or null.</summary>
    [JsonIgnore]
    public RotaryScaling? Scaling => RopeParameters ?? RopeScaling;

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

    /// <inheritdoc/>
    public override LanguageModel Create(Initializer initializer) => new Llama(this, initializer);

    /// <inheritdoc/>
    public override void Check(string source)
    {
        Positive(source, "vocab_size", Vocabulary);
        Positive(source, "hidden_size", Channels);
        Positive(source, "intermediate_size", Inner);
        Positive(source, "num_hidden_layers", Layers);
        Positive(source, "num_attention_heads", Heads);
        Positive(source, "num_key_value_heads", KeyHeadCount);
        Positive(source, "max_position_embeddings", ContextLength);
        Positive(source, "head_dim", HeadSize ?? 1);
        if (HeadSize is null)
            Divides(source, "num_attention_heads", Heads, "hidden_size", Channels);
        Divides(source, "num_key_value_heads", KeyHeadCount, "num_attention_heads", Heads);
        if (SizeOfHead % 2 != 0)
            throw new UserException($"{source}: heads of {SizeOfHead} numbers cannot be rotated in pairs; hidden_size / num_attention_heads, or head_dim, must be even");
        if (Activation is not ("silu" or "swish"))
            throw new UserException($"{source}: hidden_act = \"{Activation}\" is not supported; LLaMA has \"silu\"");
        if (!(Theta > 0))
            throw new UserException($"{source}: rope_theta = {Theta}; it must be positive");
        Scaling?.Check(source);
        Dropout(source, "attention_dropout", AttentionDropout);
    }
}
