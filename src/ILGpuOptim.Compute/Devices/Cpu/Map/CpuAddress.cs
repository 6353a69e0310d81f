namespace ILGpuOptim.Compute.Cpu;

/// <summary>The address of one of a rule's six operands, as a loop reads it.</summary>
internal unsafe struct CpuAddress
{
    /// <summary>The elements.</summary>
    public float* Data;

    /// <summary>And-ed to an index into <see cref="Data"/>: -1, or 0 for a broadcast.</summary>
    public nint Mask;

    /// <summary>The sums of columns; null if there are none.</summary>
    public float* Columns;
}
