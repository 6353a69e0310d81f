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

    /// <summary>The number of products; matrices of a batch are <c>BatchStride</c> elements apart.</summary>
    public int Batch { get; init; } = 1;

    /// <summary>Elements from one A to the next (0: the same A for all).</summary>
    public long BatchStrideA { get; init; }

    /// <summary>Elements from one B to the next (0: the same B for all).</summary>
    public long BatchStrideB { get; init; }

    /// <summary>Elements from one C to the next.</summary>
    public long BatchStrideC { get; init; }
}
