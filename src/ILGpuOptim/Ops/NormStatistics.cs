using ILGpuOptim.Compute;

namespace ILGpuOptim.Ops;

/// <summary>States if a norm's rule stores the mean and scale of each row, which only a backward pass reads.</summary>
internal interface INormStatistics
{
    /// <summary>The access to their operands.</summary>
    static abstract Slot Slot { get; }
}

/// <summary>Stores them.</summary>
internal readonly struct Kept : INormStatistics
{
    public static Slot Slot => Slot.Write;
}

/// <summary>Has no such operands.</summary>
internal readonly struct Dropped : INormStatistics
{
    public static Slot Slot => Slot.None;
}
