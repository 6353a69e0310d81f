namespace ILGpuOptim.Compute;

/// <summary>How numbers are stored. Arithmetic is always f32 (f64 in the reference device).</summary>
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
}

/// <summary>Sizes of stored numbers.</summary>
public static class DTypes
{
    /// <summary>How many neighbours in a row share a scale in <see cref="DType.I8"/>.</summary>
    public const int QuantizedBlock = 256;

    /// <summary>The bytes of a rows × columns rectangle.</summary>
    public static long Bytes(this DType type, long rows, long columns) => type switch
    {
        DType.F32 or DType.I32 => rows * columns * 4,
        DType.BF16 => rows * columns * 2,
        DType.I8 => QuantizedScales(rows, columns) + rows * ((columns + QuantizedBlock - 1) / QuantizedBlock) * 4,
        _ => throw new ArgumentOutOfRangeException(nameof(type), type, "unknown storage type"),
    };

    /// <summary>Where the scales of a quantised rectangle begin, in bytes.</summary>
    public static long QuantizedScales(long rows, long columns) => (rows * columns + 3) & ~3L;
}
