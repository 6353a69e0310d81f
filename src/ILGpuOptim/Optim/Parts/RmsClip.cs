using System.ComponentModel;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>
/// Clips the direction to a root mean square (Shazeer and Stern, "Adafactor", ICML 2018): u ← u / max(1, RMS(u) / threshold).
/// </summary>
public sealed record RmsClip : ScalingPart
{
    /// <inheritdoc/>
    public override string Name => "rms-clip";

    /// <inheritdoc/>
    public override string Summary => "scales down a direction whose root mean square exceeds a threshold (Adafactor, 2018)";

    /// <summary>The root mean square above which the direction is scaled down.</summary>
    [Description("root mean square above which a direction is scaled down")]
    [Range(0, MinimumIsExclusive = true)]
    public double RmsClipThreshold { get; init; } = 1;

    internal override void Factor(in ParameterUpdate update, in DirectionNorms norms) =>
        update.Device.Map(new Factored.ClipFactor(1f / update.Length, (float)RmsClipThreshold, 1), 1, 1, norms.Squares, norms.Factor);
}
