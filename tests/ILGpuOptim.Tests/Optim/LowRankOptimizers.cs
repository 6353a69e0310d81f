namespace ILGpuOptim.Tests.Optim;

/// <summary>The optimizers that have a rank; the others refuse one.</summary>
internal static class LowRankOptimizers
{
    /// <summary>A rank for an optimizer that has one, else null.</summary>
    public static int? Rank(string name, int rank) => name is "galore" or "fira" or "apollo" or "apollo-mini" ? rank : null;
}
