namespace ILGpuOptim.Compute.Cpu;

/// <summary>
/// A rule's access as fields. The JIT compiles fields of an initialized class as constants and never looks at branches that they rule out, whereas a call
/// for each operand would use up the locals that it grants a method. Read one before the loops are compiled.
/// </summary>
internal static class AccessOf<R> where R : unmanaged, IRule
{
    /// <summary>The rule's access.</summary>
    public static readonly Access Value = R.Access;

    /// <summary>
    /// The prefetch distance of a loop in floats, for each operand that it reads. Hardware prefetching stops at each 4 KiB page, and a rule that reads one or two operands has too
    /// few loads in flight to hide the latency of memory. With more operands, lines fetched two pages ahead displace each other in the first-level cache before they are read.
    /// </summary>
    public static readonly int Ahead = Enumerable.Range(0, Access.MaxOperands).Count(k => R.Access.Reads(k)) <= 2 ? 2048 : 256;

    public static readonly bool ReadsA = R.Access.Reads(0), ReadsB = R.Access.Reads(1), ReadsC = R.Access.Reads(2);
    public static readonly bool ReadsD = R.Access.Reads(3), ReadsE = R.Access.Reads(4), ReadsF = R.Access.Reads(5);
    public static readonly bool WritesA = R.Access.Writes(0), WritesB = R.Access.Writes(1), WritesC = R.Access.Writes(2);
    public static readonly bool WritesD = R.Access.Writes(3), WritesE = R.Access.Writes(4), WritesF = R.Access.Writes(5);
    public static readonly bool ReducesA = R.Access.Reduces(0), ReducesB = R.Access.Reduces(1), ReducesC = R.Access.Reduces(2);
    public static readonly bool ReducesD = R.Access.Reduces(3), ReducesE = R.Access.Reduces(4), ReducesF = R.Access.Reduces(5);
}
