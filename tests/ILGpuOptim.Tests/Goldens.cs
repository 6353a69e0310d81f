namespace ILGpuOptim.Tests;

/// <summary>Where recorded results of reference implementations lie beside the tests.</summary>
internal static class Goldens
{
    /// <summary>The folders of optimizers' trajectories.</summary>
    public static IReadOnlyList<string> Optimizers { get; } = ["optimizers", "optimizers-more", "optimizers-2"];

    public static string Folder(params string[] parts) => Path.Combine([AppContext.BaseDirectory, "Goldens", .. parts]);
}
