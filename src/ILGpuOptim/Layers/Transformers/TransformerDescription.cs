using ILGpuOptim.Ops;

namespace ILGpuOptim.Layers;

/// <summary>
/// The architecture of a transformer, from which <c>Transformer</c> builds the model of any family. It comes from
/// <c>ModelConfig.Describe</c>, where a family's configuration translates the fields of its <c>config.json</c>; to change an architecture,
/// override that method.
/// </summary>
public sealed record TransformerDescription
{
    /// <summary>The vocabulary size.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>The hidden size: the elements of each token's vector in the residual stream.</summary>
    public required int HiddenSize { get; init; }

    /// <summary>The longest sequence, in tokens.</summary>
    public required int MaxPositions { get; init; }

    /// <summary>Enables causal self-attention and next-token prediction. A bidirectional model predicts masked tokens instead.</summary>
    public bool IsCausal { get; init; } = true;

    /// <summary>From token ids to the residual stream.</summary>
    public required EmbeddingDescription Embedding { get; init; }

    /// <summary>The layers, first to last.</summary>
    public required IReadOnlyList<BlockDescription> Blocks { get; init; }

    /// <summary>The norm after the last block; null where there is none.</summary>
    public NormDescription? FinalNorm { get; init; }

    /// <summary>Dropout after the final norm.</summary>
    public float FinalDropout { get; init; }

    /// <summary>From hidden states to logits.</summary>
    public required HeadDescription Head { get; init; }

    /// <summary>
    /// The encoder whose hidden states the blocks' cross-attention reads; null for a decoder-only or encoder-only model. It shares this
    /// description's embedding; only its blocks, final norm and final dropout are read.
    /// </summary>
    public TransformerDescription? Encoder { get; init; }

    /// <summary>The first token of the decoder's input; null without an encoder.</summary>
    public int? DecoderStartToken { get; init; }

    /// <summary>The coefficient of the routers' load-balancing loss in the training loss; 0: none.</summary>
    public float RouterLossCoefficient { get; init; }
}

/// <summary>From token ids to the residual stream: norm(scale · token + position + segment), then dropout.</summary>
public sealed record EmbeddingDescription
{
    /// <summary>The name of the token table without <c>.weight</c>.</summary>
    public required string Tokens { get; init; }

    /// <summary>Multiplies token vectors; the tied head reads the table itself.</summary>
    public float Scale { get; init; } = 1;

    /// <summary>Learned positions; null where there are none.</summary>
    public PositionTableDescription? Positions { get; init; }

    /// <summary>The name of the segment table; null where there is none.</summary>
    public string? Segments { get; init; }

    /// <summary>Rows of the segment table.</summary>
    public int SegmentCount { get; init; }

    /// <summary>Normalises the sum; or null.</summary>
    public NormDescription? Norm { get; init; }

    /// <summary>Dropout of the result.</summary>
    public float Dropout { get; init; }

    /// <summary>The id whose lookups pass no gradient to the table and whose row starts at zero; null where there is none.</summary>
    public int? PaddingToken { get; init; }

    /// <summary>The standard deviation of initial weights.</summary>
    public float StandardDeviation { get; init; } = 0.02f;

    /// <summary>Truncates the normal distribution of initial weights at ± this many standard deviations; null: no truncation.</summary>
    public float? Truncation { get; init; }
}

/// <summary>A table of learned positions.</summary>
/// <param name="Name">Its name without <c>.weight</c>.</param>
/// <param name="Rows">Its rows.</param>
/// <param name="PaddingToken">
/// Null: positions are 0, 1, … of each sequence. Otherwise RoBERTa's: a token's position is this id plus the count of other ids up to it; that of this id is the id itself.
/// </param>
public sealed record PositionTableDescription(string Name, int Rows, int? PaddingToken = null);

/// <summary>The way in which a block adds its branches to the residual stream x.</summary>
public enum ResidualKind
{
    /// <summary>x += post(branch(pre(x))), attention first.</summary>
    Sequential,

    /// <summary>Both branches read the same x: x += attention(norm(x)) + feed-forward(norm'(x)).</summary>
    Parallel,

    /// <summary>x = post(x + branch(x)), as BERT.</summary>
    NormAfterSum,
}

/// <summary>A layer: attention and a feed-forward part, each with optional norms before and after it.</summary>
public sealed record BlockDescription
{
    /// <summary>The way in which branches are added to the residual stream.</summary>
    public ResidualKind Residual { get; init; }

    /// <summary>Before attention; null: none.</summary>
    public NormDescription? AttentionNorm { get; init; }

    /// <summary>Self-attention.</summary>
    public required AttentionDescription Attention { get; init; }

    /// <summary>After attention: of the branch, or of the sum for <see cref="ResidualKind.NormAfterSum"/>; null: none.</summary>
    public NormDescription? AttentionOutputNorm { get; init; }

    /// <summary>Before cross-attention.</summary>
    public NormDescription? CrossAttentionNorm { get; init; }

    /// <summary>Attention to an encoder's states; null: none.</summary>
    public AttentionDescription? CrossAttention { get; init; }

    /// <summary>Before the feed-forward part; null: none.</summary>
    public NormDescription? FeedForwardNorm { get; init; }

    /// <summary>The feed-forward part.</summary>
    public required FeedForwardDescription FeedForward { get; init; }

    /// <summary>After the feed-forward part; see <see cref="AttentionOutputNorm"/>.</summary>
    public NormDescription? FeedForwardOutputNorm { get; init; }

    /// <summary>Dropout of attention's branches before they are added.</summary>
    public float AttentionOutputDropout { get; init; }

    /// <summary>Dropout of the feed-forward branch before it is added.</summary>
    public float FeedForwardOutputDropout { get; init; }
}

/// <summary>Kinds of normalisation.</summary>
public enum NormKind
{
    /// <summary>(x - mean) / √(variance + ε) · weight + bias.</summary>
    LayerNorm,

    /// <summary>x / √(mean(x²) + ε) · weight.</summary>
    RmsNorm,
}

/// <summary>A normalisation of rows.</summary>
/// <param name="Name">Its name without <c>.weight</c>.</param>
/// <param name="Kind">Its formula.</param>
/// <param name="Epsilon">ε.</param>
public sealed record NormDescription(string Name, NormKind Kind, float Epsilon)
{
    /// <summary>A bias, only for layer norms.</summary>
    public bool HasBias { get; init; }

    /// <summary>The factor is 1 + weight, with weights that start at zero (Gemma).</summary>
    public bool AddsOne { get; init; }
}

/// <summary>A matrix product with a weight of the model's file.</summary>
/// <param name="Name">Its name without <c>.weight</c>.</param>
public sealed record ProjectionDescription(string Name)
{
    /// <summary>A bias.</summary>
    public bool HasBias { get; init; }

    /// <summary>The weight is stored inputs × outputs (GPT-2); otherwise outputs × inputs.</summary>
    public bool InputsFirst { get; init; }

    /// <summary>The standard deviation of initial weights.</summary>
    public float StandardDeviation { get; init; } = 0.02f;

    /// <summary>Truncates the normal distribution of initial weights at ± this many standard deviations; null: no truncation.</summary>
    public float? Truncation { get; init; }
}

/// <summary>Scaled dot-product attention with its projections.</summary>
public sealed record AttentionDescription
{
    /// <summary>Three projections, of queries, keys and values, or one that packs them.</summary>
    public required IReadOnlyList<ProjectionDescription> Inputs { get; init; }

    /// <summary>The order within a single packed projection.</summary>
    public PackedOrder Order { get; init; }

    /// <summary>The output projection.</summary>
    public required ProjectionDescription Output { get; init; }

    /// <summary>Query heads.</summary>
    public required int Heads { get; init; }

    /// <summary>Key and value heads; divides <see cref="Heads"/>.</summary>
    public required int KeyHeads { get; init; }

    /// <summary>The head size.</summary>
    public required int HeadSize { get; init; }

    /// <summary>Multiplies the scores.</summary>
    public required float Scale { get; init; }

    /// <summary>Scores s become cap · tanh(s / cap); null: none.</summary>
    public float? SoftCap { get; init; }

    /// <summary>The number of keys before its own position that a query attends to; null: all.</summary>
    public int? KeysBefore { get; init; }

    /// <summary>The number of keys after its own position that a query of a bidirectional model attends to; null: all. Causal models attend to none.</summary>
    public int? KeysAfter { get; init; }

    /// <summary>The norm of queries, applied before rotation; null: none.</summary>
    public NormDescription? QueryNorm { get; init; }

    /// <summary>The norm of keys, applied before rotation; null: none.</summary>
    public NormDescription? KeyNorm { get; init; }

    /// <summary>True if <see cref="QueryNorm"/> and <see cref="KeyNorm"/> act on each head, with weights of the head size; false: on the whole projection.</summary>
    public bool NormsHeads { get; init; } = true;

    /// <summary>Rotary positions; null: none.</summary>
    public RotaryDescription? Rotary { get; init; }

    /// <summary>A learned bias by distance; null: none. Blocks of one stack that name the same table share it.</summary>
    public RelativeBiasDescription? RelativeBias { get; init; }

    /// <summary>Dropout of the attention weights.</summary>
    public float Dropout { get; init; }
}

/// <summary>Rotary positions: pairs (k, k + n/2) of the first n coordinates of a head are rotated by position · frequency.</summary>
/// <param name="Theta">The base of the frequencies.</param>
/// <param name="Size">n, even, at most the head's size; the other coordinates pass unchanged.</param>
/// <param name="Scaling">The scaling of the frequencies; null: none.</param>
public sealed record RotaryDescription(double Theta, int Size, RotaryScaling? Scaling = null)
{
    /// <summary>max_position_embeddings, which dynamic and longrope scaling read.</summary>
    public required int MaxPositions { get; init; }
}

/// <summary>T5's bias by distance: a table of buckets × heads.</summary>
/// <param name="Name">The table's name without <c>.weight</c>.</param>
/// <param name="Buckets">Its rows.</param>
/// <param name="MaxDistance">Distances from this one on share the last bucket.</param>
public sealed record RelativeBiasDescription(string Name, int Buckets, int MaxDistance)
{
    /// <summary>Half of the buckets are for keys after the query.</summary>
    public bool IsBidirectional { get; init; }

    /// <summary>The standard deviation of initial weights.</summary>
    public float StandardDeviation { get; init; } = 0.02f;
}

/// <summary>down(activation(up x)), or down(activation(gate x) ∘ up x), or a mixture of such experts.</summary>
public sealed record FeedForwardDescription
{
    /// <summary>The activation's name as <c>config.json</c> has it; see <see cref="ActivationNames"/>.</summary>
    public required string Activation { get; init; }

    /// <summary>The intermediate size.</summary>
    public required int IntermediateSize { get; init; }

    /// <summary>The gate of a gated layer; null: plain, or packed with <see cref="Up"/>.</summary>
    public ProjectionDescription? Gate { get; init; }

    /// <summary>The first product. With <see cref="IsPacked"/> its first half of outputs is the gate, the second is up.</summary>
    public required ProjectionDescription Up { get; init; }

    /// <summary><see cref="Up"/> holds the gate too (Phi-3, ModernBERT).</summary>
    public bool IsPacked { get; init; }

    /// <summary>The second product.</summary>
    public required ProjectionDescription Down { get; init; }

    /// <summary>Dropout between the two products.</summary>
    public float Dropout { get; init; }

    /// <summary>A mixture of experts of this shape; null: one dense layer. Each projection's name then contains <c>{e}</c> for the expert's number.</summary>
    public ExpertsDescription? Experts { get; init; }
}

/// <summary>A mixture of experts (Shazeer et al., 2017; Jiang et al., "Mixtral of experts", 2024).</summary>
/// <param name="Count">The number of experts.</param>
/// <param name="PerToken">The number of experts per token.</param>
/// <param name="Router">The router's projection.</param>
public sealed record ExpertsDescription(int Count, int PerToken, ProjectionDescription Router)
{
    /// <summary>Normalises the weights of a token's experts to a sum of 1.</summary>
    public bool NormalizesWeights { get; init; }

    /// <summary>In training x is multiplied by uniform noise in [1 - jitter, 1 + jitter] before router and experts.</summary>
    public float Jitter { get; init; }

    /// <summary>The name of a file's tensor that packs all experts' gates and ups, experts × 2 · intermediate × hidden; null: files have none.</summary>
    public string? PackedGateUp { get; init; }

    /// <summary>The name of a file's tensor that packs all experts' downs, experts × hidden × intermediate; null: files have none.</summary>
    public string? PackedDown { get; init; }
}

/// <summary>From hidden states to logits: cap(scale · (transform(x) · weight + bias)).</summary>
public sealed record HeadDescription
{
    /// <summary>The projection's own weight; null: the token table is the weight (tied).</summary>
    public ProjectionDescription? Projection { get; init; }

    /// <summary>The full name of a bias that is added to the logits; null: none.</summary>
    public string? Bias { get; init; }

    /// <summary>Multiplies the hidden states before the product.</summary>
    public float Scale { get; init; } = 1;

    /// <summary>Logits z become cap · tanh(z / cap); null: none.</summary>
    public float? SoftCap { get; init; }

    /// <summary>A layer before the head of masked language models; null: none.</summary>
    public HeadTransformDescription? Transform { get; init; }
}

/// <summary>norm(activation(x W + b)).</summary>
/// <param name="Dense">The product.</param>
/// <param name="Activation">The activation's name as <c>config.json</c> has it.</param>
/// <param name="Norm">The norm.</param>
public sealed record HeadTransformDescription(ProjectionDescription Dense, string Activation, NormDescription Norm);
