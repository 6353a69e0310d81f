using System.Text.Json.Nodes;

namespace ILGpuOptim.Validation;

/// <summary>Compares settings as JSON.</summary>
internal static class SettingsDifferences
{
    /// <summary>All values that differ between two JSON texts, each with its path such as <c>optimizer.beta1</c>.</summary>
    public static IEnumerable<(string Path, string Left, string Right)> Of(string left, string right) => Of(JsonNode.Parse(left), JsonNode.Parse(right), "");

    private static IEnumerable<(string Path, string Left, string Right)> Of(JsonNode? left, JsonNode? right, string path)
    {
        if (JsonNode.DeepEquals(left, right))
            return [];
        if (left is JsonObject a && right is JsonObject b)
            return a.Select(item => item.Key).Union(b.Select(item => item.Key)).SelectMany(key => Of(a[key], b[key], path.Length > 0 ? $"{path}.{key}" : key));
        if (left is JsonArray x && right is JsonArray y && x.Count == y.Count)
            return Enumerable.Range(0, x.Count).SelectMany(i => Of(x[i], y[i], $"{path}[{i}]"));
        return [(path, left?.ToJsonString() ?? "null", right?.ToJsonString() ?? "null")];
    }
}
