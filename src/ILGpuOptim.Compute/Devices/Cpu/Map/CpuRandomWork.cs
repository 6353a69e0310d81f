using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>The arguments of <see cref="Device.Random"/>.</summary>
internal unsafe struct CpuRandom
{
    public float* Target;
    public long Length;
    public RandomKind Kind;
    public float Scale;
    public ulong Seed;
    public ulong Stream;
}

/// <summary>Generates random values in pieces: words first, then vectors of values.</summary>
internal unsafe struct CpuRandomWork<L> : IWork where L : struct, IVectorLane<L>
{
    /// <summary>Elements of a piece; a multiple of the batch of <see cref="CpuPhilox"/>.</summary>
    public const int Piece = 4096;

    private const int Part = 512, Vectors = 16;

    public CpuRandom Numbers;

    public readonly void Invoke(int index, int worker)
    {
        uint* words = stackalloc uint[Part];
        float* units = stackalloc float[2 * Part];
        long end = Math.Min((index + 1L) * Piece, Numbers.Length);
        if (Avx512F.IsSupported && L.Count == F16.Count)
        {
            Draw((long)index * Piece, end, units);
            return;
        }

        for (long start = (long)index * Piece; start < end; start += Part)
        {
            CpuPhilox.Words(Numbers.Seed, Numbers.Stream, (ulong)start / 4, Part / 4, words);
            Draw(words, units);
            new ReadOnlySpan<float>(units, (int)Math.Min(Part, end - start)).CopyTo(new Span<float>(Numbers.Target + start, Part));
        }
    }

    /// <summary>32 values at a time, in registers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void Draw(long start, long end, float* last)
    {
        const int Together = 2 * Vectors; // eight counters
        Vector512<int> lower = Vector512.Create(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23), upper = lower + Vector512.Create(8);
        for (; start < end; start += Together)
        {
            (Vector512<uint> even, Vector512<uint> odd) = CpuPhilox.Eight(Numbers.Seed, Numbers.Stream, (ulong)start / 4);
            F16 x = Units(even), y = Units(odd);
            if (Numbers.Kind == RandomKind.Normal)
                RandomNumbers.Normal(x, y, F16.Splat(Numbers.Scale), out x, out y);
            else
                (x, y) = (Value(x), Value(y));
            float* target = end - start < Together ? last : Numbers.Target + start;
            Avx512F.PermuteVar16x32x2(x.Value, lower, y.Value).Store(target);
            Avx512F.PermuteVar16x32x2(x.Value, upper, y.Value).Store(target + Vectors);
            if (target == last)
                new ReadOnlySpan<float>(last, (int)(end - start)).CopyTo(new Span<float>(Numbers.Target + start, Together));
        }
    }

    /// <summary><see cref="Philox.Unit"/> of sixteen words.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static F16 Units(Vector512<uint> words) =>
        new(Vector512.ConvertToSingle((words >> 8).AsInt32()) * Vector512.Create(1f / 16777216f));

    /// <summary><see cref="RandomNumbers.One"/> of numbers from 0 to 1, where they are not normal.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly V Value<V>(V unit) where V : struct, ILane<V> => Numbers.Kind == RandomKind.Uniform
        ? unit * V.Splat(Numbers.Scale)
        : V.Select(V.Less(unit, V.Splat(Numbers.Scale)), V.Splat(1 / Numbers.Scale), default);

    /// <summary>Converts words to values; the second half of <paramref name="units"/> is scratch.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void Draw(uint* words, float* units)
    {
        if (Numbers.Kind != RandomKind.Normal)
        {
            // RandomNumbers.One of Philox.Unit, in vectors.
            for (int i = 0; i < Part; i += Vector<uint>.Count)
                Vector.Store(Vector.ConvertToSingle(Vector.AsVectorInt32(Vector.Load(words + i) >> 8)) * (1f / 16777216f), units + i);
            for (int i = 0; i < Part; i += L.Count)
                L.Store(Value(L.Load(units + i)), units + i);
            return;
        }

        // Separates words at even and odd positions, then interleaves the values again.
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
