using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace ILGpuOptim.Compute;

/// <summary>bfloat16: the upper half of an f32.</summary>
public static class Bf16
{
    /// <summary>The f32 with the same value.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Widen(ushort value) => BitConverter.UInt32BitsToSingle((uint)value << 16);

    /// <summary>The nearest bfloat16, ties to even; NaN stays NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ushort Narrow(float value)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        if ((bits & 0x7FFFFFFF) > 0x7F800000)
            return (ushort)(bits >> 16 | 0x40);
        return (ushort)(bits + 0x7FFF + (bits >> 16 & 1) >> 16);
    }

    /// <summary>Widens each element.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Widen(ReadOnlySpan<ushort> source, Span<float> target)
    {
        int i = 0;
        Span<uint> bits = MemoryMarshal.Cast<float, uint>(target[..source.Length]);
        ref ushort first = ref MemoryMarshal.GetReference(source);
        ref uint firstBits = ref MemoryMarshal.GetReference(bits);
        for (; Vector512.IsHardwareAccelerated && i <= source.Length - Vector512<ushort>.Count; i += Vector512<ushort>.Count)
        {
            (Vector512<uint> low, Vector512<uint> high) = Vector512.Widen(Vector512.LoadUnsafe(ref first, (nuint)i));
            (low << 16).StoreUnsafe(ref firstBits, (nuint)i);
            (high << 16).StoreUnsafe(ref firstBits, (nuint)(i + Vector512<uint>.Count));
        }

        for (; i <= source.Length - Vector<ushort>.Count; i += Vector<ushort>.Count)
        {
            Vector.Widen(new Vector<ushort>(source[i..]), out Vector<uint> low, out Vector<uint> high);
            (low << 16).CopyTo(bits[i..]);
            (high << 16).CopyTo(bits[(i + Vector<uint>.Count)..]);
        }

        for (; i < source.Length; i++)
            target[i] = Widen(source[i]);
    }

    /// <summary>Narrows each element to the nearest, ties to even.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Narrow(ReadOnlySpan<float> source, Span<ushort> target)
    {
        int i = 0;
        ReadOnlySpan<uint> bits = MemoryMarshal.Cast<float, uint>(source);
        ref uint firstBits = ref MemoryMarshal.GetReference(bits);
        ref ushort first = ref MemoryMarshal.GetReference(target[..source.Length]);
        for (; Vector512.IsHardwareAccelerated && i <= source.Length - Vector512<ushort>.Count; i += Vector512<ushort>.Count)
        {
            Vector512<uint> low = Rounded(Vector512.LoadUnsafe(ref firstBits, (nuint)i)), high = Rounded(Vector512.LoadUnsafe(ref firstBits, (nuint)(i + Vector512<uint>.Count)));
            Vector512.Narrow(low, high).StoreUnsafe(ref first, (nuint)i);
        }

        for (; i <= source.Length - Vector<ushort>.Count; i += Vector<ushort>.Count)
            Vector.Narrow(Rounded(new Vector<uint>(bits[i..])), Rounded(new Vector<uint>(bits[(i + Vector<uint>.Count)..]))).CopyTo(target[i..]);
        for (; i < source.Length; i++)
            target[i] = Narrow(source[i]);
    }

    /// <summary>Narrows each element stochastically (see <see cref="Rounding"/>); <paramref name="first"/> is the place of the first.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Narrow(ReadOnlySpan<float> source, Span<ushort> target, uint seed, long first)
    {
        int i = 0;
        ReadOnlySpan<uint> bits = MemoryMarshal.Cast<float, uint>(source);
        for (; i <= source.Length - Vector<ushort>.Count; i += Vector<ushort>.Count)
        {
            Vector<uint> low = Rounded(new Vector<uint>(bits[i..]), Rounding.Bits(seed, first + i, Vector<uint>.Indices));
            Vector<uint> high = Rounded(new Vector<uint>(bits[(i + Vector<uint>.Count)..]), Rounding.Bits(seed, first + i + Vector<uint>.Count, Vector<uint>.Indices));
            Vector.Narrow(low, high).CopyTo(target[i..]);
        }

        for (; i < source.Length; i++)
            target[i] = Rounding.NarrowBf16(source[i], Rounding.Bits(seed, first + i));
    }

    /// <summary>As <see cref="Rounding.NarrowBf16"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<uint> Rounded(Vector<uint> bits, Vector<uint> random)
    {
        Vector<uint> upper = bits >> 16, exponent = new(0x7F800000);
        Vector<uint> kept = Vector.ConditionalSelect(Vector.Equals(bits & new Vector<uint>(0x7FFFFF), Vector<uint>.Zero), upper, upper | new Vector<uint>(0x40));
        return Vector.ConditionalSelect(Vector.Equals(bits & exponent, exponent), kept, (bits + (random >> 16)) >> 16);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<uint> Rounded(Vector<uint> bits)
    {
        Vector<uint> upper = bits >> 16;
        Vector<uint> rounded = (bits + new Vector<uint>(0x7FFF) + (upper & Vector<uint>.One)) >> 16;
        Vector<uint> nan = Vector.GreaterThan(bits & new Vector<uint>(0x7FFFFFFF), new Vector<uint>(0x7F800000));
        return Vector.ConditionalSelect(nan, upper | new Vector<uint>(0x40), rounded);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<uint> Rounded(Vector512<uint> bits)
    {
        Vector512<uint> upper = bits >> 16;
        Vector512<uint> rounded = (bits + Vector512.Create(0x7FFFu) + (upper & Vector512<uint>.One)) >> 16;
        Vector512<uint> nan = Vector512.GreaterThan(bits & Vector512.Create(0x7FFFFFFFu), Vector512.Create(0x7F800000u));
        return Vector512.ConditionalSelect(nan, upper | Vector512.Create(0x40u), rounded);
    }
}
