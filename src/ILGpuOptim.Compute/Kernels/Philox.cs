using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute;

/// <summary>
/// Philox 4×32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011): four
/// random words from a counter and a key, with no state.
/// </summary>
public static class Philox
{
    /// <summary>The words of one counter. The key is the seed; the counter's upper half is the stream.</summary>
    public static (uint A, uint B, uint C, uint D) Generate(ulong seed, ulong stream, ulong counter)
    {
        uint a = (uint)counter, b = (uint)(counter >> 32), c = (uint)stream, d = (uint)(stream >> 32);
        uint k0 = (uint)seed, k1 = (uint)(seed >> 32);
        for (int round = 0; round < 10; round++)
        {
            ulong left = 0xD2511F53UL * a, right = 0xCD9E8D57UL * c;
            a = (uint)(right >> 32) ^ b ^ k0;
            b = (uint)right;
            c = (uint)(left >> 32) ^ d ^ k1;
            d = (uint)left;
            k0 += 0x9E3779B9;
            k1 += 0xBB67AE85;
        }

        return (a, b, c, d);
    }

    /// <summary>A number in [0, 1) of 24 bits. Converted as a signed number: compilers convert unsigned ones by way of <c>double</c>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static float Unit(uint word) => (int)(word >> 8) * (1f / 16777216f);
}

/// <summary>Elements 4·counter to 4·counter + 3 of <see cref="Device.Random"/>, from the four words of a counter.</summary>
public static class RandomNumbers
{
    /// <summary>Four adjacent elements.</summary>
    public static void Four(RandomKind kind, float scale, ulong seed, ulong stream, ulong counter, Span<float> target)
    {
        (uint a, uint b, uint c, uint d) = Philox.Generate(seed, stream, counter);
        if (kind == RandomKind.Normal)
        {
            Normal(a, b, scale, out target[0], out target[1]);
            Normal(c, d, scale, out target[2], out target[3]);
            return;
        }

        target[0] = One(kind, scale, Philox.Unit(a));
        target[1] = One(kind, scale, Philox.Unit(b));
        target[2] = One(kind, scale, Philox.Unit(c));
        target[3] = One(kind, scale, Philox.Unit(d));
    }

    /// <summary>An element of a kind that takes one word, given the word as a number in [0, 1).</summary>
    internal static float One(RandomKind kind, float scale, float unit) =>
        kind == RandomKind.Uniform ? unit * scale : unit < scale ? 1 / scale : 0;

    /// <summary>
    /// Box and Muller: two normal variates of standard deviation <paramref name="scale"/> from two uniform ones in [0, 1), the first plus 2⁻²⁴ so
    /// that its logarithm is finite. Every step is rounded once, so all devices generate the same values.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Normal<L>(L first, L second, L scale, out L x, out L y) where L : struct, ILane<L>
    {
        L radius = scale * L.Sqrt(L.Splat(-2f) * L.Log(first + L.Splat(1f / 16777216f)));
        LaneMath.SinCosTurns(second, out L sin, out L cos);
        x = radius * cos;
        y = radius * sin;
    }

    private static void Normal(uint first, uint second, float scale, out float x, out float y)
    {
        Normal(new F1(Philox.Unit(first)), new F1(Philox.Unit(second)), new F1(scale), out F1 left, out F1 right);
        (x, y) = (left.Value, right.Value);
    }
}
