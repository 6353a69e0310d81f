namespace ILGpuOptim.Compute;

/// <summary>
/// The operands of attention. Rows are tokens: query row (b, i) begins at <c>(b · QueryLength + i) · QueryStride</c>
/// and holds Heads heads of HeadSize elements; key and value rows (b, j) begin at <c>(b · KeyCapacity + j) · KeyStride</c>
/// and hold KeyHeads heads. Query head h reads key head h · KeyHeads / Heads. The three may be slices of one
/// packed block, so strides may exceed the row. The four and their gradients are f32 or bf16, all of one type; the other blocks are f32.
/// </summary>
/// <remarks>
/// The last query is aligned with the last key: query i has position p = i + KeyLength - QueryLength among the keys. It attends to one interval of keys,
/// the intersection of <see cref="Causal"/>, <see cref="KeysBefore"/>, <see cref="KeysAfter"/> and <see cref="Ranges"/>; keys that no
/// query of a block attends to are skipped. The score of a key is cap(Scale · q·k) + DistanceBias + KeyBias.
/// </remarks>
public readonly record struct AttentionArguments(Block Query, Block Key, Block Value, Block Output)
{
    /// <summary>Independent sequences.</summary>
    public required int Batch { get; init; }

    /// <summary>Query heads.</summary>
    public required int Heads { get; init; }

    /// <summary>Key and value heads; divides <see cref="Heads"/>.</summary>
    public required int KeyHeads { get; init; }

    /// <summary>Elements per head.</summary>
    public required int HeadSize { get; init; }

    /// <summary>Query tokens of each sequence.</summary>
    public required int QueryLength { get; init; }

    /// <summary>Key tokens of each sequence.</summary>
    public required int KeyLength { get; init; }

    /// <summary>Key rows from one sequence to the next; 0 means <see cref="KeyLength"/>. A cache has more rows than it uses.</summary>
    public int KeyCapacity { get; init; }

    /// <summary>Elements from one query row to the next.</summary>
    public required int QueryStride { get; init; }

    /// <summary>Elements from one key or value row to the next.</summary>
    public required int KeyStride { get; init; }

    /// <summary>Elements from one output row to the next; its heads are adjacent.</summary>
    public required int OutputStride { get; init; }

    /// <summary>Elements from one query head to the next within a row; 0 means <see cref="HeadSize"/>.</summary>
    public int QueryHeadStride { get; init; }

    /// <summary>Elements from one key or value head to the next within a row; 0 means <see cref="HeadSize"/>.</summary>
    public int KeyHeadStride { get; init; }

    /// <summary>Query i attends to keys up to its position only, as with <see cref="KeysAfter"/> = 0, which it overrides.</summary>
    public bool Causal { get; init; }

    /// <summary>A query at position p attends to key j only if j ≥ p - KeysBefore. Null: no limit.</summary>
    public int? KeysBefore { get; init; }

    /// <summary>A query at position p attends to key j only if j ≤ p + KeysAfter. Null: no limit.</summary>
    public int? KeysAfter { get; init; }

    /// <summary>
    /// I32, Batch × QueryLength × 2: the first key of query (b, i) and the end of its keys, such as those of its document; within 0 to
    /// <see cref="KeyLength"/>. Neither may decrease from one query of a sequence to the next. Null: no limit.
    /// </summary>
    public Block? Ranges { get; init; }

    /// <summary>How queries, keys and values are multiplied.</summary>
    public Precision Precision { get; init; }

    /// <summary>Multiplies the products q·k, usually 1/√HeadSize.</summary>
    public required float Scale { get; init; }

    /// <summary>Scaled products s become cap · tanh(s / cap), before biases and masks. 0: none.</summary>
    public float SoftCap { get; init; }

    /// <summary>
    /// F32, <see cref="Distances"/> × Heads, added to the scores: row j - p + KeyLength - 1 = j - i + QueryLength - 1 belongs to the pairs of query i and key j,
    /// so that row 0 is a distance j - p of 1 - KeyLength and the last one of QueryLength - 1. Null: none.
    /// </summary>
    public Block? DistanceBias { get; init; }

    /// <summary>
    /// Log-sum-exp of the scores of each (b, h, i), Batch × Heads × QueryLength; written forward, read backward. Null when no gradient follows.
    /// A query without keys gets +∞, so that its weights are exp(-∞) = 0 backward; its output is zero.
    /// </summary>
    public Block? LogSumExp { get; init; }

    /// <summary>One number per key (b, j), Batch × KeyLength, added to its scores: 0 or a large negative number. Null: every key counts.</summary>
    public Block? KeyBias { get; init; }

    /// <summary>The probability with which attention weights are dropped.</summary>
    public float Dropout { get; init; }

    /// <summary>
    /// Seed and stream of the dropout. Weight (b, h, i, j) is multiplied by element ((b · Heads + h) · QueryLength + i) · KeyLength + j
    /// of the <see cref="RandomKind.KeepMask"/> that <see cref="Device.Random"/> generates with 1 - <see cref="Dropout"/>.
    /// </summary>
    public ulong Seed { get; init; }

    /// <inheritdoc cref="Seed"/>
    public ulong Stream { get; init; }

    /// <summary>Rows of <see cref="DistanceBias"/>: QueryLength + KeyLength - 1.</summary>
    public long Distances => Math.Max(0, (long)QueryLength + KeyLength - 1);

    /// <summary>Elements from one query head to the next.</summary>
    internal int QueryHeadStep => QueryHeadStride == 0 ? HeadSize : QueryHeadStride;

    /// <summary>Elements from one key or value head to the next.</summary>
    internal int KeyHeadStep => KeyHeadStride == 0 ? HeadSize : KeyHeadStride;

    /// <summary>A limit that no sequence reaches.</summary>
    internal const long NoLimit = 1L << 40;

    /// <summary>The number of keys before its position that a query attends to.</summary>
    internal long Before => KeysBefore ?? NoLimit;

    /// <summary>The number of keys after its position that a query attends to.</summary>
    internal long After => Causal ? 0 : KeysAfter ?? NoLimit;
}

/// <summary>The gradients that attention's backward pass reads and writes; layouts and strides are those of the forward operands.</summary>
/// <param name="Output">The gradient of the output; laid out as the output.</param>
/// <param name="Query">Receives the gradient of the queries.</param>
/// <param name="Key">Receives the gradient of the keys.</param>
/// <param name="Value">Receives the gradient of the values.</param>
public readonly record struct AttentionGradients(Block Output, Block Query, Block Key, Block Value)
{
    /// <summary>Receives the gradient of <see cref="AttentionArguments.DistanceBias"/>, summed over sequences and queries; null when it is not wanted.</summary>
    public Block? DistanceBias { get; init; }
}

/// <summary>
/// The operands of a rotation. Each row of the target holds Heads heads, and maybe others behind or between them; the
/// first half x and the second half y of a head's first RotatedSize elements become x cos - y sin and y cos + x sin. Other elements stay.
/// </summary>
/// <param name="Target">Rows × Stride, f32 or bf16, rotated in place.</param>
/// <param name="Angles">f32, rows × RotatedSize: RotatedSize / 2 cosines, then as many sines.</param>
public readonly record struct RotationArguments(Block Target, Block Angles)
{
    /// <summary>Tokens.</summary>
    public required int Rows { get; init; }

    /// <summary>Heads that are rotated.</summary>
    public required int Heads { get; init; }

    /// <summary>Elements per head.</summary>
    public required int HeadSize { get; init; }

    /// <summary>The number of rotated elements of a head, its first ones; even. By default <see cref="HeadSize"/>.</summary>
    public int RotatedSize { get => field == 0 ? HeadSize : field; init; }

    /// <summary>Elements from one row of the target to the next.</summary>
    public required int Stride { get; init; }

    /// <summary>Elements from one head to the next within a row. By default <see cref="HeadSize"/>.</summary>
    public int HeadStride { get => field == 0 ? HeadSize : field; init; }

    /// <summary>Rotates by the negative angles: the inverse, which is also the gradient.</summary>
    public bool Inverse { get; init; }
}
