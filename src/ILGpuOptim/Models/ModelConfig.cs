using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Models;

/// <summary>
/// The configuration of a model, as <c>config.json</c> holds it. Properties with a <see cref="JsonPropertyNameAttribute"/> are the fields of the file, under
/// Hugging Face's names; a family's record adds its own. A <see cref="ModelFamily"/> makes the record known.
/// </summary>
[JsonConverter(typeof(ModelConfigConverter))]
[ChecksItself]
public abstract record ModelConfig
{
    /// <summary>The vocabulary size: token ids lie below it.</summary>
    [JsonPropertyName("vocab_size")]
    public required int VocabularySize { get; init; }

    /// <summary>The padding token; null: none.</summary>
    [JsonPropertyName("pad_token_id")]
    public int? PadToken { get; init; }

    /// <summary>The mask token of a masked language model; null if only the tokenizer has it.</summary>
    [JsonPropertyName("mask_token_id")]
    public int? MaskToken { get; init; }

    /// <summary>Ties the head to the token embedding: both are one tensor.</summary>
    [JsonPropertyName("tie_word_embeddings")]
    public bool TieWordEmbeddings { get; init; }

    /// <summary>The class names by which <c>transformers</c> finds the model class.</summary>
    [JsonPropertyName("architectures")]
    public IReadOnlyList<string> Architectures { get; init; } = [];

    /// <summary>The storage of the weights of products in 4 bits; null: floats.</summary>
    public QuantizationConfig? Quantization { get; init; }

    /// <summary>Fields of the file that have no effect here; they are written back unchanged.</summary>
    public IReadOnlyDictionary<string, JsonElement>? Others { get; init; }

    /// <summary>The longest sequence, in tokens.</summary>
    public abstract int ContextLength { get; init; }

    /// <summary>Transformer layers; an encoder-decoder has as many in its encoder.</summary>
    public abstract int Layers { get; init; }

    /// <summary>The hidden size: the elements of each token's vector.</summary>
    public abstract int HiddenSize { get; init; }

    /// <summary>Query heads of an attention layer.</summary>
    public abstract int Heads { get; init; }

    /// <summary>Elements of an attention head.</summary>
    internal virtual int HeadWidth => HiddenSize / Heads;

    /// <summary>The display name of the family.</summary>
    public virtual string Family => ModelFamilies.Of(this).Name;

    /// <summary>The family and the main sizes, for display.</summary>
    public string Summary => $"{Family}, {Layers} layers, {Heads} heads, hidden size {HiddenSize}";

    private const long MaxFileBytes = 16 << 20;

    private static readonly JsonSerializerOptions Options = new() { WriteIndented = true };

    /// <summary>True for masked language models, which predict masked tokens instead of next ones.</summary>
    public virtual bool PredictsMaskedTokens => false;

    /// <summary>The tokens of span corruption; null for models that are not trained by it.</summary>
    public virtual SpanTokens? SpanTokens => null;

    /// <summary>Name patterns of tensors in files that are ignored: buffers that follow from the configuration.</summary>
    public virtual IReadOnlyList<string> IgnoredTensors => ["*rotary_emb.inv_freq"];

    /// <summary>Name patterns of tensors that only other heads use; they are neither read nor written back.</summary>
    public virtual IReadOnlyList<string> OtherHeads => [];

    /// <summary>The name of the head's own weight, where <see cref="TieWordEmbeddings"/> is false.</summary>
    public virtual string HeadTensor => "lm_head.weight";

    /// <summary>The name of the token embedding, with which a tied head is compared; empty: the file has no tied tensors.</summary>
    public virtual string TokenTensor => "";

    /// <summary>Copies of parameters that files may hold: the copy's name and the parameter's. Their values must be equal.</summary>
    public virtual IReadOnlyDictionary<string, string> TiedCopies => TieWordEmbeddings && TokenTensor.Length > 0
        ? new Dictionary<string, string> { [HeadTensor] = TokenTensor }
        : new Dictionary<string, string>();

    /// <summary>The prefix of the base model's tensor names, which some files omit.</summary>
    public virtual string BasePrefix => "";

    /// <summary>Replacements in tensor names of files by other writers.</summary>
    public virtual IReadOnlyDictionary<string, string> OtherTensorNames => new Dictionary<string, string>();

    /// <summary>The default LoRA targets: the last components of the names of linear layers.</summary>
    public virtual IReadOnlyList<string> LoraTargets => [];

    /// <summary>The prefix of module names in Hugging Face's classes, beyond the parameter names here.</summary>
    public virtual string ModulePrefix => "";

    /// <summary>The transformer of this configuration; null, the default, if <see cref="Create"/> makes a model of another class.</summary>
    public virtual TransformerDescription? Describe() => null;

    /// <summary>Makes a model of this configuration with initial parameters. By default a <see cref="Transformer"/> built from <see cref="Describe"/>.</summary>
    public virtual LanguageModel Create(Layers.Initializer initializer) => new Transformer(this, initializer);

    /// <summary>
    /// The configuration with other sizes; null keeps a size. Built-in families keep the ratio of intermediate to hidden size; by default only the
    /// sizes here change.
    /// </summary>
    /// <param name="vocabulary">Token ids.</param>
    /// <param name="positions">The longest sequence.</param>
    /// <param name="layers">Layers.</param>
    /// <param name="heads">Attention heads.</param>
    /// <param name="hiddenSize">The hidden size.</param>
    /// <param name="dropout">Every dropout that the model has.</param>
    public virtual ModelConfig Resized(int? vocabulary = null, int? positions = null, int? layers = null, int? heads = null, int? hiddenSize = null, double? dropout = null) => this with
    {
        VocabularySize = vocabulary ?? VocabularySize,
        PadToken = PadWithin(vocabulary),
        ContextLength = positions ?? ContextLength,
        Layers = layers ?? Layers,
        Heads = heads ?? Heads,
        HiddenSize = hiddenSize ?? HiddenSize,
    };

    /// <summary>The configuration with a head of its own, for files whose head differs from the token embedding.</summary>
    public virtual ModelConfig Untied() => this with { TieWordEmbeddings = false };

    /// <summary>The configuration for a file whose tensors decide what the fields leave open.</summary>
    internal virtual ModelConfig FittedTo(TensorNames names) => this;

    /// <summary>The configuration with a mask token added after the vocabulary of a new text.</summary>
    public virtual ModelConfig WithNewMask() => this with { MaskToken = VocabularySize, VocabularySize = VocabularySize + 1, PadToken = null };

    /// <summary>The configuration with other tokens of span corruption, for models that have them.</summary>
    /// <param name="tokens">The tokens.</param>
    /// <param name="vocabulary">The vocabulary size with them.</param>
    public virtual ModelConfig WithSpanTokens(SpanTokens tokens, int vocabulary) => this;

    /// <summary>The names and shapes of all parameters in the order of the model's file; nothing is allocated.</summary>
    public IReadOnlyList<(string Name, IReadOnlyList<int> Shape)> ParameterShapes()
    {
        using var device = new Compute.DryDevice();
        using LanguageModel model = Create(new Layers.Initializer(device, 0));
        return [.. model.Parameters.Select(parameter => (parameter.Name, parameter.Shape))];
    }

    /// <summary>Throws when fields contradict each other. A family's record checks its own fields beside these.</summary>
    /// <param name="source">Where the configuration comes from, for the message.</param>
    /// <exception cref="UserException">With the field, its value and what to do.</exception>
    public virtual void Check(string source)
    {
        ConfigChecks.Size(source, "vocab_size", VocabularySize, ConfigChecks.MaxRows);
        if (PadToken is { } pad && HasPaddingRow && PaddingRow is null && !pad.Equals(ConfigSchema.Of(GetType()).DefaultOf("pad_token_id")))
            throw new UserException($"{source}: pad_token_id = {pad} lies outside the vocabulary of {VocabularySize}");
        if (PredictsMaskedTokens && MaskToken is { } mask && (uint)mask >= (uint)VocabularySize)
            throw new UserException($"{source}: mask_token_id = {mask} lies outside the vocabulary of {VocabularySize}");
    }

    /// <summary>
    /// Declares the file's fields without a property: <see cref="JsonFields.Ignore"/> for those without effect, <see cref="JsonFields.Only"/> for those
    /// that are supported at one value only. Fields of all families are declared already.
    /// </summary>
    /// <exception cref="UserException">A field has a value that is not supported.</exception>
    protected virtual void ReadOthers(JsonFields fields)
    {
    }

    /// <summary>True if the token embedding's row of <see cref="PadToken"/> gets no gradient from lookups.</summary>
    protected virtual bool HasPaddingRow => true;

    /// <summary>
    /// The row of the token embedding that starts at zero and gets no gradient from lookups; null: none. Negative ids count from the end, as in
    /// PyTorch; a family's default that lies outside a small vocabulary means none.
    /// </summary>
    protected int? PaddingRow => HasPaddingRow && PadToken is { } pad && pad < VocabularySize && pad >= -VocabularySize ? (pad < 0 ? pad + VocabularySize : pad) : null;

    /// <summary>The padding id for another vocabulary.</summary>
    private int? PadWithin(int? vocabulary) => PadToken >= (vocabulary ?? int.MaxValue) ? null : PadToken;

    /// <summary>Reads and checks a configuration.</summary>
    /// <exception cref="UserException">Missing, damaged or contradictory, or it has a field that is not understood.</exception>
    public static ModelConfig Load(string path) => Read(JsonFields.Open(path, MaxFileBytes));

    /// <summary>As <see cref="Load"/>, from text.</summary>
    public static ModelConfig Parse(string text, string source) => Read(JsonFields.Parse(Encoding.UTF8.GetBytes(text), source));

    /// <summary>
    /// Reads the configuration that a user names: a file, a folder that holds <c>config.json</c>, the name of a file in the folder <c>models</c>,
    /// or the name of a model that the library has.
    /// </summary>
    /// <exception cref="UserException">There is none, or as for <see cref="Load"/>.</exception>
    public static ModelConfig Find(string name)
    {
        if (Locate(name) is { } path)
            return Load(path);
        if (KnownModels.Read(name) is { } text)
            return Parse(text, name);
        if (Directory.Exists(name))
            throw new UserException($"{name}: there is no {ModelFiles.Config} in this folder");
        throw new UserException($"{name}: there is no such file or model{Nearest.Question(name, KnownModels.Names)} Give a {ModelFiles.Config}, a folder that holds one, or one of these: {string.Join(", ", KnownModels.Names)}");
    }

    /// <summary>The file of the configuration that a user names; null when there is none.</summary>
    internal static string? Locate(string name) =>
        new[] { name, Path.Combine(name, ModelFiles.Config), name + ".json", Path.Combine("models", name), Path.Combine("models", name + ".json") }.FirstOrDefault(File.Exists);

    /// <summary>Reads and checks a configuration of any family.</summary>
    internal static ModelConfig Read(JsonFields fields)
    {
        IEnumerable<string> types = ModelFamilies.All.Select(family => family.ModelType).Order(StringComparer.Ordinal);
        string type = fields.Text("model_type") ?? throw fields.Error("model_type", $"is missing; there are {string.Join(", ", types)}");
        if (!ModelFamilies.TryFind(type, out ModelFamily? family))
            throw fields.Error("model_type", $"\"{type}\" is not supported{Nearest.Question(type, types)} There are {string.Join(", ", types)}");
        ModelConfig config = family.Read(fields);
        IReadOnlyDictionary<string, JsonElement> others = fields.Unread;
        QuantizationConfig? quantization = QuantizationField.Read(fields);
        config = config with { Quantization = quantization, Others = quantization is null ? others : others.Where(field => field.Key != QuantizationField.Name).ToDictionary() };
        config.ReadOthers(fields);
        ConfigFields.ReadCommon(fields);
        fields.Finish();
        config.Check(fields.Source);
        return config;
    }

    /// <summary>The configuration as <c>config.json</c> holds it; weights are written as f32, whatever they were read from.</summary>
    public string ToJson() => ToJsonObject().ToJsonString(Options);

    /// <summary>As <see cref="ToJson"/>.</summary>
    internal JsonObject ToJsonObject()
    {
        var result = new JsonObject { ["model_type"] = ModelFamilies.Of(this).ModelType };
        foreach ((string name, JsonNode? value) in ConfigSchema.Of(GetType()).Write(this).ToArray())
            result[name] = value?.DeepClone();
        foreach ((string name, JsonElement value) in Others ?? new Dictionary<string, JsonElement>())
        {
            if (name is not ("torch_dtype" or "dtype"))
                result[name] = JsonNodes.Of(value);
        }

        if (Quantization is not null)
            result[QuantizationField.Name] = QuantizationField.Write(Quantization);

        return result;
    }
}
