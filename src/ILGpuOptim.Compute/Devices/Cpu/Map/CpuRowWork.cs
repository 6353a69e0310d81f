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

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining), SkipLocalsInit]
    private readonly void RunRow(long row, int count, int piece, float* scratch)
    {
        Access access = AccessOf<R>.Value;
        int operands = access.Count;
        CpuAddress* at = stackalloc CpuAddress[Access.MaxOperands];
        for (int k = 0; k < operands; k++)
        {
            at[k].Data = scratch;
            at[k].Mask = 0;
            at[k].Columns = access.Reduces(k) ? Partials[k].Columns + piece * (long)count : null;
            if (access.Reads(k) || access.Writes(k))
                at[k].Data = Operands[k].Begin(row, 0, count, scratch + k * ScratchPerOperand, access.Reads(k), out at[k].Mask);
        }

        int whole = count & -L.Count;
        float total = SumFirst<L>(Rule, at, 0, whole, R.FirstIsMax ? float.NegativeInfinity : 0);
        if (whole < count)
            total = SumFirst<F1>(Rule, at, whole, count, total);
        F1 first = Rule.First(new F1(total)), second = default;
        if (R.HasSecond)
        {
            total = SumSecond<L>(Rule, at, 0, whole, first.Value, 0);
            if (whole < count)
                total = SumSecond<F1>(Rule, at, whole, count, first.Value, total);
            second = Rule.Second(first, new F1(total));
        }

        MapElements<L>(Rule, at, 0, whole, first.Value, second.Value);
        if (whole < count)
            MapElements<F1>(Rule, at, whole, count, first.Value, second.Value);
        for (int k = 0; k < operands; k++)
        {
            if (access.Writes(k))
                Operands[k].End(row, 0, count, scratch + k * ScratchPerOperand);
        }
    }

    // Each loop is a method that holds nothing else: all that the JIT can inline into one method is left to the rule. V is L, or F1 for the elements that
    // fill no whole vector.

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static float SumFirst<V>(in R launched, CpuAddress* at, int start, int end, float begin) where V : struct, IVectorLane<V>
    {
        R rule = launched;
        float* a = at[0].Data, b = at[1].Data, c = at[2].Data, d = at[3].Data, e = at[4].Data, f = at[5].Data;
        nint am = at[0].Mask, bm = at[1].Mask, cm = at[2].Mask, dm = at[3].Mask, em = at[4].Mask, fm = at[5].Mask;
        V total = V.Splat(begin);
        for (int i = start; i < end; i += V.Count)
        {
            V av = default, bv = default, cv = default, dv = default, ev = default, fv = default;
            if (AccessOf<R>.ReadsA)
                av = V.Load(a + (i & am));
            if (AccessOf<R>.ReadsB)
                bv = V.Load(b + (i & bm));
            if (AccessOf<R>.ReadsC)
                cv = V.Load(c + (i & cm));
            if (AccessOf<R>.ReadsD)
                dv = V.Load(d + (i & dm));
            if (AccessOf<R>.ReadsE)
                ev = V.Load(e + (i & em));
            if (AccessOf<R>.ReadsF)
                fv = V.Load(f + (i & fm));
            V term = rule.FirstTerm(av, bv, cv, dv, ev, fv);
            total = R.FirstIsMax ? V.Max(term, total) : total + term;
        }

        return R.FirstIsMax ? V.MaxElement(total) : V.Sum(total);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static float SumSecond<V>(in R launched, CpuAddress* at, int start, int end, float first, float begin) where V : struct, IVectorLane<V>
    {
        R rule = launched;
        float* a = at[0].Data, b = at[1].Data, c = at[2].Data, d = at[3].Data, e = at[4].Data, f = at[5].Data;
        nint am = at[0].Mask, bm = at[1].Mask, cm = at[2].Mask, dm = at[3].Mask, em = at[4].Mask, fm = at[5].Mask;
        V total = V.Splat(begin), firsts = V.Splat(first);
        for (int i = start; i < end; i += V.Count)
        {
            V av = default, bv = default, cv = default, dv = default, ev = default, fv = default;
            if (AccessOf<R>.ReadsA)
                av = V.Load(a + (i & am));
            if (AccessOf<R>.ReadsB)
                bv = V.Load(b + (i & bm));
            if (AccessOf<R>.ReadsC)
                cv = V.Load(c + (i & cm));
            if (AccessOf<R>.ReadsD)
                dv = V.Load(d + (i & dm));
            if (AccessOf<R>.ReadsE)
                ev = V.Load(e + (i & em));
            if (AccessOf<R>.ReadsF)
                fv = V.Load(f + (i & fm));
            total += rule.SecondTerm(firsts, av, bv, cv, dv, ev, fv);
        }

        return V.Sum(total);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static void MapElements<V>(in R launched, CpuAddress* at, int start, int end, float first, float second) where V : struct, IVectorLane<V>
    {
        R rule = launched;
        float* a = at[0].Data, b = at[1].Data, c = at[2].Data, d = at[3].Data, e = at[4].Data, f = at[5].Data;
        nint am = at[0].Mask, bm = at[1].Mask, cm = at[2].Mask, dm = at[3].Mask, em = at[4].Mask, fm = at[5].Mask;
        V firsts = V.Splat(first), seconds = V.Splat(second);
        for (int i = start; i < end; i += V.Count)
        {
            V av = default, bv = default, cv = default, dv = default, ev = default, fv = default;
            if (AccessOf<R>.ReadsA)
                av = V.Load(a + (i & am));
            if (AccessOf<R>.ReadsB)
                bv = V.Load(b + (i & bm));
            if (AccessOf<R>.ReadsC)
                cv = V.Load(c + (i & cm));
            if (AccessOf<R>.ReadsD)
                dv = V.Load(d + (i & dm));
            if (AccessOf<R>.ReadsE)
                ev = V.Load(e + (i & em));
            if (AccessOf<R>.ReadsF)
                fv = V.Load(f + (i & fm));
            rule.Map(firsts, seconds, ref av, ref bv, ref cv, ref dv, ref ev, ref fv);
            if (AccessOf<R>.WritesA)
                V.Store(av, a + (i & am));
            if (AccessOf<R>.WritesB)
                V.Store(bv, b + (i & bm));
            if (AccessOf<R>.WritesC)
                V.Store(cv, c + (i & cm));
            if (AccessOf<R>.WritesD)
                V.Store(dv, d + (i & dm));
            if (AccessOf<R>.WritesE)
                V.Store(ev, e + (i & em));
            if (AccessOf<R>.WritesF)
                V.Store(fv, f + (i & fm));
            if (AccessOf<R>.ReducesA)
                CpuReduction.Add<V, R>(0, av, at[0].Columns, i, default);
            if (AccessOf<R>.ReducesB)
                CpuReduction.Add<V, R>(1, bv, at[1].Columns, i, default);
            if (AccessOf<R>.ReducesC)
                CpuReduction.Add<V, R>(2, cv, at[2].Columns, i, default);
            if (AccessOf<R>.ReducesD)
                CpuReduction.Add<V, R>(3, dv, at[3].Columns, i, default);
            if (AccessOf<R>.ReducesE)
                CpuReduction.Add<V, R>(4, ev, at[4].Columns, i, default);
            if (AccessOf<R>.ReducesF)
                CpuReduction.Add<V, R>(5, fv, at[5].Columns, i, default);
        }
    }
}
