using System.Buffers.Binary;
using System.Runtime.InteropServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Files;

/// <summary>
/// Converts f32 values to the types of GGUF and back, as ggml's reference does. Q8_0: scale d = max |x| / 127, codes round(x / d), halves away from
/// zero. Q4_0: d = m / -8 for the value m of the largest magnitude, codes min(15, ⌊x / d + 8.5⌋), values (code - 8) · d; the first half of a block is in
/// the low halves of its bytes. Codes are computed with the unrounded d.
/// </summary>
internal static class GgufBlocks
{
    /// <summary>Values of a quantized block.</summary>
    public const int Values = 32;

    /// <summary>Converts values; their number is one of whole blocks.</summary>
    public static void Encode(GgufType type, ReadOnlySpan<float> source, Span<byte> target)
    {
        int bytes = GgufTypes.BytesOf(type);
        switch (type)
        {
            case GgufType.F32:
                for (int i = 0; i < source.Length; i++)
                    BinaryPrimitives.WriteSingleLittleEndian(target[(4 * i)..], source[i]);
                break;
            case GgufType.F16:
                for (int i = 0; i < source.Length; i++)
                    BinaryPrimitives.WriteHalfLittleEndian(target[(2 * i)..], (Half)source[i]);
                break;
            case GgufType.BF16:
                for (int i = 0; i < source.Length; i++)
                    BinaryPrimitives.WriteUInt16LittleEndian(target[(2 * i)..], Bf16.Narrow(source[i]));
                break;
            default:
                for (int block = 0; block < source.Length / Values; block++)
                {
                    ReadOnlySpan<float> values = source.Slice(block * Values, Values);
                    if (type == GgufType.Q8_0)
                        EncodeQ8(values, target.Slice(block * bytes, bytes));
                    else
                        EncodeQ4(values, target.Slice(block * bytes, bytes));
                }

                break;
        }
    }

    /// <summary>Converts values back to f32.</summary>
    public static void Decode(GgufType type, ReadOnlySpan<byte> source, Span<float> target)
    {
        int bytes = GgufTypes.BytesOf(type);
        switch (type)
        {
            case GgufType.F32:
                for (int i = 0; i < target.Length; i++)
                    target[i] = BinaryPrimitives.ReadSingleLittleEndian(source[(4 * i)..]);
                break;
            case GgufType.F16:
                for (int i = 0; i < target.Length; i++)
                    target[i] = (float)BinaryPrimitives.ReadHalfLittleEndian(source[(2 * i)..]);
                break;
            case GgufType.BF16:
                Bf16.Widen(MemoryMarshal.Cast<byte, ushort>(source)[..target.Length], target);
                break;
            default:
                for (int block = 0; block < target.Length / Values; block++)
                {
                    ReadOnlySpan<byte> packed = source.Slice(block * bytes, bytes);
                    Span<float> values = target.Slice(block * Values, Values);
                    float scale = (float)BinaryPrimitives.ReadHalfLittleEndian(packed);
                    for (int i = 0; i < Values; i++)
                    {
                        int code = type == GgufType.Q8_0 ? (sbyte)packed[2 + i]
                            : (i < Values / 2 ? packed[2 + i] & 15 : packed[2 + i - Values / 2] >> 4) - 8;
                        values[i] = code * scale;
                    }
                }

                break;
        }
    }

    private static void EncodeQ8(ReadOnlySpan<float> values, Span<byte> target)
    {
        float largest = 0;
        foreach (float value in values)
            largest = Math.Max(largest, Math.Abs(value));
        float scale = largest / 127, inverse = scale == 0 ? 0 : 1 / scale;
        BinaryPrimitives.WriteHalfLittleEndian(target, (Half)scale);
        for (int i = 0; i < Values; i++)
            target[2 + i] = (byte)(sbyte)MathF.Round(values[i] * inverse, MidpointRounding.AwayFromZero);
    }

    private static void EncodeQ4(ReadOnlySpan<float> values, Span<byte> target)
    {
        float largest = 0;
        foreach (float value in values)
        {
            if (Math.Abs(value) > Math.Abs(largest))
                largest = value;
        }

        float scale = largest / -8, inverse = scale == 0 ? 0 : 1 / scale;
        BinaryPrimitives.WriteHalfLittleEndian(target, (Half)scale);
        for (int i = 0; i < Values / 2; i++)
            target[2 + i] = (byte)(Code(values[i]) | Code(values[i + Values / 2]) << 4);

        int Code(float value) => Math.Min(15, (int)(value * inverse + 8.5f));
    }
}
