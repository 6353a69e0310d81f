using System.Numerics;
using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute;

/// <summary>
/// Block-wise 8-bit values: byte × scale, scale = largest magnitude of the block / 127 (symmetric, linear).
/// A block of zeros has scale 0; one with NaN or infinity has scale NaN, so that it widens to NaN.
/// </summary>
public static unsafe class Quantized
{
    /// <summary>Widens adjacent elements of a row.</summary>
    /// <param name="source">The bytes.</param>
    /// <param name="scales">The scales of the row's blocks.</param>
    /// <param name="column">The place of the first byte in its row.</param>
    /// <param name="target">As long as <paramref name="source"/>.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Widen(ReadOnlySpan<sbyte> source, float* scales, long column, Span<float> target)
    {
        for (int i = 0; i < source.Length;)
        {
            long block = (column + i) / DTypes.QuantizedBlock;
            int end = (int)Math.Min(source.Length, (block + 1) * DTypes.QuantizedBlock - column);
            float scale = scales[block];
            for (; i <= end - Vector<sbyte>.Count; i += Vector<sbyte>.Count)
            {
                Vector.Widen(new Vector<sbyte>(source[i..]), out Vector<short> low, out Vector<short> high);
                Widen(low, scale, target[i..]);
                Widen(high, scale, target[(i + Vector<short>.Count)..]);
            }

            for (; i < end; i++)
                target[i] = source[i] * scale;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Widen(Vector<short> source, float scale, Span<float> target)
    {
        Vector.Widen(source, out Vector<int> low, out Vector<int> high);
        (Vector.ConvertToSingle(low) * scale).CopyTo(target);
        (Vector.ConvertToSingle(high) * scale).CopyTo(target[Vector<int>.Count..]);
    }

    /// <summary>
    /// Quantises neighbours of a row that begin at a block's start: to the nearest, ties to even, when <paramref name="seed"/> is 0; else to
    /// the number below or above, as <see cref="Rounding"/> draws for places from <paramref name="first"/> on.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Narrow(ReadOnlySpan<float> source, Span<sbyte> target, float* scales, uint seed, long first)
    {
        for (int start = 0; start < source.Length; start += DTypes.QuantizedBlock)
        {
            ReadOnlySpan<float> block = source.Slice(start, Math.Min(DTypes.QuantizedBlock, source.Length - start));
            float largest = Largest(block), inverse = Inverse(largest);
            scales[start / DTypes.QuantizedBlock] = Scale(largest);
            Span<sbyte> codes = target.Slice(start, block.Length);
            if (seed == 0)
            {
                for (int i = 0; i < block.Length; i++)
                    codes[i] = (sbyte)Math.Clamp(MathF.Round(block[i] * inverse), -127f, 127f);
            }
            else
            {
                Narrow(block, codes, inverse, seed, first + start);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Narrow(ReadOnlySpan<float> source, Span<sbyte> target, float inverse, uint seed, long first)
    {
        int i = 0, width = Vector<float>.Count;
        for (; i <= source.Length - 4 * width; i += 4 * width)
        {
            Vector<short> low = Vector.Narrow(Codes(source[i..], inverse, seed, first + i), Codes(source[(i + width)..], inverse, seed, first + i + width));
            Vector<short> high = Vector.Narrow(Codes(source[(i + 2 * width)..], inverse, seed, first + i + 2 * width), Codes(source[(i + 3 * width)..], inverse, seed, first + i + 3 * width));
            Vector.Narrow(low, high).CopyTo(target[i..]);
        }

        for (; i < source.Length; i++)
            target[i] = (sbyte)Code(source[i] * inverse, Rounding.Bits(seed, first + i));
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<int> Codes(ReadOnlySpan<float> source, float inverse, uint seed, long first)
    {
        Vector<uint> random = Rounding.Bits(seed, first, Vector<uint>.Indices) >> 8;
        Vector<float> place = Vector.ConvertToSingle(Vector.AsVectorInt32(random)) * (1f / 16777216f);
        Vector<float> code = Vector.Floor(new Vector<float>(source) * inverse + place);
        return Vector.ConvertToInt32(Vector.Min(Vector.Max(code, new Vector<float>(-127f)), new Vector<float>(127f)));
    }

    /// <summary>The code below or above a number that was multiplied by <see cref="Inverse"/>, chosen by random bits.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static int Code(float value, uint random)
    {
        float moved = value + Philox.Unit(random);
        int code = (int)moved;
        code = moved < code ? code - 1 : code;
        return code > 127 ? 127 : code < -127 ? -127 : code;
    }

    /// <summary>The scale of a block; NaN when a number of the block is not finite.</summary>
    /// <param name="largest">The largest magnitude; infinite when one is NaN.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Scale(float largest) => largest < float.PositiveInfinity ? largest < Float8.Smallest ? 0 : largest / 127f : float.NaN;

    /// <summary>The factor of a block's values before rounding.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Inverse(float largest) => largest >= Float8.Smallest && largest < float.PositiveInfinity ? 127f / largest : 0f;

    /// <summary>The largest magnitude; a NaN counts as infinite, so that no later number hides it.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float Largest(ReadOnlySpan<float> block)
    {
        Vector<float> largest = default, infinite = new(float.PositiveInfinity);
        int i = 0;
        for (; i <= block.Length - Vector<float>.Count; i += Vector<float>.Count)
        {
            Vector<float> size = Vector.Abs(new Vector<float>(block[i..]));
            largest = Vector.Max(largest, Vector.ConditionalSelect(Vector.LessThan(size, infinite), size, infinite));
        }

        float result = 0;
        for (int k = 0; k < Vector<float>.Count; k++)
            result = Math.Max(result, largest[k]);
        for (; i < block.Length; i++)
            result = Math.Max(result, Float8.Magnitude(block[i]));
        return result;
    }
}
