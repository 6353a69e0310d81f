using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using ILGpuOptim.Files;

namespace ILGpuOptim.Models;

/// <summary>What every model's <c>config.json</c> tells, under Hugging Face's field names.</summary>
[JsonPolymorphic(TypeDiscriminatorPropertyName = "model_type")]
[JsonDerivedType(typeof(Gpt2Config), "gpt2")]
[JsonDerivedType(typeof(LlamaConfig), "llama")]
[JsonDerivedType(typeof(BertConfig), "bert")]
public abstract record ModelConfig
{
    /// <summary>How many token ids there are.</summary>
    [JsonPropertyName("vocab_size")]
    public required int Vocabulary { get; init; }

    /// <summary>The id that fills up short sequences; null where there is none.</summary>
    [JsonPropertyName("pad_token_id"), JsonIgnore(Condition = JsonIgnoreCondition.Never)]
    public int? PadToken { get; init; }

    /// <summary>The id of a masked language model's mask token; null where only the tokenizer has it.</summary>
    [JsonPropertyName("mask_token_id")]
    public int? MaskToken { get; init; }

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

    private const long MaxFileBytes = 16 << 20;

    private static readonly Dictionary<string, Func<JsonFields, ModelConfig>> Families = new()
    {
        ["gpt2"] = Gpt2Config.Read,
        ["llama"] = LlamaConfig.Read,
        ["bert"] = BertConfig.Read,
    };

    private static readonly JsonSerializerOptions Options = new() { WriteIndented = true, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull };

    /// <summary>Whether the model predicts masked tokens instead of next ones.</summary>
    [JsonIgnore]
    public virtual bool PredictsMaskedTokens => false;

    /// <summary>Tensors of files that make no difference, by pattern: buffers that follow from the configuration.</summary>
    [JsonIgnore]
    public virtual IReadOnlyList<string> IgnoredTensors => [];

    /// <summary>Tensors of files that only other heads use, by pattern; they are neither read nor written back.</summary>
    [JsonIgnore]
    public virtual IReadOnlyList<string> OtherHeads => [];

    /// <summary>Tensors that files may have beside a parameter with the same values: the copy's name and the parameter's.</summary>
    [JsonIgnore]
    public virtual IReadOnlyDictionary<string, string> TiedCopies => new Dictionary<string, string>();

    /// <summary>The default LoRA targets: last parts of names of products.</summary>
    [JsonIgnore]
    public virtual IReadOnlyList<string> LoraTargets => [];

    /// <summary>What Hugging Face's classes put before the names of this model's parts, beyond our names.</summary>
    [JsonIgnore]
    public virtual string ModulePrefix => "";

    /// <summary>Everything that a model of this configuration computes.</summary>
    public abstract TransformerDescription Describe();

    /// <summary>A model of this configuration with fresh parameters.</summary>
    public virtual LanguageModel Create(Layers.Initializer initializer) => new Transformer(this, initializer);

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
    /// <exception cref="UserException">Missing, damaged or contradictory, or it has a field that is not understood.</exception>
    public static ModelConfig Load(string path) => Read(JsonFields.Open(path, MaxFileBytes));

    /// <summary>As <see cref="Load"/>, from text.</summary>
    public static ModelConfig Parse(string text, string source) => Read(JsonFields.Parse(Encoding.UTF8.GetBytes(text), source));

    /// <summary>Reads the configuration that a user names: a file, a folder that holds <c>config.json</c>, or the name of a file in the folder <c>models</c>.</summary>
    /// <exception cref="UserException">There is none, or as for <see cref="Load"/>.</exception>
    public static ModelConfig Find(string name) => Load(Locate(name) ?? throw new UserException(
        Directory.Exists(name) ? $"{name}: there is no {ModelFiles.Config} in this folder" : $"{name}: there is no such file; give a {ModelFiles.Config}, a folder that holds one, or the name of a file in the folder models"));

    /// <summary>The file of the configuration that a user names; null when there is none.</summary>
    internal static string? Locate(string name) =>
        new[] { name, Path.Combine(name, ModelFiles.Config), name + ".json", Path.Combine("models", name), Path.Combine("models", name + ".json") }.FirstOrDefault(File.Exists);

    private static ModelConfig Read(JsonFields fields)
    {
        const string families = "gpt2, llama and bert";
        string type = fields.Text("model_type") ?? throw fields.Error("model_type", $"is missing; there are {families}");
        if (!Families.TryGetValue(type, out Func<JsonFields, ModelConfig>? read))
            throw fields.Error("model_type", $"\"{type}\" is not supported; there are {families}");
        ModelConfig config = read(fields);
        fields.Finish();
        config.Check(fields.Source);
        return config;
    }

    /// <summary>The configuration as <c>config.json</c> holds it; weights are written as f32, whatever they were read from.</summary>
    public string ToJson() => JsonSerializer.Serialize(
        this with { Others = Others?.Where(field => field.Key is not ("torch_dtype" or "dtype")).ToDictionary(field => field.Key, field => field.Value) }, Options);

    /// <summary>The most layers; more would fill the memory with objects alone.</summary>
    protected const int MostLayers = 10_000;

    /// <summary>The largest width, in numbers: sums of several widths stay within 32 bits.</summary>
    protected const int MostWidth = 1 << 24;

    /// <summary>The most token ids or positions.</summary>
    protected const int MostRows = 1 << 28;

    /// <summary>Fails with a message that names the file when a size is not positive, or larger than any model's.</summary>
    protected static void Size(string source, string field, int value, int most)
    {
        if (value < 1 || value > most)
            throw new UserException($"{source}: {field} = {value}; it must lie between 1 and {most}");
    }

    /// <summary>Fails when a number that keeps normalisation finite is not a small positive one.</summary>
    protected static void Epsilon(string source, string field, float value)
    {
        if (!(value >= MathF.ScaleB(1, -126) && value <= 1))
            throw new UserException($"{source}: {field} = {value}; it must be a normal 32-bit number above 0 and at most 1");
    }

    /// <summary>Fails when a standard deviation is none.</summary>
    protected static void Deviation(string source, float value)
    {
        if (!(value >= 0 && value <= 1000))
            throw new UserException($"{source}: initializer_range = {value}; it must lie between 0 and 1000");
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
