namespace ILGpuOptim.Files;

/// <summary>The element types of GGUF tensors that are read and written; the values are those of the format.</summary>
public enum GgufType
{
    /// <summary>32-bit floats.</summary>
    F32 = 0,

    /// <summary>16-bit floats of IEEE 754.</summary>
    F16 = 1,

    /// <summary>Blocks of 32 values: a 16-bit scale and 4 bits for each value.</summary>
    Q4_0 = 2,

    /// <summary>Blocks of 32 values: a 16-bit scale and 8 bits for each value.</summary>
    Q8_0 = 8,

    /// <summary>The upper 16 bits of 32-bit floats.</summary>
    BF16 = 30,
}

/// <summary>The layout of <see cref="GgufType"/>.</summary>
internal static class GgufTypes
{
    /// <summary>Names of the format's types, by number; only those of <see cref="GgufType"/> are read.</summary>
    private static readonly Dictionary<uint, string> Names = new()
    {
        [0] = "F32", [1] = "F16", [2] = "Q4_0", [3] = "Q4_1", [6] = "Q5_0", [7] = "Q5_1", [8] = "Q8_0", [9] = "Q8_1", [10] = "Q2_K", [11] = "Q3_K", [12] = "Q4_K", [13] = "Q5_K",
        [14] = "Q6_K", [15] = "Q8_K", [16] = "IQ2_XXS", [17] = "IQ2_XS", [18] = "IQ3_XXS", [19] = "IQ1_S", [20] = "IQ4_NL", [21] = "IQ3_S", [22] = "IQ2_S", [23] = "IQ4_XS", [24] = "I8",
        [25] = "I16", [26] = "I32", [27] = "I64", [28] = "F64", [29] = "IQ1_M", [30] = "BF16", [34] = "TQ1_0", [35] = "TQ2_0", [39] = "MXFP4",
    };

    /// <summary>The name of a type's number.</summary>
    public static string NameOf(uint type) => Names.GetValueOrDefault(type, $"number {type}");

    /// <summary>Values of a block; rows are whole blocks.</summary>
    public static int BlockOf(GgufType type) => type is GgufType.Q4_0 or GgufType.Q8_0 ? GgufBlocks.Values : 1;

    /// <summary>Bytes of a block.</summary>
    public static int BytesOf(GgufType type) => type switch
    {
        GgufType.F32 => 4,
        GgufType.Q4_0 => 2 + GgufBlocks.Values / 2,
        GgufType.Q8_0 => 2 + GgufBlocks.Values,
        _ => 2,
    };

    /// <summary>Bytes of values in whole blocks.</summary>
    public static long BytesOf(GgufType type, long values) => values / BlockOf(type) * BytesOf(type);
}
