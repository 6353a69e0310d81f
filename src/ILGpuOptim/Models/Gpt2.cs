using System.Text.Json.Serialization;
using ILGpuOptim.Compute;
using ILGpuOptim.Layers;

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

    /// <summary>Only the tanh form exists in GPT-2.</summary>
    [JsonPropertyName("activation_function")]
    public string ActivationFunction { get; init; } = "gelu_new";

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

    /// <inheritdoc/>
    public override LanguageModel Create(Initializer initializer) => new Gpt2(this, initializer);

    /// <inheritdoc/>
    public override void Check(string source)
    {
        Positive(source, "vocab_size", Vocabulary);
        Positive(source, "n_positions", ContextLength);
        Positive(source, "n_embd", Channels);
        Positive(source, "n_layer", Layers);
        Positive(source, "n_head", Heads);
        Positive(source, "n_inner", Inner ?? 1);
        Divides(source, "n_head", Heads, "n_embd", Channels);
        if (ActivationFunction is not ("gelu_new" or "gelu_pytorch_tanh"))
            throw new UserException($"{source}: activation_function = \"{ActivationFunction}\" is not supported; GPT-2 has \"gelu_new\"");
        if (!TieWordEmbeddings)
            throw new UserException($"{source}: tie_word_embeddings = false is not supported; GPT-2 ties its head");
        Dropout(source, "resid_pdrop", ResidualDropout);
        Dropout(source, "embd_pdrop", EmbeddingDropout);
        Dropout(source, "attn_pdrop", AttentionDropout);
    }
}

/// <summary>
/// GPT-2 (Radford et al., 2019): pre-norm blocks, learned positions, tied head, biases everywhere. Names and layouts
/// are those of Hugging Face's files.
/// </summary>
public sealed class Gpt2 : LanguageModel
{
    private readonly Gpt2Config config;
    private readonly Embedding tokens, positions;
    private readonly Dropout dropout;
    private readonly (LayerNorm First, CausalSelfAttention Attention, LayerNorm Second, Mlp Mlp)[] blocks;
    private readonly LayerNorm last;
    private readonly PositionIds positionIds = new();

    /// <summary>Makes a model with GPT-2's initialisation.</summary>
    public Gpt2(Gpt2Config config, Initializer initializer)
    {
        config.Check("GPT-2");
        this.config = config;
        float deviation = config.InitializerRange, residual = deviation / MathF.Sqrt(2 * config.Layers);
        tokens = Add(new Embedding(initializer, "wte", config.Vocabulary, config.Channels, deviation));
        positions = Add(new Embedding(initializer, "wpe", config.ContextLength, config.Channels, deviation));
        dropout = new Dropout(config.EmbeddingDropout);
        blocks = new (LayerNorm, CausalSelfAttention, LayerNorm, Mlp)[config.Layers];
        for (int i = 0; i < blocks.Length; i++)
        {
            LayerNorm first = Add(new LayerNorm(initializer, $"h.{i}.ln_1", config.Channels, config.LayerNormEpsilon));
            CausalSelfAttention attention = Add(new CausalSelfAttention(initializer, $"h.{i}.attn", config.Channels, config.Heads, deviation, residual, config.AttentionDropout, config.ResidualDropout));
            LayerNorm second = Add(new LayerNorm(initializer, $"h.{i}.ln_2", config.Channels, config.LayerNormEpsilon));
            Mlp mlp = Add(new Mlp(initializer, $"h.{i}.mlp", config.Channels, config.Inner ?? 4 * config.Channels, deviation, residual, config.ResidualDropout));
            blocks[i] = (first, attention, second, mlp);
        }

        last = Add(new LayerNorm(initializer, "ln_f", config.Channels, config.LayerNormEpsilon));
    }

    /// <inheritdoc/>
    public override ModelConfig Config => config;

    /// <inheritdoc/>
    public override IReadOnlyList<string> IgnoredTensors => ["*.attn.bias", "*.attn.masked_bias", "lm_head.weight"];

    /// <inheritdoc/>
    public override IReadOnlyList<string> UsualLoraTargets => ["c_attn"];

    /// <inheritdoc/>
    public override string ModulePrefix => "transformer.";

    /// <inheritdoc/>
    public override Parameter Head => tokens.Weight;

    /// <inheritdoc/>
    public override Tensor Hidden(Tape tape, ReadOnlySpan<int> tokens, int batch)
    {
        int length = LengthOf(tokens, batch);
        Tensor x = positions.Forward(tape, tape.Indices(positionIds.Of(tokens.Length, length)));
        x = dropout.Forward(tape, this.tokens.Forward(tape, tape.Indices(tokens), x));
        foreach (var (first, attention, second, mlp) in blocks)
        {
            x = attention.Forward(tape, first.Forward(tape, x), batch, x);
            x = mlp.Forward(tape, second.Forward(tape, x), x);
        }

        return last.Forward(tape, x);
    }
}
