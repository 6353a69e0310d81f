namespace ILGpuOptim.Compute;

/// <summary>
/// A row program: two reductions over each row, the second may use the first, then a map over the row. Softmax,
/// LayerNorm, RMSNorm and their gradients are row programs. Programs with a single reduction return zero from
/// <see cref="SecondTerm"/>.
/// </summary>
public interface IRowRule : IRule
{
    /// <summary>Whether the first reduction keeps the largest term instead of the sum.</summary>
    static abstract bool FirstIsMax { get; }

    /// <summary>Whether there is a second reduction at all.</summary>
    static abstract bool HasSecond { get; }

    /// <summary>One element's term of the first reduction. Operands that are written have no value yet.</summary>
    L FirstTerm<L>(L a, L b, L c, L d, L e, L f) where L : struct, ILane<L>;

    /// <summary>Once a row: turns the first total into the first statistic.</summary>
    L First<L>(L total) where L : struct, ILane<L>;

    /// <summary>One element's term of the second reduction, always a sum.</summary>
    L SecondTerm<L>(L first, L a, L b, L c, L d, L e, L f) where L : struct, ILane<L>;

    /// <summary>Once a row: turns the second total into the second statistic.</summary>
    L Second<L>(L first, L total) where L : struct, ILane<L>;

    /// <summary>Each element, with both statistics at hand. A per-row operand may be assigned a statistic.</summary>
    void Map<L>(L first, L second, ref L a, ref L b, ref L c, ref L d, ref L e, ref L f) where L : struct, ILane<L>;
}
