using System.Text.Json;
using System.Text.Json.Nodes;

namespace ILGpuOptim.TokenizerOracle;

/// <summary>One <c>tokenizer.json</c> and the texts and ids that it is tried on.</summary>
/// <param name="Family">The file it stands in.</param>
/// <param name="Name">Its name, unique in the file.</param>
/// <param name="Json">The contents of the tokenizer.json.</param>
/// <param name="Plain">Texts whose ids are recorded one by one.</param>
/// <param name="Hashed">Texts whose ids are recorded as hashes.</param>
/// <param name="Decode">Ids whose text is recorded, beside the ids of the texts.</param>
/// <param name="Unicode">Records the hashes of <see cref="UnicodeBlocks"/>.</param>
/// <param name="MayRefuse">Whether the file is refused is left to an implementation.</param>
/// <param name="Crashes">Hugging Face's library ends the process with this invalid file, so nothing can be recorded.</param>
/// <param name="LosesText">The library drops characters that the model does not know, without a word; another implementation may refuse such a text.</param>
public sealed record GoldenCase(string Family, string Name, string Json, string[] Plain, string[] Hashed, int[][] Decode, bool Unicode, bool MayRefuse, bool Crashes, bool LosesText)
{
    private static readonly JsonSerializerOptions Deep = new() { MaxDepth = 128 };

    /// <summary>The names of the files of cases in a folder.</summary>
    public static IEnumerable<string> Families(string folder) =>
        Directory.GetFiles(folder, "*.json").Select(path => Path.GetFileNameWithoutExtension(path)).Where(name => name != "texts").Order(StringComparer.Ordinal);

    /// <summary>Reads the cases of a file. A case is the file's base with some of its parts set, which a dotted path names.</summary>
    public static List<GoldenCase> Read(string folder, string family)
    {
        JsonNode texts = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, "texts.json")))!;
        JsonNode file = JsonNode.Parse(File.ReadAllText(Path.Combine(folder, family + ".json")))!;
        string[] common = Strings(file["plain"]);
        var result = new List<GoldenCase>();
        foreach (JsonNode? node in file["cases"]!.AsArray())
        {
            JsonNode root = file["base"]!.DeepClone();
            foreach ((string path, JsonNode? value) in node!["set"]!.AsObject())
            {
                string[] steps = path.Split('.');
                JsonNode parent = steps[..^1].Aggregate(root, (at, step) => at[step]!);
                parent[steps[^1]] = value?.DeepClone();
            }

            bool isShort = Flag(node, "short") || Flag(node, "noTexts");
            result.Add(new GoldenCase(
                family, (string)node["name"]!, root.ToJsonString(Deep),
                [.. Strings(node["plain"]), .. common, .. isShort ? [] : Strings(texts["plain"])],
                isShort ? [] : Strings(texts["hashed"]),
                [.. Ids(file["decode"]), .. Ids(node["decode"])],
                Flag(node, "unicode"), Flag(node, "mayRefuse"), Flag(node, "crashes"), Flag(node, "losesText")));
        }

        return result;
    }

    private static bool Flag(JsonNode node, string name) => node[name] is { } value && (bool)value;

    private static int[][] Ids(JsonNode? node) => node?.Deserialize<int[][]>() ?? [];

    private static string[] Strings(JsonNode? node) => node?.Deserialize<string[]>() ?? [];
}
