using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>What <see cref="Device.Random"/> was asked for.</summary>
internal unsafe struct CpuRandom
{
    public float* Target;
    public long Length;
    public RandomKind Kind;
    public float Scale;
    public ulong Seed;
    public ulong Stream;
}

/// <summary>Draws numbers piece by piece: words first, then vectors of them.</summary>
internal unsafe struct CpuRandomWork<L> : IWork where L : struct, IVectorLane<L>
{
    /// <summary>Elements of a piece; a multiple of what <see cref="CpuPhilox"/> computes at once.</summary>
    public const int Piece = 4096;

    private const int Part = 512;

    public CpuRandom Numbers;

    public readonly void Invoke(int index, int worker)
    {
        uint* words = stackalloc uint[Part];
        float* units = stackalloc float[2 * Part];
        long end = Math.Min((index + 1L) * Piece, Numbers.Length);
        for (long start = (long)index * Piece; start < end; start += Part)
        {
            CpuPhilox.Words(Numbers.Seed, Numbers.Stream, (ulong)start / 4, Part / 4, words);
            Draw(words, units);
            new ReadOnlySpan<float>(units, (int)Math.Min(Part, end - start)).CopyTo(new Span<float>(Numbers.Target + start, Part));
        }
    }

    /// <summary>Turns words into numbers; the second half of <paramref name="units"/> is scratch.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void Draw(uint* words, float* units)
    {
        if (Numbers.Kind != RandomKind.Normal)
        {
            for (int i = 0; i < Part; i++)
                units[i] = RandomNumbers.One(Numbers.Kind, Numbers.Scale, Philox.Unit(words[i]));
            return;
        }

        // Words in even and in odd places apart, then the numbers together again.
        float* even = units + Part, odd = even + Part / 2;
        for (int i = 0; i < Part / 2; i++)
        {
            even[i] = Philox.Unit(words[2 * i]);
            odd[i] = Philox.Unit(words[2 * i + 1]);
        }

        for (int i = 0; i < Part / 2; i += L.Count)
        {
            RandomNumbers.Normal(L.Load(even + i), L.Load(odd + i), L.Splat(Numbers.Scale), out L x, out L y);
            L.Store(x, even + i);
            L.Store(y, odd + i);
        }

        for (int i = 0; i < Part / 2; i++)
        {
            units[2 * i] = even[i];
            units[2 * i + 1] = odd[i];
        }
    }
}
