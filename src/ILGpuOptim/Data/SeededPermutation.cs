using ILGpuOptim.Compute;

namespace ILGpuOptim.Data;

/// <summary>
/// Random permutations of the integers below any count, computed element by element without storing them: the swap-or-not
/// shuffle (Hoang, Morris and Rogaway, "An enciphering scheme based on a card shuffle", CRYPTO 2012). A round pairs x with
/// k − x (modulo the count) for a random k, and swaps the pairs whose random bit is 1; every round is a permutation, so all of
/// them together are. The keys of the rounds are <see cref="Philox"/>'s random numbers; the bit of a pair is a mix of the pair and a key (the
/// finalizer of SplitMix64: Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014).
/// </summary>
/// <remarks>Not thread-safe: the keys of the last permutation are cached. Results do not depend on the order of calls.</remarks>
/// <param name="seed">The seed of the permutations.</param>
/// <param name="stream">Selects a family of permutations.</param>
internal sealed class SeededPermutation(ulong seed, ulong stream)
{
    private const int MaxRounds = 160;

    private readonly (long Partner, ulong Key)[] rounds = new (long, ulong)[MaxRounds];
    private ulong current;
    private long size;
    private int used;

    /// <summary>The position of an element. Allocates nothing.</summary>
    /// <param name="number">The number of the permutation.</param>
    /// <param name="count">The number of elements.</param>
    /// <param name="index">The element, in [0, <paramref name="count"/>).</param>
    /// <returns>An integer in [0, <paramref name="count"/>), unique for each element.</returns>
    public long At(ulong number, long count, long index)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(index);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(index, count);
        if (size != count || current != number)
            Prepare(number, count);
        foreach ((long partner, ulong key) in rounds.AsSpan(0, used))
        {
            long other = partner - index;
            other += other < 0 ? count : 0;
            index = (Mix(key ^ (ulong)Math.Max(index, other)) & 1) == 0 ? index : other;
        }

        return index;
    }

    private static ulong Mix(ulong x)
    {
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
        return x ^ (x >> 31);
    }

    /// <summary>Uses two rounds for each bit of the count, and 32 more because a round moves few elements of a small count.</summary>
    private void Prepare(ulong number, long count)
    {
        used = 32 + (2 * (64 - (int)ulong.LeadingZeroCount((ulong)count)));
        for (int round = 0; round < used; round++)
        {
            (uint a, uint b, uint c, uint d) = Philox.Generate(seed, stream, (number * MaxRounds) + (ulong)round);
            rounds[round] = ((long)Math.BigMul((ulong)a << 32 | b, (ulong)count, out _), (ulong)c << 32 | d);
        }

        (current, size) = (number, count);
    }
}
