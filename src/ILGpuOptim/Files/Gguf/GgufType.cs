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
    /// <summary>Names of the format's types, by number; - where there is none. Only those of <see cref="GgufType"/> are read.</summary>
    private static readonly string[] Names =
        ("F32 F16 Q4_0 Q4_1 - - Q5_0 Q5_1 Q8_0 Q8_1 Q2_K Q3_K Q4_K Q5_K Q6_K Q8_K IQ2_XXS IQ2_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ2_S IQ4_XS I8 I16 I32 I64 F64 IQ1_M BF16 "
        + "- - - TQ1_0 TQ2_0 - - - MXFP4").Split(' ');

    /// <summary>The name of a type's number.</summary>
    public static string NameOf(uint type) => type < Names.Length && Names[type] != "-" ? Names[type] : $"number {type}";

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
