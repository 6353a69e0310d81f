namespace ILGpuOptim.Models;

/// <summary>Lists of configurations with one item a layer.</summary>
internal static class LayerList
{
    /// <summary>The list for another number of layers: truncated, or repeated.</summary>
    public static IReadOnlyList<T>? Repeated<T>(IReadOnlyList<T>? list, int layers) =>
        list is null || list.Count == layers || list.Count == 0 ? list : [.. Enumerable.Range(0, layers).Select(layer => list[layer % list.Count])];
}
