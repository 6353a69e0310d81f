using System.Runtime.CompilerServices;

namespace ILGpuOptim.Compute.Cpu;

/// <summary>The parallel body of a row program: some whole rows, three short loops over each.</summary>
internal unsafe struct CpuRowWork<L, R> : IWork
    where L : struct, IVectorLane<L>
    where R : unmanaged, IRowRule
{
    public R Rule;
    public CpuGrid Grid;
    public CpuOperand* Operands;
    public CpuPartials* Partials;
    public float* Scratch;
    public long ScratchPerOperand;

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Invoke(int index, int worker)
    {
        var (firstRow, endRow, _, columns) = Grid.Piece(index);
        float* scratch = Scratch + worker * (Access.MaxOperands * ScratchPerOperand);
        for (int k = 0; k < Access.MaxOperands; k++)
        {
            if (AccessOf<R>.Value.Reduces(k))
                new Span<float>(Partials[k].Columns + index * columns, (int)columns).Clear();
        }

        for (long row = firstRow; columns > 0 && row < endRow; row++)
            RunRow(row, (int)columns, index, scratch);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly float* Begin(int k, long row, int count, float* scratch, out nint mask)
    {
        mask = 0;
        return AccessOf<R>.Value.Reads(k) || AccessOf<R>.Value.Writes(k)
            ? Operands[k].Begin(row, 0, count, scratch + k * ScratchPerOperand, AccessOf<R>.Value.Reads(k), out mask)
            : scratch;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private readonly void End(int k, long row, int count, float* scratch)
    {
        if (AccessOf<R>.Value.Writes(k))
            Operands[k].End(row, 0, count, scratch + k * ScratchPerOperand);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private readonly void RunRow(long row, int count, int piece, float* scratch)
    {
        R rule = Rule;
        float* a = Begin(0, row, count, scratch, out nint am);
        float* b = Begin(1, row, count, scratch, out nint bm);
        float* c = Begin(2, row, count, scratch, out nint cm);
        float* d = Begin(3, row, count, scratch, out nint dm);
        float* e = Begin(4, row, count, scratch, out nint em);
        float* f = Begin(5, row, count, scratch, out nint fm);
        float* aColumns = AccessOf<R>.Value.Reduces(0) ? Partials[0].Columns + piece * (long)count : null;
        float* bColumns = AccessOf<R>.Value.Reduces(1) ? Partials[1].Columns + piece * (long)count : null;
        float* cColumns = AccessOf<R>.Value.Reduces(2) ? Partials[2].Columns + piece * (long)count : null;
        float* dColumns = AccessOf<R>.Value.Reduces(3) ? Partials[3].Columns + piece * (long)count : null;
        float* eColumns = AccessOf<R>.Value.Reduces(4) ? Partials[4].Columns + piece * (long)count : null;
        float* fColumns = AccessOf<R>.Value.Reduces(5) ? Partials[5].Columns + piece * (long)count : null;

        L start = L.Splat(R.FirstIsMax ? float.NegativeInfinity : 0f);
        L total = start;
        int i = 0;
        for (; i <= count - L.Count; i += L.Count)
        {
            L av = AccessOf<R>.Value.Reads(0) ? L.Load(a + (i & am)) : default;
            L bv = AccessOf<R>.Value.Reads(1) ? L.Load(b + (i & bm)) : default;
            L cv = AccessOf<R>.Value.Reads(2) ? L.Load(c + (i & cm)) : default;
            L dv = AccessOf<R>.Value.Reads(3) ? L.Load(d + (i & dm)) : default;
            L ev = AccessOf<R>.Value.Reads(4) ? L.Load(e + (i & em)) : default;
            L fv = AccessOf<R>.Value.Reads(5) ? L.Load(f + (i & fm)) : default;
            L term = rule.FirstTerm(av, bv, cv, dv, ev, fv);
            total = R.FirstIsMax ? L.Max(term, total) : total + term;
        }

        F1 folded = new(R.FirstIsMax ? L.MaxElement(total) : L.Sum(total));
        for (; i < count; i++)
        {
            F1 av = AccessOf<R>.Value.Reads(0) ? F1.Load(a + (i & am)) : default;
            F1 bv = AccessOf<R>.Value.Reads(1) ? F1.Load(b + (i & bm)) : default;
            F1 cv = AccessOf<R>.Value.Reads(2) ? F1.Load(c + (i & cm)) : default;
            F1 dv = AccessOf<R>.Value.Reads(3) ? F1.Load(d + (i & dm)) : default;
            F1 ev = AccessOf<R>.Value.Reads(4) ? F1.Load(e + (i & em)) : default;
            F1 fv = AccessOf<R>.Value.Reads(5) ? F1.Load(f + (i & fm)) : default;
            F1 term = rule.FirstTerm(av, bv, cv, dv, ev, fv);
            folded = R.FirstIsMax ? F1.Max(term, folded) : folded + term;
        }

        F1 first = rule.First(folded);
        L firsts = L.Splat(first.Value);
        F1 second = default;
        if (R.HasSecond)
        {
            total = default;
            for (i = 0; i <= count - L.Count; i += L.Count)
            {
                L av = AccessOf<R>.Value.Reads(0) ? L.Load(a + (i & am)) : default;
                L bv = AccessOf<R>.Value.Reads(1) ? L.Load(b + (i & bm)) : default;
                L cv = AccessOf<R>.Value.Reads(2) ? L.Load(c + (i & cm)) : default;
                L dv = AccessOf<R>.Value.Reads(3) ? L.Load(d + (i & dm)) : default;
                L ev = AccessOf<R>.Value.Reads(4) ? L.Load(e + (i & em)) : default;
                L fv = AccessOf<R>.Value.Reads(5) ? L.Load(f + (i & fm)) : default;
                total += rule.SecondTerm(firsts, av, bv, cv, dv, ev, fv);
            }

            folded = new(L.Sum(total));
            for (; i < count; i++)
            {
                F1 av = AccessOf<R>.Value.Reads(0) ? F1.Load(a + (i & am)) : default;
                F1 bv = AccessOf<R>.Value.Reads(1) ? F1.Load(b + (i & bm)) : default;
                F1 cv = AccessOf<R>.Value.Reads(2) ? F1.Load(c + (i & cm)) : default;
                F1 dv = AccessOf<R>.Value.Reads(3) ? F1.Load(d + (i & dm)) : default;
                F1 ev = AccessOf<R>.Value.Reads(4) ? F1.Load(e + (i & em)) : default;
                F1 fv = AccessOf<R>.Value.Reads(5) ? F1.Load(f + (i & fm)) : default;
                folded += rule.SecondTerm(first, av, bv, cv, dv, ev, fv);
            }

            second = rule.Second(first, folded);
        }

        L seconds = L.Splat(second.Value), ignored = default;
        for (i = 0; i <= count - L.Count; i += L.Count)
        {
            L av = AccessOf<R>.Value.Reads(0) ? L.Load(a + (i & am)) : default;
            L bv = AccessOf<R>.Value.Reads(1) ? L.Load(b + (i & bm)) : default;
            L cv = AccessOf<R>.Value.Reads(2) ? L.Load(c + (i & cm)) : default;
            L dv = AccessOf<R>.Value.Reads(3) ? L.Load(d + (i & dm)) : default;
            L ev = AccessOf<R>.Value.Reads(4) ? L.Load(e + (i & em)) : default;
            L fv = AccessOf<R>.Value.Reads(5) ? L.Load(f + (i & fm)) : default;
            rule.Map(firsts, seconds, ref av, ref bv, ref cv, ref dv, ref ev, ref fv);
            CpuReduction.Finish<L, R>(0, av, a + (i & am), aColumns + i, true, ref ignored);
            CpuReduction.Finish<L, R>(1, bv, b + (i & bm), bColumns + i, true, ref ignored);
            CpuReduction.Finish<L, R>(2, cv, c + (i & cm), cColumns + i, true, ref ignored);
            CpuReduction.Finish<L, R>(3, dv, d + (i & dm), dColumns + i, true, ref ignored);
            CpuReduction.Finish<L, R>(4, ev, e + (i & em), eColumns + i, true, ref ignored);
            CpuReduction.Finish<L, R>(5, fv, f + (i & fm), fColumns + i, true, ref ignored);
        }

        float ignoredTail = 0;
        for (; i < count; i++)
        {
            F1 av = AccessOf<R>.Value.Reads(0) ? F1.Load(a + (i & am)) : default;
            F1 bv = AccessOf<R>.Value.Reads(1) ? F1.Load(b + (i & bm)) : default;
            F1 cv = AccessOf<R>.Value.Reads(2) ? F1.Load(c + (i & cm)) : default;
            F1 dv = AccessOf<R>.Value.Reads(3) ? F1.Load(d + (i & dm)) : default;
            F1 ev = AccessOf<R>.Value.Reads(4) ? F1.Load(e + (i & em)) : default;
            F1 fv = AccessOf<R>.Value.Reads(5) ? F1.Load(f + (i & fm)) : default;
            rule.Map(first, second, ref av, ref bv, ref cv, ref dv, ref ev, ref fv);
            CpuReduction.FinishOne<R>(0, av, a + (i & am), aColumns + i, true, ref ignoredTail);
            CpuReduction.FinishOne<R>(1, bv, b + (i & bm), bColumns + i, true, ref ignoredTail);
            CpuReduction.FinishOne<R>(2, cv, c + (i & cm), cColumns + i, true, ref ignoredTail);
            CpuReduction.FinishOne<R>(3, dv, d + (i & dm), dColumns + i, true, ref ignoredTail);
            CpuReduction.FinishOne<R>(4, ev, e + (i & em), eColumns + i, true, ref ignoredTail);
            CpuReduction.FinishOne<R>(5, fv, f + (i & fm), fColumns + i, true, ref ignoredTail);
        }

        End(0, row, count, scratch);
        End(1, row, count, scratch);
        End(2, row, count, scratch);
        End(3, row, count, scratch);
        End(4, row, count, scratch);
        End(5, row, count, scratch);
    }
}
