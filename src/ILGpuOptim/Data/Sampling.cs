namespace ILGpuOptim.Data;

/// <summary>The method of sampling training windows.</summary>
public enum Sampling
{
    /// <summary>Without replacement: every window of an epoch once, in a random order that differs from epoch to epoch (<see cref="EpochWindows"/>).</summary>
    Epochs,

    /// <summary>With replacement: each window starts at an independent random position.</summary>
    Random,
}
