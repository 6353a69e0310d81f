using System.Text.Json;
using System.Text.Json.Nodes;
using ILGpuOptim.Training;

namespace ILGpuOptim.Comparison;

/// <summary>Everything that determines a comparison's results.</summary>
public sealed record ComparisonSettings
{
    /// <summary>What all runs share: model, data, batches, schedule, the first seed.</summary>
    public required TrainingSettings Training { get; init; }

    /// <summary>Who takes part.</summary>
    public required IReadOnlyList<Contender> Contenders { get; init; }

    /// <summary>How many seeds; the first searches the learning rate, the others repeat the best one.</summary>
    public int Seeds { get; init; } = 1;

    /// <summary>Whether hopeless learning rates are given up early, as <see cref="Pruning"/> says.</summary>
    public bool Prunes { get; init; } = true;

    /// <summary>The settings of one run.</summary>
    public TrainingSettings Of(Contender contender, double rate, ulong seed) =>
        Training with { Seed = seed, Optimizer = contender.Optimizer with { LearningRate = rate } };

    /// <summary>The settings as JSON, without what does not change results.</summary>
    public string ToJson() => JsonSerializer.Serialize(this with { Training = Training with { Threads = 0 } }, TrainingSettings.Options);

    /// <summary>Reads settings.</summary>
    /// <exception cref="UserException">The file is missing or damaged.</exception>
    public static ComparisonSettings Load(string path)
    {
        try
        {
            return JsonSerializer.Deserialize<ComparisonSettings>(File.ReadAllText(path), TrainingSettings.Options) ?? throw new JsonException("it is empty");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            throw new UserException($"{path}: {e.Message}", e);
        }
    }

    /// <summary>Fails on settings that cannot be compared.</summary>
    /// <exception cref="UserException">With the setting and what to do.</exception>
    public void Check()
    {
        Training.Check();
        if (Seeds < 1)
            throw new UserException($"--seeds {Seeds}: it must be at least 1");
        if (Training.Steps < 1)
            throw new UserException($"--steps {Training.Steps}: a comparison needs at least one");
        if (Training.EvalBatches == 0 || Training.Validation == 0)
            throw new UserException("a comparison goes by the validation loss; --eval-batches and --validation must not be 0");
    }

    /// <summary>The first setting in which two comparisons differ, or null.</summary>
    internal static string? Difference(string left, string right) => Difference(JsonNode.Parse(left), JsonNode.Parse(right), "");

    private static string? Difference(JsonNode? left, JsonNode? right, string path)
    {
        if (JsonNode.DeepEquals(left, right))
            return null;
        if (left is JsonObject a && right is JsonObject b)
            return a.Select(item => item.Key).Union(b.Select(item => item.Key)).Select(key => Difference(a[key], b[key], path.Length > 0 ? $"{path}.{key}" : key)).First(item => item is not null);
        if (left is JsonArray x && right is JsonArray y && x.Count == y.Count)
            return Enumerable.Range(0, x.Count).Select(i => Difference(x[i], y[i], $"{path}[{i}]")).First(item => item is not null);
        return $"{path}: {left?.ToJsonString() ?? "null"} there, {right?.ToJsonString() ?? "null"} here";
    }
}
