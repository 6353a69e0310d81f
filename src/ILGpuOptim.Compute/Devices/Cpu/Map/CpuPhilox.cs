using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace ILGpuOptim.Compute.Cpu;

/// <summary><see cref="Philox"/> for many counters at once.</summary>
internal static unsafe class CpuPhilox
{
    /// <summary>Counters that are computed together.</summary>
    public const int Batch = 4;

    /// <summary>
    /// Writes the four words of each counter from <paramref name="first"/> on; <paramref name="counters"/> is a multiple of <see cref="Batch"/>.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Words(ulong seed, ulong stream, ulong first, int counters, uint* target)
    {
        for (int n = 0; n < counters; n += Batch, target += 4 * Batch)
        {
            if (Avx2.IsSupported)
            {
                Four(seed, stream, first + (ulong)n, target);
                continue;
            }

            for (int i = 0; i < Batch; i++)
                (target[4 * i], target[4 * i + 1], target[4 * i + 2], target[4 * i + 3]) = Philox.Generate(seed, stream, first + (ulong)(n + i));
        }
    }

    /// <summary>
    /// Four counters, a word in the lower half of each 64-bit element. The upper halves hold leftovers: the multiplication
    /// does not read them, and nothing moves from an upper half to a lower one but a product's own.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Four(ulong seed, ulong stream, ulong first, uint* target)
    {
        Vector256<ulong> a = Vector256.Create(first) + Vector256.Create(0UL, 1, 2, 3), b = a >> 32;
        Vector256<ulong> c = Vector256.Create(stream), d = c >> 32, k0 = Vector256.Create(seed), k1 = k0 >> 32;
        Vector256<uint> m0 = Vector256.Create(0xD2511F53UL).AsUInt32(), m1 = Vector256.Create(0xCD9E8D57UL).AsUInt32();
        for (int round = 0; round < 10; round++)
        {
            Vector256<ulong> left = Avx2.Multiply(m0, a.AsUInt32()), right = Avx2.Multiply(m1, c.AsUInt32());
            a = (right >> 32) ^ b ^ k0;
            b = right;
            c = (left >> 32) ^ d ^ k1;
            d = left;
            k0 += Vector256.Create(0x9E3779B9UL);
            k1 += Vector256.Create(0xBB67AE85UL);
        }

        Vector256<ulong> lower = Vector256.Create(0xFFFFFFFFUL), ab = (a & lower) | (b << 32), cd = (c & lower) | (d << 32);
        Vector256<uint> even = Avx2.UnpackLow(ab, cd).AsUInt32(), odd = Avx2.UnpackHigh(ab, cd).AsUInt32();
        even.GetLower().Store(target);
        odd.GetLower().Store(target + 4);
        even.GetUpper().Store(target + 8);
        odd.GetUpper().Store(target + 12);
    }

    /// <summary>
    /// Eight counters with AVX-512, as <see cref="Four"/>. The first result holds the words a and c of each counter in turn, the second b and d: the
    /// words in even and in odd places of what <see cref="Words"/> writes.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static (Vector512<uint> Even, Vector512<uint> Odd) Eight(ulong seed, ulong stream, ulong first)
    {
        Eight(seed, stream, Vector512.Create(first) + Vector512.Create(0UL, 1, 2, 3, 4, 5, 6, 7), out Vector512<ulong> a, out Vector512<ulong> b, out Vector512<ulong> c, out Vector512<ulong> d);
        Vector512<ulong> lower = Vector512.Create(0xFFFFFFFFUL);
        return (((a & lower) | (c << 32)).AsUInt32(), ((b & lower) | (d << 32)).AsUInt32());
    }

    /// <summary>The words of eight counters with AVX-512, in the lower halves.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Eight(ulong seed, ulong stream, Vector512<ulong> counters, out Vector512<ulong> a, out Vector512<ulong> b, out Vector512<ulong> c, out Vector512<ulong> d)
    {
        Vector512<ulong> w = counters, x = counters >> 32, y = Vector512.Create(stream), z = y >> 32, k0 = Vector512.Create(seed), k1 = k0 >> 32;
        Vector512<uint> m0 = Vector512.Create(0xD2511F53UL).AsUInt32(), m1 = Vector512.Create(0xCD9E8D57UL).AsUInt32();
        for (int round = 0; round < 10; round++)
        {
            Vector512<ulong> left = Avx512F.Multiply(m0, w.AsUInt32()), right = Avx512F.Multiply(m1, y.AsUInt32());
            w = (right >> 32) ^ x ^ k0;
            x = right;
            y = (left >> 32) ^ z ^ k1;
            z = left;
            k0 += Vector512.Create(0x9E3779B9UL);
            k1 += Vector512.Create(0xBB67AE85UL);
        }

        (a, b, c, d) = (w, x, y, z);
    }

    /// <summary>
    /// Dropout factors with AVX-512: word w of counter <paramref name="first"/> + n + i · <paramref name="step"/>, for i from 0 to 7, decides about
    /// element (4n + w) · <paramref name="stride"/> + i of the target.
    /// </summary>
    /// <param name="seed">The seed.</param>
    /// <param name="stream">The stream.</param>
    /// <param name="first">The first counter.</param>
    /// <param name="step">Counters from one column to the next.</param>
    /// <param name="counters">The counters of a column.</param>
    /// <param name="keep">The probability of <c>1 / keep</c>; else the factor is 0.</param>
    /// <param name="target">The first element.</param>
    /// <param name="stride">Elements from one row to the next.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public static void Keep(ulong seed, ulong stream, ulong first, ulong step, int counters, float keep, float* target, nint stride)
    {
        // Philox.Unit(word) < keep, in integers.
        var last = Vector256.Create((uint)(((ulong)Math.Ceiling(keep * 16777216.0) << 8) - 1));
        var factor = Vector256.Create(1 / keep);
        Vector512<ulong> at = Vector512.Create(first) + (Vector512.Create(0UL, 1, 2, 3, 4, 5, 6, 7) * Vector512.Create(step));
        for (int n = 0; n < counters; n++, target += 4 * stride)
        {
            Eight(seed, stream, at, out Vector512<ulong> a, out Vector512<ulong> b, out Vector512<ulong> c, out Vector512<ulong> d);
            Factors(a, last, factor).Store(target);
            Factors(b, last, factor).Store(target + stride);
            Factors(c, last, factor).Store(target + 2 * stride);
            Factors(d, last, factor).Store(target + 3 * stride);
            at += Vector512<ulong>.One;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Factors(Vector512<ulong> words, Vector256<uint> last, Vector256<float> factor) =>
        Vector256.LessThanOrEqual(Avx512F.ConvertToVector256UInt32(words), last).AsSingle() & factor;
}
