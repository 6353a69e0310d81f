namespace ILGpuOptim.Compute;

/// <summary>How products and attention multiply. Sums are always f32.</summary>
/// <remarks>
/// Only devices with tensor cores distinguish the three. Elsewhere all are <see cref="F32"/>: operands are multiplied as they are stored, so an operand
/// in bf16 is exact and one in f32 is not rounded.
/// </remarks>
public enum Precision
{
    /// <summary>32-bit floats.</summary>
    F32,

    /// <summary>f32 storage; factors are rounded to 10 bits of fraction where the device has such units.</summary>
    TF32,

    /// <summary>Factors are rounded to bf16 where the device has such units.</summary>
    BF16,
}

/// <summary>The operands of a matrix product C[m,n] = alpha · op(A)[m,k] · op(B)[k,n] + beta · C, all row-major.</summary>
/// <param name="A">m×k, or k×m when <see cref="TransposeA"/>.</param>
/// <param name="B">k×n, or n×k when <see cref="TransposeB"/>. Only this factor can be stored in 4 bits.</param>
/// <param name="C">m×n, f32 or bf16. A bf16 result is rounded once, to the nearest, after the epilogue.</param>
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

    /// <summary>How factors are multiplied.</summary>
    public Precision Precision { get; init; }

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
