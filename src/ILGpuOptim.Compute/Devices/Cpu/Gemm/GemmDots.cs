using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>
/// A few rows times many stored rows, as in decoding with a transposed B, or a narrow projection: each element of C is a
/// dot product, and the many rows are read once at the speed of memory.
/// </summary>
internal unsafe partial struct GemmDots<L, E> : IWork
    where L : struct, IVectorLane<L>
    where E : struct, IGemmEpilogue
{
    /// <summary>The most rows that are few.</summary>
    public const int MaxRows = 4;

    /// <summary>The least that is worth an item: about a microsecond. Small ones let all workers end together.</summary>
    private const int MinFloats = 1 << 13;

    private const int MaxItems = 512;

    /// <summary>
    /// The prefetch distance. Hardware prefetching stops at each 4 KiB page; software prefetching continues across
    /// it, for a fifth to a quarter more bandwidth. Prefetching beyond the last row is harmless.
    /// </summary>
    private const int Ahead = 1024;

    public GemmOperand Many;
    public E Epilogue;

    /// <summary>The few rows, as f32.</summary>
    public float* Few;
    public nint FewStride;
    public int FewRows, ManyRows, K;

    /// <summary>The few are rows of C; otherwise they are its columns.</summary>
    public bool FewAreRows;
    public float* C;
    public int StrideC;
    public float Alpha, Beta;

    /// <summary>Added to C; or null. Only where the few are rows.</summary>
    public float* Added;
    public long StrideAdded;

    /// <summary>Room for <see cref="ScratchFloats"/> of each worker.</summary>
    public float* Scratch;

    /// <summary>Floats that a worker needs: one widened row.</summary>
    public readonly long ScratchFloats => Many.Type == DType.F32 ? 0 : K + 15 & ~15;

    /// <summary>The number of items, once <see cref="Divide"/> has chosen it.</summary>
    public int Items { get; private set; }

    private int rowsPerItem;

    /// <summary>Divides the many rows into items.</summary>
    public void Divide()
    {
        int most = (int)Math.Clamp((long)ManyRows * K / MinFloats, 1, MaxItems);
        rowsPerItem = (ManyRows + most - 1) / most;
        Items = (ManyRows + rowsPerItem - 1) / rowsPerItem;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Invoke(int index, int worker)
    {
        int first = index * rowsPerItem, end = Math.Min(first + rowsPerItem, ManyRows);
        float* sums = stackalloc float[MaxRows];
        for (int j = first; j < end; j++)
        {
            if (ReadsCodes)
            {
                DotsOfCodes(j, sums);
                for (int i = 0; i < FewRows; i++)
                    Store(j, i, sums[i]);
                continue;
            }

            float* row = Many.Row(j, 0, K, Scratch + worker * ScratchFloats);
            if (FewRows == 1 && j + 1 < end && Many.Type == DType.F32)
            {
                TwoDots(Few, row, Many.Row(j + 1, 0, K, null), sums);
                Store(j++, 0, sums[0]);
                Store(j, 0, sums[1]);
                continue;
            }

            if (FewRows == 4)
                FourDots(row, sums);
            else
            {
                for (int i = 0; i < FewRows; i++)
                    sums[i] = Dot(Few + i * FewStride, row);
            }

            for (int i = 0; i < FewRows; i++)
                Store(j, i, sums[i]);
        }

        if (FewAreRows)
            Epilogue.Invoke(C + first, StrideC, 0, FewRows, first, end - first, worker);
        else
            Epilogue.Invoke(C + (nint)first * StrideC, StrideC, first, end - first, 0, FewRows, worker);
    }

    /// <summary>Writes the product of a row of the many and one of the few.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly void Store(int many, int few, float sum)
    {
        float* c = C + (FewAreRows ? (nint)few * StrideC + many : (nint)many * StrideC + few);
        float value = Beta == 0 ? Alpha * sum : MathF.FusedMultiplyAdd(Beta, *c, Alpha * sum);
        *c = Added == null ? value : value + Added[few * StrideAdded + many];
    }

    /// <summary>As <see cref="Dot"/> for two of the many rows, to the bit: two streams of reads hide more of each other's latency.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void TwoDots(float* a, float* b, float* d, float* sums)
    {
        L s0 = default, s1 = default, s2 = default, s3 = default, t0 = default, t1 = default, t2 = default, t3 = default;
        int k = 0;
        for (; L.Count < 16 && k <= K - 4 * L.Count; k += 4 * L.Count)
        {
            Prefetch(b + k);
            Prefetch(d + k);
            L a0 = L.Load(a + k), a1 = L.Load(a + k + L.Count), a2 = L.Load(a + k + 2 * L.Count), a3 = L.Load(a + k + 3 * L.Count);
            s0 = L.Fma(a0, L.Load(b + k), s0);
            s1 = L.Fma(a1, L.Load(b + k + L.Count), s1);
            s2 = L.Fma(a2, L.Load(b + k + 2 * L.Count), s2);
            s3 = L.Fma(a3, L.Load(b + k + 3 * L.Count), s3);
            t0 = L.Fma(a0, L.Load(d + k), t0);
            t1 = L.Fma(a1, L.Load(d + k + L.Count), t1);
            t2 = L.Fma(a2, L.Load(d + k + 2 * L.Count), t2);
            t3 = L.Fma(a3, L.Load(d + k + 3 * L.Count), t3);
        }

        for (; k <= K - 2 * L.Count; k += 2 * L.Count)
        {
            Prefetch(b + k);
            Prefetch(d + k);
            L a0 = L.Load(a + k), a1 = L.Load(a + k + L.Count);
            s0 = L.Fma(a0, L.Load(b + k), s0);
            s1 = L.Fma(a1, L.Load(b + k + L.Count), s1);
            t0 = L.Fma(a0, L.Load(d + k), t0);
            t1 = L.Fma(a1, L.Load(d + k + L.Count), t1);
        }

        for (; k <= K - L.Count; k += L.Count)
        {
            L a0 = L.Load(a + k);
            s0 = L.Fma(a0, L.Load(b + k), s0);
            t0 = L.Fma(a0, L.Load(d + k), t0);
        }

        float first = L.Sum(s0 + s1 + (s2 + s3)), second = L.Sum(t0 + t1 + (t2 + t3));
        for (; k < K; k++)
        {
            first = MathF.FusedMultiplyAdd(a[k], b[k], first);
            second = MathF.FusedMultiplyAdd(a[k], d[k], second);
        }

        (sums[0], sums[1]) = (first, second);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly float Dot(float* a, float* b)
    {
        L s0 = default, s1 = default, s2 = default, s3 = default;
        int k = 0;

        // Two wide sums suffice for the bandwidth of memory; with four it is a twentieth lower.
        for (; L.Count < 16 && k <= K - 4 * L.Count; k += 4 * L.Count)
        {
            Prefetch(b + k);
            s0 = L.Fma(L.Load(a + k), L.Load(b + k), s0);
            s1 = L.Fma(L.Load(a + k + L.Count), L.Load(b + k + L.Count), s1);
            s2 = L.Fma(L.Load(a + k + 2 * L.Count), L.Load(b + k + 2 * L.Count), s2);
            s3 = L.Fma(L.Load(a + k + 3 * L.Count), L.Load(b + k + 3 * L.Count), s3);
        }

        for (; k <= K - 2 * L.Count; k += 2 * L.Count)
        {
            Prefetch(b + k);
            s0 = L.Fma(L.Load(a + k), L.Load(b + k), s0);
            s1 = L.Fma(L.Load(a + k + L.Count), L.Load(b + k + L.Count), s1);
        }

        for (; k <= K - L.Count; k += L.Count)
            s0 = L.Fma(L.Load(a + k), L.Load(b + k), s0);
        float sum = L.Sum(s0 + s1 + (s2 + s3));
        for (; k < K; k++)
            sum = MathF.FusedMultiplyAdd(a[k], b[k], sum);
        return sum;
    }

    /// <summary>Two cache lines: the reads of one iteration of <see cref="Dot"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Prefetch(float* b)
    {
        if (!Sse.IsSupported)
            return;
        Sse.Prefetch0(b + Ahead);
        Sse.Prefetch0(b + Ahead + 16);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void FourDots(float* b, float* sums)
    {
        float* a0 = Few, a1 = a0 + FewStride, a2 = a1 + FewStride, a3 = a2 + FewStride;
        L s0 = default, s1 = default, s2 = default, s3 = default;
        int k = 0;
        for (; k <= K - L.Count; k += L.Count)
        {
            if (Sse.IsSupported)
                Sse.Prefetch0(b + k + Ahead);
            L x = L.Load(b + k);
            s0 = L.Fma(L.Load(a0 + k), x, s0);
            s1 = L.Fma(L.Load(a1 + k), x, s1);
            s2 = L.Fma(L.Load(a2 + k), x, s2);
            s3 = L.Fma(L.Load(a3 + k), x, s3);
        }

        sums[0] = L.Sum(s0);
        sums[1] = L.Sum(s1);
        sums[2] = L.Sum(s2);
        sums[3] = L.Sum(s3);
        for (; k < K; k++)
        {
            sums[0] = MathF.FusedMultiplyAdd(a0[k], b[k], sums[0]);
            sums[1] = MathF.FusedMultiplyAdd(a1[k], b[k], sums[1]);
            sums[2] = MathF.FusedMultiplyAdd(a2[k], b[k], sums[2]);
            sums[3] = MathF.FusedMultiplyAdd(a3[k], b[k], sums[3]);
        }
    }
}
