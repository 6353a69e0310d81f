using System.Text.Json;
using System.Text.Json.Serialization;

namespace ILGpuOptim.Models;

/// <summary>What every model's <c>config.json</c> tells, under Hugging Face's field names.</summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "model_type", UnknownDerivedTypeHandling = JsonUnknownDerivedTypeHandling.FailSerialization)]
[JsonDerivedType(typeof(Gpt2Config), "gpt2")]
[JsonDerivedType(typeof(LlamaConfig), "llama")]
[JsonDerivedType(typeof(BertConfig), "bert")]
public abstract record ModelConfig
{
    /// <summary>How many token ids there are.</summary>
    [JsonPropertyName("vocab_size")]
    public required int Vocabulary { get; init; }

    /// <summary>Fields of the file that mean nothing here, written back as they were.</summary>
    [JsonExtensionData]
    public IDictionary<string, JsonElement>? Others { get; init; }

    /// <summary>The longest sequence.</summary>
    [JsonIgnore]
    public abstract int Positions { get; }

    /// <summary>Layers.</summary>
    [JsonIgnore]
    public abstract int Depth { get; }

    /// <summary>Numbers for each token.</summary>
    [JsonIgnore]
    public abstract int Width { get; }

    /// <summary>Attention heads.</summary>
    [JsonIgnore]
    public abstract int HeadCount { get; }

    /// <summary>The name of the family, for people.</summary>
    [JsonIgnore]
    public abstract string Family { get; }

    /// <summary>The main sizes, for people.</summary>
    [JsonIgnore]
    public string Summary => $"{Family}, {Depth} layers, {HeadCount} heads, {Width} channels";

    private static readonly JsonSerializerOptions Options = new()
    {
        WriteIndented = true,
        AllowOutOfOrderMetadataProperties = true,
        ReadCommentHandling = JsonCommentHandling.Skip,
        AllowTrailingCommas = true,
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    };

    private static readonly JsonDocumentOptions Documents = new() { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true };

    /// <summary>A model of this configuration with fresh parameters.</summary>
    public abstract LanguageModel Create(Layers.Initializer initializer);

    /// <summary>The configuration with other sizes; what is null stays, and widths inside keep their ratio to the channels.</summary>
    /// <param name="vocabulary">Token ids.</param>
    /// <param name="positions">The longest sequence.</param>
    /// <param name="layers">Layers.</param>
    /// <param name="heads">Attention heads.</param>
    /// <param name="channels">Numbers for each token.</param>
    /// <param name="dropout">Every dropout that the model has.</param>
    public abstract ModelConfig Resized(int? vocabulary = null, int? positions = null, int? layers = null, int? heads = null, int? channels = null, double? dropout = null);

    /// <summary>The names and shapes of all parameters in the order of the model's file; nothing is allocated.</summary>
    public IReadOnlyList<(string Name, IReadOnlyList<int> Shape)> ParameterShapes()
    {
        using var device = new Compute.DryDevice();
        using LanguageModel model = Create(new Layers.Initializer(device, 0));
        return [.. model.Parameters.Select(parameter => (parameter.Name, parameter.Shape))];
    }

    /// <summary>Throws when the sizes contradict each other.</summary>
    /// <param name="source">Where the configuration comes from, for the message.</param>
    public abstract void Check(string source);

    /// <summary>Reads and checks a configuration.</summary>
    /// <exception cref="UserException">Missing, damaged or contradictory.</exception>
    public static ModelConfig Load(string path)
    {
        string text;
        try
        {
            text = File.ReadAllText(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{path}: {e.Message}", e);
        }

        return Parse(text, path);
    }

    /// <summary>As <see cref="Load"/>, from text.</summary>
    public static ModelConfig Parse(string text, string source)
    {
        try
        {
            using (JsonDocument json = JsonDocument.Parse(text, Documents))
            {
                string? type = json.RootElement.ValueKind == JsonValueKind.Object && json.RootElement.TryGetProperty("model_type", out JsonElement field) ? field.ToString() : null;
                if (type is not ("gpt2" or "llama" or "bert"))
                    throw new UserException($"{source}: model_type {(type is null ? "is missing" : $"\"{type}\" is not supported")}; there are gpt2, llama and bert");
            }

            ModelConfig config = JsonSerializer.Deserialize<ModelConfig>(text, Options)
                ?? throw new UserException($"{source}: no configuration; expected an object with \"model_type\"");
            config.Check(source);
            return config;
        }
        catch (Exception e) when (e is JsonException or NotSupportedException)
        {
            throw new UserException($"{source}: {e.Message}", e);
        }
    }

    /// <summary>The configuration as <c>config.json</c> holds it; weights are written as f32, whatever they were read from.</summary>
    public string ToJson() => JsonSerializer.Serialize(
        this with { Others = Others?.Where(field => field.Key is not ("torch_dtype" or "dtype")).ToDictionary(field => field.Key, field => field.Value) }, Options);

    /// <summary>Fails with a message that names the file when a value is not positive.</summary>
    protected static void Positive(string source, string field, int value)
    {
        if (value < 1)
            throw new UserException($"{source}: {field} = {value}; it must be at least 1");
    }

    /// <summary>Fails when a probability of dropping is none.</summary>
    protected static void Dropout(string source, string field, float value)
    {
        if (!(value >= 0 && value < 1))
            throw new UserException($"{source}: {field} = {value}; a dropout lies in [0, 1)");
    }

    /// <summary>Fails when heads do not divide the width, and names head counts that do.</summary>
    protected static void Divides(string source, string headsField, int heads, string widthField, int width)
    {
        if (width % heads == 0)
            return;
        int below = heads, above = heads;
        while (width % below != 0)
            below--;
        while (above < width && width % above != 0)
            above++;
        throw new UserException($"{source}: {headsField} = {heads} does not divide {widthField} = {width}; use {below} or {above}");
    }
}
