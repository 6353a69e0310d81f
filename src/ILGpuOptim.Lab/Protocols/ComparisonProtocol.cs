using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using ILGpuOptim.Files;
using ILGpuOptim.Training;

namespace ILGpuOptim.Lab;

/// <summary>
/// A comparison that is stated before it runs: for each study the model, data and tokens, how every optimizer's settings are searched, and the seeds
/// that the results come from.
/// </summary>
internal sealed record ComparisonProtocol
{
    /// <summary>The protocol as JSON.</summary>
    private readonly string json;

    private ComparisonProtocol(string json, IReadOnlyList<ProtocolStudy> studies) => (this.json, Studies) = (json, studies);

    /// <summary>The studies, in the order in which they run.</summary>
    public IReadOnlyList<ProtocolStudy> Studies { get; }

    /// <summary>Reads a protocol. Paths of data are relative to the current folder.</summary>
    /// <exception cref="UserException">The file is missing, has an unknown field, or a value that is invalid.</exception>
    public static ComparisonProtocol Load(string path) => Read(JsonFields.Open(path), SourceFile.ReadAllText(path, JsonFields.MaxFileBytes, "it is no protocol"));

    /// <summary>Reads a protocol from text.</summary>
    /// <exception cref="UserException">As for <see cref="Load"/>.</exception>
    public static ComparisonProtocol Parse(string json) => Read(JsonFields.Parse(Encoding.UTF8.GetBytes(json), "protocol"), json);

    private static ComparisonProtocol Read(JsonFields fields, string text)
    {
        IReadOnlyList<JsonFields> items = fields.Objects("studies") ?? throw fields.Error("studies", "is missing");
        fields.Finish();
        ProtocolStudy[] studies = [.. items.Select(ProtocolStudy.Read)];
        if (studies.Length == 0)
            throw fields.Error("studies", "is empty; state at least one");
        if (studies.GroupBy(study => study.Name, StringComparer.OrdinalIgnoreCase).FirstOrDefault(group => group.Count() > 1) is { } twice)
            throw fields.Error("studies", $"has two of the name {twice.Key}; name them differently");
        if (studies.Select(study => study.Training.Device).Distinct(StringComparer.OrdinalIgnoreCase).Count() > 1)
            throw fields.Error("studies", "have different devices (training.device); all studies run on one, so state the same");
        JsonNode node = JsonNode.Parse(text, documentOptions: new JsonDocumentOptions { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true })!;
        return new ComparisonProtocol(node.ToJsonString(SettingsWriter.Indented), studies);
    }

    /// <summary>The protocol as JSON, without comments.</summary>
    public string ToJson() => json;
}
