namespace ILGpuOptim.Compute.Cpu;

/// <summary>Where a loop finds one of the six operands of a rule.</summary>
internal unsafe struct CpuAddress
{
    /// <summary>The elements.</summary>
    public float* Data;

    /// <summary>And-ed to an index into <see cref="Data"/>: -1, or 0 for a broadcast.</summary>
    public nint Mask;

    /// <summary>The sums of columns; null if there are none.</summary>
    public float* Columns;
}
