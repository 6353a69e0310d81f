namespace ILGpuOptim.Compute;

/// <summary>Storage types. Arithmetic is always f32 (f64 on the reference device).</summary>
public enum DType
{
    /// <summary>IEEE single precision.</summary>
    F32,

    /// <summary>The upper half of an f32: 8 exponent bits, 7 fraction bits.</summary>
    BF16,

    /// <summary>
    /// Signed bytes, each times its block's f32 scale. A block is up to <see cref="DTypes.QuantizedBlock"/>
    /// neighbours in a row. The bytes of all rows come first (padded to a multiple of four), then the scales, row by row.
    /// </summary>
    I8,

    /// <summary>Signed 32-bit integers: token ids and other indices.</summary>
    I32,

    /// <summary>
    /// Bytes of sign, 4 exponent and 3 fraction bits, relative to the largest magnitude among <see cref="DTypes.QuantizedBlock"/> consecutive
    /// elements; see <see cref="Float8"/>. The scales, f32, come after all bytes (padded to a multiple of four). For optimizer state.
    /// </summary>
    Float8,

    /// <summary>As <see cref="Float8"/> for non-negative values: 5 exponent and 3 fraction bits.</summary>
    UnsignedFloat8,

    /// <summary>
    /// Signed 4-bit integers, each times the f32 scale of its group of 32 neighbours in a row. The codes of all rows come first, each row padded to whole
    /// groups, then the scales, row by row; see <see cref="Int4"/>. Only the second factor of a product (<see cref="GemmArguments.B"/>) reads it: it is
    /// storage of frozen weights.
    /// </summary>
    Int4By32,

    /// <summary>As <see cref="Int4By32"/>, in groups of 64.</summary>
    Int4By64,

    /// <summary>As <see cref="Int4By32"/>, in groups of 128.</summary>
    Int4By128,
}

/// <summary>Sizes of storage types.</summary>
public static class DTypes
{
    /// <summary>The number of adjacent elements of a row that share a scale.</summary>
    public const int QuantizedBlock = 256;

    /// <summary>The bytes of a rows × columns rectangle.</summary>
    public static long Bytes(this DType type, long rows, long columns) => type switch
    {
        DType.F32 or DType.I32 => rows * columns * 4,
        DType.BF16 => rows * columns * 2,
        DType.I8 => QuantizedScales(rows, columns) + rows * ((columns + QuantizedBlock - 1) / QuantizedBlock) * 4,
        DType.Float8 or DType.UnsignedFloat8 => QuantizedScales(rows, columns) + (rows * columns + QuantizedBlock - 1) / QuantizedBlock * 4,
        DType.Int4By32 or DType.Int4By64 or DType.Int4By128 => rows * type.GroupsOf(columns) * (type.GroupOf() / 2 + sizeof(float)),
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "unknown storage type"),
    };

    /// <summary>True if elements share scales, so that a single element cannot be written.</summary>
    public static bool SharesScales(this DType type) => type is DType.I8 or DType.Float8 or DType.UnsignedFloat8 || type.IsInt4();

    /// <summary>True for 4-bit integers.</summary>
    public static bool IsInt4(this DType type) => type >= DType.Int4By32;

    /// <summary>The number of neighbours in a row that share a scale, of 4-bit integers.</summary>
    public static int GroupOf(this DType type) => 32 << (type - DType.Int4By32);

    /// <summary>The number of groups of a row of 4-bit integers.</summary>
    public static long GroupsOf(this DType type, long columns) => (columns + type.GroupOf() - 1) / type.GroupOf();

    /// <summary>True for both 8-bit float types.</summary>
    public static bool IsFloat8(this DType type) => type is DType.Float8 or DType.UnsignedFloat8;

    /// <summary>The offset of the scales of a quantised rectangle, in bytes.</summary>
    public static long QuantizedScales(long rows, long columns) => (rows * columns + 3) & ~3L;
}
