using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace ILGpuOptim.Fuzz;

/// <summary>Damages JSON by its structure: values of other types and sizes, fields that are missing, repeated, renamed or nested.</summary>
internal static class JsonMutator
{
    /// <summary>Strings that often cause errors.</summary>
    public static readonly string[] Texts =
    [
        "", " ", "\0", "\n", "NaN", "-1", "0", "1e999", "../../etc/passwd", "/dev/zero", "*", "\u001b[31m", "\u202e", "é", "e\u0301", "𝟏", "\ufffd", "<unk>", "[MASK]", "a b", "(a+)+$", "[", "(?<",
        "\\p{L}+", "\u0120the", new string('a', 3000), "null", "gelu", "BPE", "Sequence",
    ];

    private static readonly string[] Values =
    [
        "null", "true", "false", "0", "-0", "1", "-1", "2", "0.5", "1e-60", "1e39", "1e400", "255", "65536", "2147483647", "-2147483648", "4294967296", "9223372036854775807", "1e18", "[]", "{}", "[[]]",
        "{\"type\":null}", "[null]", "\"\"", "\"\\ud800\"", "[1,2,3]", "\"1\"",
    ];

    /// <summary>Damages JSON; null if the bytes are not JSON. In JSON lines, one line is damaged.</summary>
    public static byte[]? Mutate(byte[] bytes, Random random)
    {
        string text = Encoding.UTF8.GetString(bytes);
        string[] lines = text.Split('\n');
        if (TryMutate(text, random) is { } whole)
            return Encoding.UTF8.GetBytes(whole);
        int at = random.Next(lines.Length);
        if (TryMutate(lines[at], random) is not { } line)
            return null;
        lines[at] = line;
        return Encoding.UTF8.GetBytes(string.Join('\n', lines));
    }

    private static string? TryMutate(string text, Random random)
    {
        try
        {
            if (JsonNode.Parse(text) is not { } root)
                return null;
            var places = new List<JsonNode>();
            Collect(root, places, 4000);
            JsonNode place = places[random.Next(places.Count)];
            return place.Parent is null ? Raw(random) : Changed(root, place, random);
        }
        catch (Exception e) when (e is JsonException or ArgumentException or InvalidOperationException)
        {
            return null;
        }
    }

    private static void Collect(JsonNode node, List<JsonNode> places, int most)
    {
        if (places.Count >= most)
            return;
        places.Add(node);
        IEnumerable<JsonNode?> children = node is JsonObject fields ? fields.Select(field => field.Value) : node as JsonArray ?? [];
        foreach (JsonNode? child in children)
        {
            if (child is not null)
                Collect(child, places, most);
        }
    }

    private static string Changed(JsonNode root, JsonNode place, Random random)
    {
        // Values that JsonNode cannot represent, such as 1e400 or duplicate fields, are inserted into the text.
        const string Mark = "@@fuzz@@";
        string raw = random.Next(5) switch
        {
            0 => JsonSerializer.Serialize(Texts[random.Next(Texts.Length)]),
            1 => place.ToJsonString() is { Length: < 2000 } own ? $"[{own},{own}]" : Raw(random),
            _ => Raw(random),
        };
        if (place.Parent is JsonObject parent)
        {
            string name = place.GetPropertyName();
            switch (random.Next(6))
            {
                case 0:
                    parent.Remove(name);
                    return root.ToJsonString();
                case 1:
                    JsonNode copy = place.DeepClone();
                    parent.Remove(name);
                    parent[Texts[random.Next(Texts.Length)] + "x"] = copy;
                    return root.ToJsonString();
                case 2:
                    raw = $"{place.ToJsonString()},{JsonSerializer.Serialize(name)}:{raw}";
                    break;
            }

            parent[name] = Mark;
        }
        else if (place.Parent is JsonArray list)
        {
            int at = place.GetElementIndex();
            if (random.Next(4) == 0)
            {
                list.RemoveAt(at);
                return root.ToJsonString();
            }

            list[at] = Mark;
        }

        return root.ToJsonString().Replace($"\"{Mark}\"", raw, StringComparison.Ordinal);
    }

    private static string Raw(Random random) => random.Next(40) switch
    {
        0 => new string('[', 3000),
        1 => string.Concat(Enumerable.Repeat("[", 60)) + string.Concat(Enumerable.Repeat("]", 60)),
        2 => new string('9', 400),
        _ => Values[random.Next(Values.Length)],
    };
}
