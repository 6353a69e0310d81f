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

    /// <summary>A number in [0, 1) of 24 bits.</summary>
    public static float Unit(uint word) => (word >> 8) * (1f / 16777216f);
}

/// <summary>What <see cref="Device.Random"/> makes of a counter's four words: elements 4·counter to 4·counter + 3.</summary>
public static class RandomNumbers
{
    /// <summary>Four neighbouring elements.</summary>
    public static void Four(RandomKind kind, float scale, ulong seed, ulong stream, ulong counter, Span<float> target)
    {
        (uint a, uint b, uint c, uint d) = Philox.Generate(seed, stream, counter);
        if (kind == RandomKind.Normal)
        {
            (target[0], target[1]) = Normal(a, b, scale);
            (target[2], target[3]) = Normal(c, d, scale);
            return;
        }

        target[0] = One(kind, scale, a);
        target[1] = One(kind, scale, b);
        target[2] = One(kind, scale, c);
        target[3] = One(kind, scale, d);
    }

    private static float One(RandomKind kind, float scale, uint word) =>
        kind == RandomKind.Uniform ? Philox.Unit(word) * scale : Philox.Unit(word) < scale ? 1 / scale : 0;

    /// <summary>Box and Muller: two normal numbers from two words, the first shifted so that its logarithm is finite.</summary>
    private static (float, float) Normal(uint first, uint second, float scale)
    {
        double radius = scale * Math.Sqrt(-2 * Math.Log(((first >> 8) + 1) * (1.0 / 16777216)));
        (double sin, double cos) = Math.SinCos(2 * Math.PI * ((second >> 8) * (1.0 / 16777216)));
        return ((float)(radius * cos), (float)(radius * sin));
    }
}
