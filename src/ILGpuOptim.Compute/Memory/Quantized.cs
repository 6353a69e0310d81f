using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute;

/// <summary>
/// Block-wise 8-bit numbers: byte × scale, scale = largest magnitude of the block / 127 (symmetric, linear).
/// A block of zeros has scale 0; one with NaN or infinity has scale NaN, so that it widens to NaN.
/// </summary>
public static unsafe class Quantized
{
    /// <summary>Widens neighbours of a row that begin at a block's start.</summary>
    /// <param name="source">The bytes.</param>
    /// <param name="scales">The first block's scale.</param>
    /// <param name="target">As long as <paramref name="source"/>.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Widen(ReadOnlySpan<sbyte> source, float* scales, Span<float> target)
    {
        for (int start = 0; start < source.Length; start += DTypes.QuantizedBlock)
        {
            int end = Math.Min(start + DTypes.QuantizedBlock, source.Length);
            float scale = scales[start / DTypes.QuantizedBlock];
            for (int i = start; i < end; i++)
                target[i] = source[i] * scale;
        }
    }

    /// <summary>Quantises neighbours of a row that begin at a block's start, to the nearest, ties to even.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Narrow(ReadOnlySpan<float> source, Span<sbyte> target, float* scales)
    {
        for (int start = 0; start < source.Length; start += DTypes.QuantizedBlock)
        {
            int end = Math.Min(start + DTypes.QuantizedBlock, source.Length);
            float largest = 0;
            for (int i = start; i < end; i++)
            {
                // A NaN counts as infinite, so that no later number hides it.
                largest = Math.Max(largest, Float8.Magnitude(source[i]));
            }

            float scale = float.IsFinite(largest) ? largest / 127f : float.NaN;
            float inverse = scale > 0 ? 127f / largest : 0f;
            scales[start / DTypes.QuantizedBlock] = scale;
            for (int i = start; i < end; i++)
                target[i] = (sbyte)Math.Clamp(MathF.Round(source[i] * inverse), -127f, 127f);
        }
    }
}
