using System.Text.Json;
using System.Text.Json.Nodes;

namespace ILGpuOptim.Files;

/// <summary>JSON nodes of values whose type is known when the program runs.</summary>
internal static class JsonNodes
{
    /// <summary>A node that holds an element.</summary>
    public static JsonNode? Of(JsonElement element) => element.ValueKind switch
    {
        JsonValueKind.Object => JsonObject.Create(element),
        JsonValueKind.Array => JsonArray.Create(element),
        JsonValueKind.Null => null,
        _ => JsonValue.Create(element),
    };

    /// <summary>An array of texts.</summary>
    public static JsonArray Of(IEnumerable<string> texts) => new([.. texts.Select(text => (JsonNode)text)]);
}
