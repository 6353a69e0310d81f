using System.Runtime.CompilerServices;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>The results for a row x, given m = max x and s = Σ exp(x - m): softmax, its logarithm, log-sum-exp, the gradient of cross-entropy.</summary>
internal interface ISoftmaxRule : IRule
{
    /// <summary>Once a row: what <see cref="Map"/> needs of the sum.</summary>
    L OfSum<L>(L largest, L sum) where L : struct, ILane<L>;

    /// <summary>Each element.</summary>
    void Map<L>(L largest, L ofSum, ref L x, ref L b, ref L c) where L : struct, ILane<L>;
}

/// <summary>The row program of a <see cref="ISoftmaxRule"/>. Its first operand is x.</summary>
internal readonly struct SoftmaxRows<R>(R rule) : IRowRule where R : unmanaged, ISoftmaxRule
{
    private readonly R rule = rule;

    public static Access Access => R.Access;

    public static bool FirstIsMax => true;

    public static bool HasSecond => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L FirstTerm<L>(L x, L b, L c, L d, L e, L f) where L : struct, ILane<L> => x;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L First<L>(L total) where L : struct, ILane<L> => SoftmaxRows.Origin(total);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L SecondTerm<L>(L largest, L x, L b, L c, L d, L e, L f) where L : struct, ILane<L> => L.Exp(x - largest);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L Second<L>(L largest, L total) where L : struct, ILane<L> => rule.OfSum(largest, total);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Map<L>(L largest, L ofSum, ref L x, ref L b, ref L c, ref L d, ref L e, ref L f) where L : struct, ILane<L> =>
        rule.Map(largest, ofSum, ref x, ref b, ref c);
}

/// <summary>The parts that the rules above share.</summary>
internal static class SoftmaxRows
{
    /// <summary>The element that exponents are taken relative to: the largest, or 0 where that is infinite, as ∞ - ∞ is NaN.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static L Origin<L>(L largest) where L : struct, ILane<L> => L.Select(L.Equal(L.Abs(largest), L.Splat(float.PositiveInfinity)), L.Splat(0), largest);

    /// <summary>m + ln s.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static L LogSumExp<L>(L largest, L sum) where L : struct, ILane<L> => largest + L.Log(sum);
}

/// <summary>b = ln Σ eˣ, for each row.</summary>
internal readonly struct LogSumExpRule : ISoftmaxRule
{
    public static Access Access => Access.Of(Slot.Read, Slot.Write);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public L OfSum<L>(L largest, L sum) where L : struct, ILane<L> => SoftmaxRows.LogSumExp(largest, sum);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Map<L>(L largest, L logSum, ref L x, ref L b, ref L c) where L : struct, ILane<L> => b = logSum;
}
