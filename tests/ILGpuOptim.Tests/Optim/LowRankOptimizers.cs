using ILGpuOptim.Optim;

namespace ILGpuOptim.Tests.Optim;

/// <summary>The optimizers that have a rank; the others refuse one.</summary>
internal static class LowRankOptimizers
{
    /// <summary>The settings with a rank, for an optimizer that has one.</summary>
    public static OptimizerSettings WithRank(OptimizerSettings settings, int rank) => settings.WithDefault("rank", $"{rank}");
}
