using System.Text.Json;
using System.Text.Json.Serialization;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;

namespace ILGpuOptim.Models;

/// <summary>
/// The fields and names that LLaMA and its relatives share: pre-norm blocks with RMSNorm, rotary positions, grouped-query attention and gated
/// feed-forward layers. A family's record sets its defaults in the constructor and overrides what differs.
/// </summary>
public abstract record DecoderConfig : SizedConfig
{
    /// <summary>The value in <see cref="LayerTypes"/> of a layer with full attention.</summary>
    protected const string FullAttention = "full_attention";

    /// <summary>The value in <see cref="LayerTypes"/> of a layer with a sliding window.</summary>
    protected const string SlidingAttention = "sliding_attention";

    /// <summary>Key and value heads; null means as many as query heads.</summary>
    [JsonPropertyName("num_key_value_heads")]
    public int? KeyHeads { get; init; }

    /// <summary>The head size; null: the hidden size divided by the query heads.</summary>
    [JsonPropertyName("head_dim")]
    public int? HeadSize { get; init; }

    /// <summary>ε of the norms.</summary>
    [JsonPropertyName("rms_norm_eps")]
    public float NormEpsilon { get; init; } = 1e-6f;

    /// <summary>The base of the rotary frequencies; null: that of the other fields, or the family's.</summary>
    [JsonPropertyName("rope_theta")]
    public double? RopeTheta { get; init; }

    /// <summary>The scaling of the rotary frequencies; or null.</summary>
    [JsonPropertyName("rope_scaling")]
    public RotaryScaling? RopeScaling { get; init; }

    /// <summary>Replaces <see cref="RopeTheta"/> and <see cref="RopeScaling"/> in newer files; or null.</summary>
    [JsonPropertyName("rope_parameters")]
    public RotaryParameters? RopeParameters { get; init; }

    /// <summary>full_attention or sliding_attention for each layer; null means the family's rule. Only families with <see cref="HasLayerKinds"/> may differ from that.</summary>
    [JsonPropertyName("layer_types")]
    public IReadOnlyList<string>? LayerTypes { get; init; }

    /// <summary>The activation of the feed-forward layers.</summary>
    [JsonPropertyName("hidden_act")]
    public virtual string Activation { get; init; } = "silu";

    /// <summary>Dropout of the attention weights.</summary>
    [JsonPropertyName("attention_dropout")]
    public float AttentionDropout { get; init; }

    /// <summary>The head size.</summary>
    public int SizeOfHead => HeadSize ?? HiddenSize / Heads;

    internal override int HeadWidth => SizeOfHead;

    /// <summary>Key and value heads.</summary>
    public int KeyHeadCount => KeyHeads ?? Heads;

    /// <inheritdoc/>
    public override string TokenTensor => "model.embed_tokens.weight";

    /// <inheritdoc/>
    public override string BasePrefix => "model.";

    /// <inheritdoc/>
    public override IReadOnlyList<string> LoraTargets => ["q_proj", "v_proj"];

    /// <summary>The name of the activation's field.</summary>
    protected virtual string ActivationField => "hidden_act";

    /// <summary>Enables biases of the query, key and value projections.</summary>
    protected virtual bool HasInputBias => false;

    /// <summary>Enables the bias of the attention output projection.</summary>
    protected virtual bool HasOutputBias => HasInputBias;

    /// <summary>Enables biases of the feed-forward projections.</summary>
    protected virtual bool HasMlpBias => false;

    /// <summary>The window of sliding layers in tokens, the query's own included; null: all layers have full attention.</summary>
    protected virtual int? Window => null;

    /// <summary>True if <see cref="LayerTypes"/> decides which layers have a sliding window; false: all layers have it, or none.</summary>
    protected virtual bool HasLayerKinds => false;

    /// <summary>True if a layer has a sliding window by the family's rule, which holds if there is a window and no <see cref="LayerTypes"/>.</summary>
    /// <param name="layer">Counted from 0.</param>
    protected virtual bool SlidesByRule(int layer) => true;

    /// <summary>True if a layer has a sliding window.</summary>
    /// <param name="layer">Counted from 0.</param>
    protected bool Slides(int layer) => Window is not null && (LayerTypes is { } types ? types[layer] == SlidingAttention : SlidesByRule(layer));

    /// <summary>The scale of the attention scores.</summary>
    protected virtual float ScoreScale => 1 / MathF.Sqrt(SizeOfHead);

    /// <summary>The rotary fields of layers with or without a sliding window.</summary>
    private protected virtual RotaryFields Rotary(bool slides) => new(RopeParameters, RopeScaling) { TopTheta = RopeTheta };

    /// <inheritdoc/>
    public override TransformerDescription Describe() => new()
    {
        VocabularySize = VocabularySize,
        HiddenSize = HiddenSize,
        MaxPositions = ContextLength,
        Embedding = Embedding(),
        Blocks = [.. Enumerable.Range(0, Layers).Select(Block)],
        FinalNorm = Norm("model.norm"),
        Head = new HeadDescription { Projection = TieWordEmbeddings ? null : Product("lm_head", hasBias: false) },
    };

    /// <summary>The token embedding.</summary>
    protected virtual EmbeddingDescription Embedding() => new() { Tokens = "model.embed_tokens", PaddingToken = PaddingRow, StandardDeviation = InitializerRange };

    /// <summary>A layer.</summary>
    /// <param name="layer">Counted from 0.</param>
    protected virtual BlockDescription Block(int layer) => new()
    {
        AttentionNorm = Norm(NameOf(layer) + "input_layernorm"),
        Attention = Attention(layer),
        FeedForwardNorm = Norm(NameOf(layer) + "post_attention_layernorm"),
        FeedForward = FeedForward(layer),
    };

    /// <summary>A layer's attention.</summary>
    /// <param name="layer">Counted from 0.</param>
    protected virtual AttentionDescription Attention(int layer)
    {
        string name = NameOf(layer) + "self_attn.";
        bool slides = Slides(layer);
        return new AttentionDescription
        {
            Inputs = [Product(name + "q_proj", HasInputBias), Product(name + "k_proj", HasInputBias), Product(name + "v_proj", HasInputBias)],
            Output = Product(name + "o_proj", HasOutputBias),
            Heads = Heads,
            KeyHeads = KeyHeadCount,
            HeadSize = SizeOfHead,
            Scale = ScoreScale,
            KeysBefore = slides ? Window - 1 : null,
            Rotary = Rotary(slides).Describe(SizeOfHead, ContextLength),
            Dropout = AttentionDropout,
        };
    }

    /// <summary>A layer's feed-forward part.</summary>
    /// <param name="layer">Counted from 0.</param>
    protected virtual FeedForwardDescription FeedForward(int layer) => new()
    {
        Activation = Activation,
        IntermediateSize = IntermediateSize,
        Gate = Product(NameOf(layer) + "mlp.gate_proj", HasMlpBias),
        Up = Product(NameOf(layer) + "mlp.up_proj", HasMlpBias),
        Down = Product(NameOf(layer) + "mlp.down_proj", HasMlpBias),
    };

    /// <summary>A norm with the family's formula.</summary>
    protected virtual NormDescription Norm(string name) => new(name, NormKind.RmsNorm, NormEpsilon);

    /// <summary>A product with the family's initialisation.</summary>
    protected ProjectionDescription Product(string name, bool hasBias) => new(name) { HasBias = hasBias, StandardDeviation = InitializerRange };

    /// <summary>The prefix of a layer's tensor names.</summary>
    protected static string NameOf(int layer) => $"model.layers.{layer}.";

    /// <inheritdoc/>
    public override ModelConfig Resized(int? vocabulary = null, int? positions = null, int? layers = null, int? heads = null, int? hiddenSize = null, double? dropout = null)
    {
        int count = heads ?? Heads, width = hiddenSize ?? HiddenSize;
        bool isReshaped = HeadSize is not null && (heads is not null || hiddenSize is not null);
        return (DecoderConfig)base.Resized(vocabulary, positions, layers, heads, hiddenSize, dropout) with
        {
            LayerTypes = LayerList.Repeated(LayerTypes, layers ?? Layers),
            KeyHeads = KeyHeads is { } keys ? Math.Max(1, (int)((long)keys * count / Heads)) : null,
            HeadSize = isReshaped ? (width % count == 0 ? width / count : null) : HeadSize,
            AttentionDropout = (float?)dropout ?? AttentionDropout,
        };
    }

    /// <inheritdoc/>
    public override void Check(string source)
    {
        base.Check(source);
        ConfigChecks.Size(source, "num_key_value_heads", KeyHeadCount, ConfigChecks.MaxWidth);
        ConfigChecks.Size(source, "head_dim", HeadSize ?? 1, ConfigChecks.MaxHeadSize);
        if ((long)Heads * SizeOfHead > ConfigChecks.MaxWidth)
            throw new UserException($"{source}: num_attention_heads = {Heads} heads of {SizeOfHead} elements are wider than {ConfigChecks.MaxWidth}");
        if (HeadSize is null)
            ConfigChecks.Divides(source, "num_attention_heads", Heads, "hidden_size", HiddenSize);
        ConfigChecks.Divides(source, "num_key_value_heads", KeyHeadCount, "num_attention_heads", Heads);
        if (SizeOfHead > ConfigChecks.MaxHeadSize)
            throw new UserException($"{source}: heads of {SizeOfHead} elements are larger than {ConfigChecks.MaxHeadSize}; use more heads, or a smaller head_dim");
        ConfigChecks.Activation(source, ActivationField, Activation);
        ConfigChecks.Epsilon(source, "rms_norm_eps", NormEpsilon);
        ConfigChecks.Dropout(source, "attention_dropout", AttentionDropout);
        if (Window is { } window)
            ConfigChecks.Size(source, "sliding_window", window, int.MaxValue);
        ConfigChecks.PerLayer(source, "layer_types", LayerTypes, Layers, FullAttention, SlidingAttention);
        if (Window is null && LayerTypes?.Contains(SlidingAttention) == true)
            throw new UserException($"{source}: layer_types has \"{SlidingAttention}\", but no window is set; the family needs sliding_window (and use_sliding_window where it has that), or all layers must be \"{FullAttention}\"");
        if (!HasLayerKinds && LayerTypes?.Any(type => type == SlidingAttention != Window is not null) == true)
            throw new UserException($"{source}: layer_types has \"{FullAttention}\" beside sliding_window = {Window}, but every layer of this family has the window; remove layer_types");
        CheckRotary(source);
    }

    /// <summary>Checks the fields of rotary positions.</summary>
    private protected virtual void CheckRotary(string source) => Rotary(slides: false).Check(source, SizeOfHead, ContextLength);

    /// <inheritdoc/>
    protected override void ReadOthers(JsonFields fields)
    {
        // pretraining_tp splits products into slices with the same sums.
        fields.Ignore("pretraining_tp", "max_window_layers", "max_sequence_length", "is_decoder");
        Only(fields, "attention_bias", ConfigFields.IsFalse, "biases of attention are not supported for this family");
        Only(fields, "mlp_bias", ConfigFields.IsFalse, "biases of the feed-forward layers are not supported for this family");
        Only(fields, "partial_rotary_factor", ConfigFields.IsOne, "rotary positions for part of a head are not supported for this family");
    }

    /// <summary>Refuses a field at other values, unless a property of the family has it.</summary>
    private static void Only(JsonFields fields, string name, Func<JsonElement, bool> supported, string meaning)
    {
        if (!fields.IsRead(name))
            fields.Only(name, supported, meaning);
    }
}
