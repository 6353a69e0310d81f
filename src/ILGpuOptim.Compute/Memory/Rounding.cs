using System.Numerics;
using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute;

/// <summary>
/// Random bits for stochastic rounding: a number between two neighbours becomes the upper one with the probability of its
/// place between them, so that many small steps add up on average although each is below half a unit in the last place.
/// </summary>
public static class Rounding
{
    /// <summary>
    /// The bits of an element: a hash of its index and the launch's seed (two rounds of multiply and xor-shift, with constants that Wellons found
    /// by search for the least bias, 2018). Depends on nothing else, so results repeat on every device.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static uint Bits(uint seed, long index)
    {
        uint x = (uint)index + seed * 0x9E3779B9u;
        x ^= x >> 16;
        x *= 0x7FEB352Du;
        x ^= x >> 15;
        x *= 0x846CA68Bu;
        return x ^ x >> 16;
    }

    /// <summary>The bits of adjacent elements from <paramref name="first"/> on; <paramref name="places"/> holds 0, 1, 2, ….</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static Vector<uint> Bits(uint seed, long first, Vector<uint> places)
    {
        Vector<uint> x = places + new Vector<uint>((uint)first + seed * 0x9E3779B9u);
        x ^= x >> 16;
        x *= 0x7FEB352Du;
        x ^= x >> 15;
        x *= 0x846CA68Bu;
        return x ^ x >> 16;
    }

    /// <summary>In place of random bits, rounds to the nearest.</summary>
    public const uint Half = 0x80000000;

    /// <summary>Rounds to the bfloat16 below or above, chosen by random bits. NaN and infinity are kept.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static ushort NarrowBf16(float value, uint random)
    {
        uint bits = BitConverter.SingleToUInt32Bits(value);
        if ((bits & 0x7F800000) == 0x7F800000)
            return (ushort)(bits >> 16 | ((bits & 0x7FFFFF) != 0 ? 0x40u : 0u));
        return (ushort)(bits + (random >> 16) >> 16);
    }
}
