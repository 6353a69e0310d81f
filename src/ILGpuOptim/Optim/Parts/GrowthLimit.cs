using System.ComponentModel;
using ILGpuOptim.Compute;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Optim;

/// <summary>
/// The norm-growth limiter of Fira (Chen et al., 2024) and APOLLO: the norm of the direction exceeds that of the previous step by a factor of
/// <see cref="GrowthLimitFactor"/> at most. State: 4 bytes.
/// </summary>
public sealed record GrowthLimit : ScalingPart
{
    /// <inheritdoc/>
    public override string Name => "growth-limit";

    /// <inheritdoc/>
    public override string Summary => "limits the growth of the direction's norm from step to step (Fira, 2024)";

    /// <summary>The largest ratio of the norms of two steps.</summary>
    [Description("largest ratio of the norms of two successive directions")]
    [Range(1)]
    public double GrowthLimitFactor { get; init; } = 1.01;

    internal override IReadOnlyList<StateTensor> State { get; } = [new("growth_limit_norm", [1])];

    /// <summary>A zero norm does not replace the previous one; the parameter would hardly move for thousands of steps.</summary>
    internal override void Factor(in ParameterUpdate update, in DirectionNorms norms) => update.Device.Map(
        new LowRankRules.LimiterRule(update.Step == 1, 1, true, (float)GrowthLimitFactor), 1, 1, norms.Squares, update.StateValues("growth_limit_norm"), norms.Factor);
}
