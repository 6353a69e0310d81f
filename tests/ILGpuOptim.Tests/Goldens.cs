namespace ILGpuOptim.Tests;

/// <summary>Where recorded results of reference implementations lie beside the tests.</summary>
internal static class Goldens
{
    public static string Folder(params string[] parts) => Path.Combine([AppContext.BaseDirectory, "Goldens", .. parts]);
}
