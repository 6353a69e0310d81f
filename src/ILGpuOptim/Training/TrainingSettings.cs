using System.Text.Json;
using System.Text.Json.Serialization;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.Training;

/// <summary>Everything that determines a training run. A run writes it back with every default filled in.</summary>
public sealed record TrainingSettings
{
    /// <summary>What the other settings start from.</summary>
    public string Preset { get; init; } = "default";

    /// <summary>Text files or folders, or token files; empty means the embedded corpus.</summary>
    public IReadOnlyList<string> Data { get; init; } = [];

    /// <summary>char or byte.</summary>
    public string Tokenizer { get; init; } = "char";

    /// <summary>The part of the text that validates; 0 trains on all of it.</summary>
    public double Validation { get; init; } = 0.1;

    /// <summary>The model to train from fresh weights, as in <c>config.json</c>; null means a GPT-2. Its vocabulary follows the data.</summary>
    public ModelConfig? Model { get; init; }

    /// <summary>The folder of a model whose weights training begins with, instead of <see cref="Model"/>; or null.</summary>
    public string? From { get; init; }

    /// <summary>Names of parameters that stay as they are; * stands for anything.</summary>
    public IReadOnlyList<string> Freeze { get; init; } = [];

    /// <summary>Trains low-rank adapters beside frozen weights; null trains the weights.</summary>
    public LoraOptions? Lora { get; init; }

    /// <summary>Transformer layers; null means those of <see cref="Model"/>, or 4.</summary>
    public int? Layers { get; init; }

    /// <summary>Attention heads; null means those of <see cref="Model"/>, or 4.</summary>
    public int? Heads { get; init; }

    /// <summary>Numbers for each token; null means those of <see cref="Model"/>, or 128.</summary>
    public int? Channels { get; init; }

    /// <summary>Tokens of a training sequence, and the positions of a fresh model.</summary>
    public int Block { get; init; } = 64;

    /// <summary>How parameters are stored while they are trained; adapters stay in f32.</summary>
    public ParameterStorage ParameterType { get; init; }

    /// <summary>Dropout everywhere; null means that of <see cref="Model"/>, or none.</summary>
    public double? Dropout { get; init; }

    /// <summary>The part of the tokens that a masked language model has to predict.</summary>
    public double MaskedPart { get; init; } = 0.15;

    /// <summary>Sequences of a batch.</summary>
    public int Batch { get; init; } = 12;

    /// <summary>Batches whose gradients are added up before an update.</summary>
    public int Accumulate { get; init; } = 1;

    /// <summary>Updates.</summary>
    public int Steps { get; init; } = 2000;

    /// <summary>The optimizer and its settings.</summary>
    public OptimizerSettings Optimizer { get; init; } = new();

    /// <summary>How the learning rate changes.</summary>
    public ScheduleKind Schedule { get; init; } = ScheduleKind.Cosine;

    /// <summary>Steps of warm-up.</summary>
    public int Warmup { get; init; } = 100;

    /// <summary>The learning rate at the end, as a part of its peak.</summary>
    public double FinalRate { get; init; } = 0.1;

    /// <summary>The global norm above which gradients are scaled down; 0 never.</summary>
    public double Clip { get; init; } = 1;

    /// <summary>
    /// Whether each parameter is updated as soon as its gradient is complete, within the backward pass, and the gradient's memory given back: the
    /// gradients of one operation exist at once, not all. Without clipping by the global norm and without accumulation.
    /// </summary>
    public bool Layerwise { get; init; }

    /// <summary>Repeats initialisation, batches and dropout.</summary>
    public ulong Seed { get; init; } = 1;

    /// <summary>Steps between validations.</summary>
    public int EvalInterval { get; init; } = 250;

    /// <summary>Batches of a validation; 0 validates nothing.</summary>
    public int EvalBatches { get; init; } = 60;

    /// <summary>Steps between checkpoints; 0 saves at the end alone.</summary>
    public int CheckpointInterval { get; init; } = 250;

    /// <summary>The newest checkpoints that are kept, beside the best.</summary>
    public int Keep { get; init; } = 2;

    /// <summary>cpu or reference.</summary>
    public string Device { get; init; } = "cpu";

    /// <summary>Threads of the cpu; 0 means one for each core.</summary>
    public int Threads { get; init; }

    internal static readonly JsonSerializerOptions Options = new()
    {
        WriteIndented = true,
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        DictionaryKeyPolicy = JsonNamingPolicy.SnakeCaseLower,
        Converters = { new JsonStringEnumConverter(JsonNamingPolicy.SnakeCaseLower) },
        AllowOutOfOrderMetadataProperties = true,
        UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
        ReadCommentHandling = JsonCommentHandling.Skip,
        AllowTrailingCommas = true,
    };

    /// <summary>The settings as JSON.</summary>
    public string ToJson() => JsonSerializer.Serialize(this, Options);

    /// <summary>Reads settings; what the file does not say stays as in the preset it names.</summary>
    /// <exception cref="UserException">The file is missing, or has something that is no setting.</exception>
    public static TrainingSettings Load(string path)
    {
        try
        {
            return Parse(File.ReadAllText(path));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            throw new UserException($"{path}: {e.Message}", e);
        }
    }

    /// <summary>As <see cref="Load"/>, from text.</summary>
    /// <exception cref="JsonException">The text is no settings.</exception>
    public static TrainingSettings Parse(string json)
    {
        using JsonDocument given = JsonDocument.Parse(json, new JsonDocumentOptions { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true });
        string preset = given.RootElement.ValueKind == JsonValueKind.Object && given.RootElement.TryGetProperty("preset", out JsonElement name) ? name.GetString() ?? "default" : "default";
        TrainingSettings start = Presets.Find(preset);
        if (given.RootElement is { ValueKind: JsonValueKind.Object } root && root.TryGetProperty("optimizer", out JsonElement optimizer) && optimizer.ValueKind == JsonValueKind.Object
            && optimizer.TryGetProperty("name", out JsonElement chosen) && chosen.ValueKind == JsonValueKind.String)
        {
            start = start with { Optimizer = start.Optimizer.For(chosen.GetString()!) };
        }

        JsonElement basis = JsonSerializer.SerializeToElement(start, Options);
        return JsonSerializer.Deserialize<TrainingSettings>(Merge(basis, given.RootElement), Options)!;
    }

    /// <summary>One object over another: fields of the second win, objects within are merged alike.</summary>
    private static System.Text.Json.Nodes.JsonNode? Merge(JsonElement below, JsonElement above)
    {
        if (below.ValueKind != JsonValueKind.Object || above.ValueKind != JsonValueKind.Object || TypeOf(below) != TypeOf(above))
            return System.Text.Json.Nodes.JsonNode.Parse(above.GetRawText());
        var result = System.Text.Json.Nodes.JsonNode.Parse(below.GetRawText())!.AsObject();
        foreach (JsonProperty field in above.EnumerateObject())
            result[field.Name] = below.TryGetProperty(field.Name, out JsonElement old) ? Merge(old, field.Value) : System.Text.Json.Nodes.JsonNode.Parse(field.Value.GetRawText());
        return result;
    }

    /// <summary>What model an object describes: one of another type is not filled up from it.</summary>
    private static string? TypeOf(JsonElement json) => json.TryGetProperty("model_type", out JsonElement type) ? type.ToString() : null;

    /// <summary>Fails on values that cannot work.</summary>
    /// <exception cref="UserException">A setting is out of range.</exception>
    public void Check()
    {
        (string Name, int Value, int Least)[] whole =
        [
            ("--layers", Layers ?? 1, 1), ("--heads", Heads ?? 1, 1), ("--channels", Channels ?? 1, 1), ("--block", Block, 1), ("--batch", Batch, 1),
            ("--accumulate", Accumulate, 1), ("--steps", Steps, 0), ("--warmup", Warmup, 0), ("--eval-interval", EvalInterval, 1),
            ("--eval-batches", EvalBatches, 0), ("--checkpoint-interval", CheckpointInterval, 0), ("--keep", Keep, 1), ("--threads", Threads, 0),
        ];
        foreach ((string name, int value, int least) in whole)
        {
            if (value < least)
                throw new UserException($"{name} {value}: it must be at least {least}");
        }

        if (From is not null && (Model is not null || Layers is not null || Heads is not null || Channels is not null))
            throw new UserException($"--from {From}: that model has sizes of its own; leave out --model, --layers, --heads and --channels");
        if (Dropout is { } dropout && !(dropout >= 0 && dropout < 1))
            throw new UserException($"--dropout {Dropout}: it lies in [0, 1)");
        if (!(MaskedPart > 0 && MaskedPart < 1))
            throw new UserException($"--masked-part {MaskedPart}: it lies between 0 and 1");
        if (!(Validation >= 0 && Validation < 1))
            throw new UserException($"--validation {Validation}: it lies in [0, 1)");
        if (!(Clip >= 0))
            throw new UserException($"--clip {Clip}: it must be 0 (off) or positive");
        if (Layerwise && Clip > 0)
            throw new UserException($"--layerwise updates parameters before the norm of all gradients is known, so it cannot clip by it (--clip {Clip}); add --clip 0");
        if (Layerwise && Accumulate > 1)
            throw new UserException($"--layerwise keeps no gradients from one batch to the next, so it cannot add up those of {Accumulate} batches; leave out --accumulate and raise --batch");
    }
}
