namespace ILGpuOptim.Compute;

/// <summary>The operands of a matrix product C[m,n] = alpha · op(A)[m,k] · op(B)[k,n] + beta · C, all row-major.</summary>
/// <param name="A">m×k, or k×m when <see cref="TransposeA"/>.</param>
/// <param name="B">k×n, or n×k when <see cref="TransposeB"/>.</param>
/// <param name="C">m×n, f32.</param>
/// <param name="M">Rows of C.</param>
/// <param name="N">Columns of C.</param>
/// <param name="K">The summed dimension. When 0, C becomes beta · C.</param>
public readonly record struct GemmArguments(Block A, Block B, Block C, int M, int N, int K)
{
    /// <summary>A is stored k×m.</summary>
    public bool TransposeA { get; init; }

    /// <summary>B is stored n×k.</summary>
    public bool TransposeB { get; init; }

    /// <summary>Multiplies the product.</summary>
    public float Alpha { get; init; } = 1;

    /// <summary>Multiplies the old C; when 0 the old C is not read (it may hold NaN).</summary>
    public float Beta { get; init; }

    /// <summary>Elements from one stored row of A to the next; 0 means packed.</summary>
    public int StrideA { get; init; }

    /// <summary>Elements from one stored row of B to the next; 0 means packed.</summary>
    public int StrideB { get; init; }

    /// <summary>Elements from one row of C to the next; 0 means packed.</summary>
    public int StrideC { get; init; }

    /// <summary>How many products; matrices of a batch lie <c>BatchStride</c> elements apart.</summary>
    public int Batch { get; init; } = 1;

    /// <summary>Elements from one A to the next (0: the same A for all).</summary>
    public long BatchStrideA { get; init; }

    /// <summary>Elements from one B to the next (0: the same B for all).</summary>
    public long BatchStrideB { get; init; }

    /// <summary>Elements from one C to the next.</summary>
    public long BatchStrideC { get; init; }
}

/// <summary>
/// The operands of attention. Rows are tokens: query row (b, i) begins at <c>(b · QueryLength + i) · QueryStride</c>
/// and holds Heads × HeadSize numbers; key and value rows (b, j) begin at <c>(b · KeyCapacity + j) · KeyStride</c>
/// and hold KeyHeads × HeadSize. Query head h reads key head h · KeyHeads / Heads. The three may be parts of one
/// packed block, so strides may exceed the row.
/// </summary>
public readonly record struct AttentionArguments(Block Query, Block Key, Block Value, Block Output)
{
    /// <summary>Independent sequences.</summary>
    public required int Batch { get; init; }

    /// <summary>Query heads.</summary>
    public required int Heads { get; init; }

    /// <summary>Key and value heads; divides <see cref="Heads"/>.</summary>
    public required int KeyHeads { get; init; }

    /// <summary>Numbers per head.</summary>
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

    /// <summary>Elements from one output row to the next.</summary>
    public required int OutputStride { get; init; }

    /// <summary>Query i sees keys up to i + KeyLength - QueryLength.</summary>
    public bool Causal { get; init; }

    /// <summary>Multiplies the scores, usually 1/√HeadSize.</summary>
    public required float Scale { get; init; }

    /// <summary>
    /// Log-sum-exp of the scores of each (b, h, i), Batch × Heads × QueryLength; written forward, read backward. Null when no gradient follows.
    /// A query that sees no key gets +∞, so that its weights come out as exp(-∞) = 0 backward; its output is zero.
    /// </summary>
    public Block? LogSumExp { get; init; }

    /// <summary>One number per key (b, j), Batch × KeyLength, added to its scores: 0 or a large negative number. Null: every key counts.</summary>
    public Block? KeyBias { get; init; }

    /// <summary>The probability with which attention weights are dropped.</summary>
    public float Dropout { get; init; }

    /// <summary>
    /// Seed and stream of the dropout. Weight (b, h, i, j) is multiplied by element ((b · Heads + h) · QueryLength + i) · KeyLength + j
    /// of what <see cref="Device.Random"/> draws as <see cref="RandomKind.KeepMask"/> with 1 - <see cref="Dropout"/>.
    /// </summary>
    public ulong Seed { get; init; }

    /// <inheritdoc cref="Seed"/>
    public ulong Stream { get; init; }
}

/// <summary>What attention's backward pass reads and writes; layouts and strides are those of the forward operands.</summary>
/// <param name="Output">The gradient of the output; laid out as the output.</param>
/// <param name="Query">Receives the gradient of the queries.</param>
/// <param name="Key">Receives the gradient of the keys.</param>
/// <param name="Value">Receives the gradient of the values.</param>
public readonly record struct AttentionGradients(Block Output, Block Query, Block Key, Block Value);

/// <summary>
/// The operands of a rotation. Each row of the target holds Heads × HeadSize numbers, and maybe others behind them; the
/// first half x and the second half y of a head become x cos - y sin and y cos + x sin.
/// </summary>
/// <param name="Target">Rows × Stride, f32, rotated in place.</param>
/// <param name="Angles">Rows × HeadSize: HeadSize / 2 cosines, then as many sines.</param>
public readonly record struct RotationArguments(Block Target, Block Angles)
{
    /// <summary>Tokens.</summary>
    public required int Rows { get; init; }

    /// <summary>Heads that are rotated.</summary>
    public required int Heads { get; init; }

    /// <summary>Numbers per head, even.</summary>
    public required int HeadSize { get; init; }

    /// <summary>Elements from one row of the target to the next.</summary>
    public required int Stride { get; init; }

    /// <summary>Turns the other way: the inverse, and the gradient.</summary>
    public bool Backwards { get; init; }
}
