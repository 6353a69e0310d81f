using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>The loop of a map.</summary>
internal static unsafe class CpuMapLoop<L, R>
    where L : struct, IVectorLane<L>
    where R : unmanaged, IMap6
{
    /// <summary>The next vector of an operand. Fetching ahead may point anywhere: it never faults.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static L Read(float* source)
    {
        if (Sse.IsSupported)
            Sse.Prefetch0(source + AccessOf<R>.Ahead);
        return L.Load(source);
    }

    /// <summary>
    /// Runs the rule over part of a tile. The method holds nothing else, so that all that the JIT can inline into one method is left to the rule.
    /// </summary>
    /// <param name="launched">The rule.</param>
    /// <param name="at">The six operands.</param>
    /// <param name="start">The first element.</param>
    /// <param name="end">The end; whole vectors lie before it.</param>
    /// <param name="sums">One for each operand that reduces: with what each element of a vector begins. Replaced by the sum of them all.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    public static void Run(void* launched, CpuAddress* at, int start, int end, float* sums)
    {
        R rule = *(R*)launched;
        float* a = at[0].Data, b = at[1].Data, c = at[2].Data, d = at[3].Data, e = at[4].Data, f = at[5].Data;
        nint am = at[0].Mask, bm = at[1].Mask, cm = at[2].Mask, dm = at[3].Mask, em = at[4].Mask, fm = at[5].Mask;
        L aSum = default, bSum = default, cSum = default, dSum = default, eSum = default, fSum = default;
        if (AccessOf<R>.ReducesA)
            aSum = L.Splat(sums[0]);
        if (AccessOf<R>.ReducesB)
            bSum = L.Splat(sums[1]);
        if (AccessOf<R>.ReducesC)
            cSum = L.Splat(sums[2]);
        if (AccessOf<R>.ReducesD)
            dSum = L.Splat(sums[3]);
        if (AccessOf<R>.ReducesE)
            eSum = L.Splat(sums[4]);
        if (AccessOf<R>.ReducesF)
            fSum = L.Splat(sums[5]);

        for (int i = start; i < end; i += L.Count)
        {
            L av = default, bv = default, cv = default, dv = default, ev = default, fv = default;
            if (AccessOf<R>.ReadsA)
                av = Read(a + (i & am));
            if (AccessOf<R>.ReadsB)
                bv = Read(b + (i & bm));
            if (AccessOf<R>.ReadsC)
                cv = Read(c + (i & cm));
            if (AccessOf<R>.ReadsD)
                dv = Read(d + (i & dm));
            if (AccessOf<R>.ReadsE)
                ev = Read(e + (i & em));
            if (AccessOf<R>.ReadsF)
                fv = Read(f + (i & fm));
            rule.Apply(ref av, ref bv, ref cv, ref dv, ref ev, ref fv);
            if (AccessOf<R>.WritesA)
                L.Store(av, a + i);
            if (AccessOf<R>.WritesB)
                L.Store(bv, b + i);
            if (AccessOf<R>.WritesC)
                L.Store(cv, c + i);
            if (AccessOf<R>.WritesD)
                L.Store(dv, d + i);
            if (AccessOf<R>.WritesE)
                L.Store(ev, e + i);
            if (AccessOf<R>.WritesF)
                L.Store(fv, f + i);
            if (AccessOf<R>.ReducesA)
                aSum = CpuReduction.Add<L, R>(0, av, at[0].Columns, i, aSum);
            if (AccessOf<R>.ReducesB)
                bSum = CpuReduction.Add<L, R>(1, bv, at[1].Columns, i, bSum);
            if (AccessOf<R>.ReducesC)
                cSum = CpuReduction.Add<L, R>(2, cv, at[2].Columns, i, cSum);
            if (AccessOf<R>.ReducesD)
                dSum = CpuReduction.Add<L, R>(3, dv, at[3].Columns, i, dSum);
            if (AccessOf<R>.ReducesE)
                eSum = CpuReduction.Add<L, R>(4, ev, at[4].Columns, i, eSum);
            if (AccessOf<R>.ReducesF)
                fSum = CpuReduction.Add<L, R>(5, fv, at[5].Columns, i, fSum);
        }

        if (AccessOf<R>.ReducesA)
            sums[0] = CpuReduction.Fold<L, R>(0, aSum);
        if (AccessOf<R>.ReducesB)
            sums[1] = CpuReduction.Fold<L, R>(1, bSum);
        if (AccessOf<R>.ReducesC)
            sums[2] = CpuReduction.Fold<L, R>(2, cSum);
        if (AccessOf<R>.ReducesD)
            sums[3] = CpuReduction.Fold<L, R>(3, dSum);
        if (AccessOf<R>.ReducesE)
            sums[4] = CpuReduction.Fold<L, R>(4, eSum);
        if (AccessOf<R>.ReducesF)
            sums[5] = CpuReduction.Fold<L, R>(5, fSum);
    }
}
