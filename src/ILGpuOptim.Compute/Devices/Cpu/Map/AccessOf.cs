namespace ILGpuOptim.Compute.Cpu;

/// <summary>
/// A rule's access as a field. The JIT compiles a field of an initialized class as a constant, whereas a property, read for every operand, would exhaust
/// its inlining budget: loops over rules whose access is computed from type arguments took four times as long. Read it before the loops are compiled.
/// </summary>
internal static class AccessOf<R> where R : unmanaged, IRule
{
    /// <summary>The rule's access.</summary>
    public static readonly Access Value = R.Access;
}
