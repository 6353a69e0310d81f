using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>Settings of attention; see <see cref="AttentionOp"/>.</summary>
public sealed record AttentionSettings
{
    /// <summary>Query heads.</summary>
    public required int Heads { get; init; }

    /// <summary>Key and value heads, a divisor of <see cref="Heads"/>; 0 means as many.</summary>
    public int KeyHeads { get; init; }

    /// <summary>Elements per head; 0: derived from the operands' columns.</summary>
    public int HeadSize { get; init; }

    /// <summary>Multiplies the scores; null means 1 / √size.</summary>
    public float? Scale { get; init; }

    /// <summary>A query sees no keys after its own position. With more keys than queries, the last query stands at the last key.</summary>
    public bool Causal { get; init; }

    /// <summary>The number of keys before its own position that a query sees; null: all.</summary>
    public int? KeysBefore { get; init; }

    /// <summary>The number of keys after its own position that a query sees; null: all. Causal attention sees none.</summary>
    public int? KeysAfter { get; init; }

    /// <summary>Scores s become cap · tanh(s / cap) before biases and masks; 0: none.</summary>
    public float SoftCap { get; init; }

    /// <summary>The probability of dropping a weight while training.</summary>
    public float Dropout { get; init; }

    /// <summary>batch × key length, added to the scores of each key; null: none.</summary>
    public Block? KeyBias { get; init; }

    /// <summary>batch × query length × 2, I32: the first key and the end of the keys that each query may see, as <see cref="AttentionArguments.Ranges"/> has them; null: all.</summary>
    public Block? Ranges { get; init; }

    /// <summary>
    /// (query length + key length - 1) × heads, added to the scores by distance as <see cref="AttentionArguments.DistanceBias"/> has them: row j - i + query
    /// length - 1 belongs to query i and key j. Receives a gradient. Null: none.
    /// </summary>
    public Tensor? DistanceBias { get; init; }

    /// <summary>
    /// (batch · length) × <see cref="RotatedSize"/>: the cosines and sines of each row's position by which queries and keys are rotated
    /// (RoPE; Su et al., 2021), as <see cref="RotationArguments"/> has them; null: none.
    /// </summary>
    public Block? Angles { get; init; }

    /// <summary>The number of leading elements of a head that <see cref="Angles"/> rotate; 0: all.</summary>
    public int RotatedSize { get; init; }

    /// <summary>The order of queries, keys and values in a packed operand.</summary>
    public PackedOrder Order { get; init; }

    /// <summary>
    /// Rotates a packed operand itself instead of a copy, which saves its memory. The caller must own the operand: nothing else may read it, and only
    /// one operation may take it.
    /// </summary>
    internal bool RotatesInPlace { get; init; }

    /// <summary>Checks the scalars.</summary>
    /// <exception cref="ArgumentOutOfRangeException">A scalar lies outside its range.</exception>
    internal void Check()
    {
        Scalars.AtLeast(AttentionOp.Name, 0, HeadSize);
        Scalars.Finite(AttentionOp.Name, Scale ?? 1, name: nameof(Scale));
        Scalars.AtLeast(AttentionOp.Name, 0, KeysBefore ?? 0, nameof(KeysBefore));
        Scalars.AtLeast(AttentionOp.Name, 0, KeysAfter ?? 0, nameof(KeysAfter));
        Scalars.NotNegative(AttentionOp.Name, SoftCap);
        Scalars.Probability(AttentionOp.Name, Dropout);
        Scalars.AtLeast(AttentionOp.Name, 0, RotatedSize);
    }
}
