namespace ILGpuOptim.Compute;

/// <summary>
/// A row program: two reductions over each row, the second may use the first, then a map over the row. Softmax,
/// LayerNorm, RMSNorm and their gradients are row programs. Programs with a single reduction return zero from
/// <see cref="SecondTerm"/>.
/// </summary>
public interface IRowRule : IRule
{
    /// <summary>True if the first reduction is a maximum instead of a sum.</summary>
    static abstract bool FirstIsMax { get; }

    /// <summary>True if there is a second reduction.</summary>
    static abstract bool HasSecond { get; }

    /// <summary>One element's term of the first reduction. Write-only operands have no value yet.</summary>
    L FirstTerm<L>(L a, L b, L c, L d, L e, L f) where L : struct, ILane<L>;

    /// <summary>Once per row: computes the first statistic from the first total.</summary>
    L First<L>(L total) where L : struct, ILane<L>;

    /// <summary>One element's term of the second reduction, always a sum.</summary>
    L SecondTerm<L>(L first, L a, L b, L c, L d, L e, L f) where L : struct, ILane<L>;

    /// <summary>Once per row: computes the second statistic from the second total.</summary>
    L Second<L>(L first, L total) where L : struct, ILane<L>;

    /// <summary>Computes each element from both statistics. A per-row operand may be assigned a statistic.</summary>
    void Map<L>(L first, L second, ref L a, ref L b, ref L c, ref L d, ref L e, ref L f) where L : struct, ILane<L>;
}
