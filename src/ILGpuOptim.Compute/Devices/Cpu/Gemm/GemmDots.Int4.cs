using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace ILGpuOptim.Compute.Cpu;

// Rows of 4-bit integers: codes are widened in registers, 32 at a time, to the bits that Int4.Widen gives. Sums have the order of Dot and FourDots.
internal unsafe partial struct GemmDots<L, E>
{
    /// <summary>The many rows are codes that <see cref="DotsOfCodes"/> reads.</summary>
    private readonly bool ReadsCodes => Many.Type.IsInt4() && FewRows is 1 or 4 && ((L.Count == 16 && Avx512F.IsSupported) || (L.Count == 8 && Avx2.IsSupported));

    /// <summary>The products of row <paramref name="j"/> of the many with each of the few.</summary>
    [SkipLocalsInit]
    private readonly void DotsOfCodes(int j, float* sums)
    {
        int group = Many.Type.GroupOf(), whole = K / Int4.Unit * Int4.Unit;
        byte* codes = Many.Data + (nint)j * Many.ScaleStride * (group / 2);
        float* scales = Many.Scales + (nint)j * Many.ScaleStride, partial = stackalloc float[4 * L.Count], rest = stackalloc float[Int4.Unit];
        if (whole < K)
            Int4.Widen(codes, scales, group, whole, K - whole, rest);
        if (L.Count == 16 && FewRows == 1)
            One512(codes, scales, group, whole, partial);
        else if (L.Count == 16)
            Four512(codes, scales, group, whole, partial);
        else if (FewRows == 1)
            One256(codes, scales, group, whole, partial);
        else
            Four256(codes, scales, group, whole, partial);
        for (int i = 0; i < FewRows; i++)
        {
            float* few = Few + i * FewStride + whole;
            L first = L.Load(partial + i * L.Count), second = L.Load(partial + L.Count);
            int k = 0;
            for (; FewRows == 1 && k <= K - whole - 2 * L.Count; k += 2 * L.Count)
            {
                first = L.Fma(L.Load(few + k), L.Load(rest + k), first);
                second = L.Fma(L.Load(few + k + L.Count), L.Load(rest + k + L.Count), second);
            }

            for (; k <= K - whole - L.Count; k += L.Count)
                first = L.Fma(L.Load(few + k), L.Load(rest + k), first);
            if (FewRows == 1)
                first = L.Count == 16 ? first + second : first + second + (L.Load(partial + 2 * L.Count) + L.Load(partial + 3 * L.Count));
            sums[i] = L.Sum(first);
            for (; k < K - whole; k++)
                sums[i] = MathF.FusedMultiplyAdd(few[k], rest[k], sums[i]);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void One512(byte* codes, float* scales, int group, int whole, float* partial)
    {
        Vector512<float> s0 = default, s1 = default;
        for (int k = 0; k < whole; scales++)
        {
            Vector512<float> values = Values(*scales);
            Sse.Prefetch0(codes + Ahead);
            for (int end = Math.Min(k + group, whole); k < end; k += Int4.Unit, codes += Int4.Unit / 2)
            {
                (Vector512<float> low, Vector512<float> high) = Widen(codes, values);
                s0 = Avx512F.FusedMultiplyAdd(Vector512.Load(Few + k), low, s0);
                s1 = Avx512F.FusedMultiplyAdd(Vector512.Load(Few + k + 16), high, s1);
            }
        }

        s0.Store(partial);
        s1.Store(partial + 16);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void Four512(byte* codes, float* scales, int group, int whole, float* partial)
    {
        float* a0 = Few, a1 = a0 + FewStride, a2 = a1 + FewStride, a3 = a2 + FewStride;
        Vector512<float> s0 = default, s1 = default, s2 = default, s3 = default;
        for (int k = 0; k < whole; scales++)
        {
            Vector512<float> values = Values(*scales);
            Sse.Prefetch0(codes + Ahead);
            for (int end = Math.Min(k + group, whole); k < end; k += Int4.Unit, codes += Int4.Unit / 2)
            {
                (Vector512<float> low, Vector512<float> high) = Widen(codes, values);
                s0 = Avx512F.FusedMultiplyAdd(Vector512.Load(a0 + k + 16), high, Avx512F.FusedMultiplyAdd(Vector512.Load(a0 + k), low, s0));
                s1 = Avx512F.FusedMultiplyAdd(Vector512.Load(a1 + k + 16), high, Avx512F.FusedMultiplyAdd(Vector512.Load(a1 + k), low, s1));
                s2 = Avx512F.FusedMultiplyAdd(Vector512.Load(a2 + k + 16), high, Avx512F.FusedMultiplyAdd(Vector512.Load(a2 + k), low, s2));
                s3 = Avx512F.FusedMultiplyAdd(Vector512.Load(a3 + k + 16), high, Avx512F.FusedMultiplyAdd(Vector512.Load(a3 + k), low, s3));
            }
        }

        s0.Store(partial);
        s1.Store(partial + 16);
        s2.Store(partial + 32);
        s3.Store(partial + 48);
    }

    /// <summary>The 16 values of a group: (code − 8) · scale.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector512<float> Values(float scale) => Vector512.Create(-8f, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7) * scale;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static (Vector512<float> Low, Vector512<float> High) Widen(byte* codes, Vector512<float> values)
    {
        Vector128<byte> both = Vector128.Load(codes);
        return (Avx512F.PermuteVar16x32(values, Avx512F.ConvertToVector512Int32(both & Vector128.Create((byte)15))),
            Avx512F.PermuteVar16x32(values, Avx512F.ConvertToVector512Int32(Vector128.ShiftRightLogical(both.AsUInt16(), 4).AsByte() & Vector128.Create((byte)15))));
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void One256(byte* codes, float* scales, int group, int whole, float* partial)
    {
        Vector256<float> s0 = default, s1 = default, s2 = default, s3 = default;
        for (int k = 0; k < whole; scales++)
        {
            Vector256<float> scale = Vector256.Create(*scales);
            Sse.Prefetch0(codes + Ahead);
            for (int end = Math.Min(k + group, whole); k < end; k += Int4.Unit, codes += Int4.Unit / 2)
            {
                Vector128<byte> low = Low(codes), high = High(codes);
                s0 = Vector256.FusedMultiplyAdd(Vector256.Load(Few + k), Widen(low, scale), s0);
                s1 = Vector256.FusedMultiplyAdd(Vector256.Load(Few + k + 8), Widen(Sse2.ShiftRightLogical128BitLane(low, 8), scale), s1);
                s2 = Vector256.FusedMultiplyAdd(Vector256.Load(Few + k + 16), Widen(high, scale), s2);
                s3 = Vector256.FusedMultiplyAdd(Vector256.Load(Few + k + 24), Widen(Sse2.ShiftRightLogical128BitLane(high, 8), scale), s3);
            }
        }

        s0.Store(partial);
        s1.Store(partial + 8);
        s2.Store(partial + 16);
        s3.Store(partial + 24);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void Four256(byte* codes, float* scales, int group, int whole, float* partial)
    {
        float* a0 = Few, a1 = a0 + FewStride, a2 = a1 + FewStride, a3 = a2 + FewStride;
        Vector256<float> s0 = default, s1 = default, s2 = default, s3 = default;
        for (int k = 0; k < whole; scales++)
        {
            Vector256<float> scale = Vector256.Create(*scales);
            Sse.Prefetch0(codes + Ahead);
            for (int end = Math.Min(k + group, whole); k < end; codes += Int4.Unit / 2)
            {
                Vector128<byte> part = Low(codes);
                for (int half = 0; half < 2; half++, part = High(codes))
                {
                    for (int i = 0; i < 2; i++, k += 8, part = Sse2.ShiftRightLogical128BitLane(part, 8))
                    {
                        Vector256<float> value = Widen(part, scale);
                        s0 = Vector256.FusedMultiplyAdd(Vector256.Load(a0 + k), value, s0);
                        s1 = Vector256.FusedMultiplyAdd(Vector256.Load(a1 + k), value, s1);
                        s2 = Vector256.FusedMultiplyAdd(Vector256.Load(a2 + k), value, s2);
                        s3 = Vector256.FusedMultiplyAdd(Vector256.Load(a3 + k), value, s3);
                    }
                }
            }
        }

        s0.Store(partial);
        s1.Store(partial + 8);
        s2.Store(partial + 16);
        s3.Store(partial + 24);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<byte> Low(byte* codes) => Vector128.Load(codes) & Vector128.Create((byte)15);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector128<byte> High(byte* codes) => Vector128.ShiftRightLogical(Vector128.Load(codes).AsUInt16(), 4).AsByte() & Vector128.Create((byte)15);

    /// <summary>(code − 8) · scale of the first 8 codes.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector256<float> Widen(Vector128<byte> codes, Vector256<float> scale) =>
        (Vector256.ConvertToSingle(Avx2.ConvertToVector256Int32(codes)) - Vector256.Create(8f)) * scale;
}
