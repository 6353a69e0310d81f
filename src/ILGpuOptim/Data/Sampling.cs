namespace ILGpuOptim.Data;

/// <summary>How the windows of training batches are drawn.</summary>
public enum Sampling
{
    /// <summary>Without replacement: every window of an epoch once, in a random order that differs from epoch to epoch (<see cref="EpochWindows"/>).</summary>
    Epochs,

    /// <summary>With replacement: each window begins at a random position, whatever was drawn before.</summary>
    Random,
}
