namespace ILGpuOptim.Files;

/// <summary>One tensor of a safetensors file.</summary>
/// <param name="Type">The format's name of the element type, such as <c>F32</c>.</param>
/// <param name="Shape">The shape; empty for a scalar.</param>
/// <param name="Offset">The offset of its bytes from the start of the data.</param>
/// <param name="Bytes">The size in bytes.</param>
public sealed record SafetensorsEntry(string Type, IReadOnlyList<long> Shape, long Offset, long Bytes)
{
    /// <summary>The number of elements.</summary>
    public long Length { get; } = Shape.Aggregate(1L, (product, size) => product * size);

    /// <summary>The number of bits per element; 0 for an unknown type.</summary>
    public static int BitsOf(string type) => type switch
    {
        "C64" or "F64" or "I64" or "U64" => 64,
        "F32" or "I32" or "U32" => 32,
        "F16" or "BF16" or "I16" or "U16" => 16,
        "F8_E4M3" or "F8_E5M2" or "F8_E8M0" or "I8" or "U8" or "BOOL" => 8,
        "F6_E2M3" or "F6_E3M2" => 6,
        "F4" => 4,
        _ => 0,
    };

    /// <summary>The size of a tensor in bytes; null if the type is unknown, the shape overflows, or the size is not a whole number of bytes.</summary>
    internal static long? BytesOf(string type, IEnumerable<long> shape)
    {
        UInt128 bits = (UInt128)BitsOf(type);
        if (bits == 0)
            return null;
        foreach (long size in shape)
        {
            if (size < 0 || (bits *= (UInt128)size) > long.MaxValue)
                return null;
        }

        return bits % 8 == 0 ? (long)(bits / 8) : null;
    }
}
