using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute;

/// <summary>
/// 8-bit floats for optimizer state, block-wise like 8-bit Adam's (Dettmers et al., ICLR 2022): a code c stands for
/// scale · (1 + f/8) · 2^(e - E) with fraction f (3 bits) and exponent e of c, and 0 for 0; E is 15 with a sign, 31 without. The scale
/// makes the largest code the block's largest magnitude. A linear code would turn small second moments into 0 and steps into
/// leaps; here the relative step is the same over five (nine without a sign) decades.
/// </summary>
public static unsafe class Float8
{
    /// <summary>The value of the largest code, before the scale.</summary>
    public const float Largest = 1.875f;

    /// <summary>Magnitudes below this make a block of zeros: their scale could not be inverted.</summary>
    public const float Smallest = 1e-37f;

    /// <summary>The number of a code, before the scale.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Decode(uint code, bool signed)
    {
        uint magnitude = signed ? code & 127 : code;
        float value = magnitude == 0 ? 0 : BitConverter.UInt32BitsToSingle((magnitude << 20) + Base(signed));
        return signed && code >= 128 ? -value : value;
    }

    /// <summary>The code of a value that was divided by the scale, rounded down or up by random bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint Encode(float value, bool signed, uint random)
    {
        float size = value < 0 ? -value : value;
        uint bits = BitConverter.SingleToUInt32Bits(size), low = Base(signed), most = signed ? 127u : 255u, code;
        if (bits < low + (1u << 20))
        {
            // Between zero and the smallest code.
            code = size * (1f / BitConverter.UInt32BitsToSingle(low + (1u << 20))) > Philox.Unit(random) ? 1u : 0u;
        }
        else
        {
            code = (bits + (random >> 12) >> 20) - (low >> 20);
            code = code < most ? code : most;
        }

        return signed && value < 0 ? code | 128 : code;
    }

    /// <summary>The scale of a block; NaN when a number of the block is not finite.</summary>
    /// <param name="largest">The largest magnitude; infinite when one is NaN.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Scale(float largest) => largest < float.PositiveInfinity ? largest < Smallest ? 0 : largest / Largest : float.NaN;

    /// <summary>The factor of a block's values before <see cref="Encode"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Inverse(float largest) => largest >= Smallest && largest < float.PositiveInfinity ? Largest / largest : 0;

    /// <summary>The magnitude by which <see cref="Scale"/> is chosen: a NaN counts as infinite.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Magnitude(float value)
    {
        float size = value < 0 ? -value : value;
        return size < float.PositiveInfinity ? size : float.PositiveInfinity;
    }

    /// <summary>Widens elements that begin at a block's start.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Widen(byte* source, float* scales, bool signed, Span<float> target)
    {
        for (int i = 0; i < target.Length; i++)
            target[i] = Decode(source[i], signed) * scales[i / DTypes.QuantizedBlock];
    }

    /// <summary>Narrows elements that begin at a block's start; <paramref name="first"/> is the place of the first, for the rounding.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Narrow(ReadOnlySpan<float> source, byte* target, float* scales, bool signed, uint seed, long first)
    {
        for (int start = 0; start < source.Length; start += DTypes.QuantizedBlock)
        {
            ReadOnlySpan<float> block = source.Slice(start, Math.Min(DTypes.QuantizedBlock, source.Length - start));
            float largest = 0;
            foreach (float value in block)
                largest = Math.Max(largest, Magnitude(value));
            float inverse = Inverse(largest);
            scales[start / DTypes.QuantizedBlock] = Scale(largest);
            for (int i = 0; i < block.Length; i++)
            {
                uint random = seed == 0 ? Rounding.Half : Rounding.Bits(seed, first + start + i);
                target[start + i] = (byte)Encode(block[i] * inverse, signed, random);
            }
        }
    }

    /// <summary>The bits of the value that code 0 would have.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static uint Base(bool signed) => (127u - (signed ? 15u : 31u)) << 23;
}
