using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Models;

/// <summary>
/// What every model's <c>config.json</c> tells. Properties with a <see cref="JsonPropertyNameAttribute"/> are the fields of the file, under
/// Hugging Face's names; a family's record adds its own. A <see cref="ModelFamily"/> makes the record known.
/// </summary>
[JsonConverter(typeof(ModelConfigConverter))]
[ChecksItself]
public abstract record ModelConfig
{
    /// <summary>How many token ids there are.</summary>
    [JsonPropertyName("vocab_size")]
    public required int VocabularySize { get; init; }

    /// <summary>The id that fills up short sequences; null where there is none.</summary>
    [JsonPropertyName("pad_token_id")]
    public int? PadToken { get; init; }

    /// <summary>The id of a masked language model's mask token; null where only the tokenizer has it.</summary>
    [JsonPropertyName("mask_token_id")]
    public int? MaskToken { get; init; }

    /// <summary>Whether the head shares the token embedding.</summary>
    [JsonPropertyName("tie_word_embeddings")]
    public bool TieWordEmbeddings { get; init; }

    /// <summary>What Hugging Face's library looks for.</summary>
    [JsonPropertyName("architectures")]
    public IReadOnlyList<string> Architectures { get; init; } = [];

    /// <summary>Fields of the file that mean nothing here, written back as they were.</summary>
    public IReadOnlyDictionary<string, JsonElement>? Others { get; init; }

    /// <summary>The longest sequence, in tokens.</summary>
    public abstract int ContextLength { get; init; }

    /// <summary>Transformer layers; an encoder-decoder has as many in its encoder.</summary>
    public abstract int Layers { get; init; }

    /// <summary>The hidden size: the elements of each token's vector.</summary>
    public abstract int HiddenSize { get; init; }

    /// <summary>Query heads of an attention layer.</summary>
    public abstract int Heads { get; init; }

    /// <summary>The name of the family, for people.</summary>
    public virtual string Family => ModelFamilies.Of(this).Name;

    /// <summary>The main sizes, for people.</summary>
    public string Summary => $"{Family}, {Layers} layers, {Heads} heads, hidden size {HiddenSize}";

    private const long MaxFileBytes = 16 << 20;

    private static readonly JsonSerializerOptions Options = new() { WriteIndented = true };

    /// <summary>Whether the model predicts masked tokens instead of next ones.</summary>
    public virtual bool PredictsMaskedTokens => false;

    /// <summary>The tokens of span corruption; null for models that do not learn by it.</summary>
    public virtual SpanTokens? SpanTokens => null;

    /// <summary>Tensors of files that make no difference, by pattern: buffers that follow from the configuration.</summary>
    public virtual IReadOnlyList<string> IgnoredTensors => ["*rotary_emb.inv_freq"];

    /// <summary>Tensors of files that only other heads use, by pattern; they are neither read nor written back.</summary>
    public virtual IReadOnlyList<string> OtherHeads => [];

    /// <summary>The name of the head's own weight, where <see cref="TieWordEmbeddings"/> is false.</summary>
    public virtual string HeadTensor => "lm_head.weight";

    /// <summary>The name of the token embedding.</summary>
    public abstract string TokenTensor { get; }

    /// <summary>Tensors that files may have beside a parameter with the same values: the copy's name and the parameter's.</summary>
    public virtual IReadOnlyDictionary<string, string> TiedCopies => TieWordEmbeddings
        ? new Dictionary<string, string> { [HeadTensor] = TokenTensor }
        : new Dictionary<string, string>();

    /// <summary>The prefix of the base model's tensors, which some files have and others lack.</summary>
    public virtual string BasePrefix => "";

    /// <summary>Parts of names that other writers of the family's files use, and what they stand for.</summary>
    public virtual IReadOnlyDictionary<string, string> OtherTensorNames => new Dictionary<string, string>();

    /// <summary>The default LoRA targets: last parts of names of products.</summary>
    public virtual IReadOnlyList<string> LoraTargets => [];

    /// <summary>What Hugging Face's classes put before the names of this model's parts, beyond our names.</summary>
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
    /// <param name="hiddenSize">The hidden size.</param>
    /// <param name="dropout">Every dropout that the model has.</param>
    public abstract ModelConfig Resized(int? vocabulary = null, int? positions = null, int? layers = null, int? heads = null, int? hiddenSize = null, double? dropout = null);

    /// <summary>The configuration with a head of its own, for files whose head differs from the token embedding.</summary>
    public virtual ModelConfig Untied() => this with { TieWordEmbeddings = false };

    /// <summary>The configuration with a mask token behind the vocabulary of a new text.</summary>
    public virtual ModelConfig WithNewMask() => this with { MaskToken = VocabularySize, VocabularySize = VocabularySize + 1, PadToken = null };

    /// <summary>The configuration with other tokens of span corruption, for models that have them.</summary>
    /// <param name="tokens">The tokens.</param>
    /// <param name="vocabulary">How many token ids there are with them.</param>
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
        ConfigChecks.Size(source, "vocab_size", VocabularySize, ConfigChecks.MostRows);
        if (PadToken is { } pad && HasPaddingRow && PaddingRow is null && !pad.Equals(ConfigSchema.Of(GetType()).DefaultOf("pad_token_id")))
            throw new UserException($"{source}: pad_token_id = {pad} lies outside the vocabulary of {VocabularySize}");
        if (PredictsMaskedTokens && MaskToken is { } mask && (uint)mask >= (uint)VocabularySize)
            throw new UserException($"{source}: mask_token_id = {mask} lies outside the vocabulary of {VocabularySize}");
    }

    /// <summary>
    /// Declares the file's fields that no property has: <see cref="JsonFields.Harmless"/> for those that change nothing, <see cref="JsonFields.Only"/>
    /// for those that are understood at one value alone. Fields that every family may have are declared already.
    /// </summary>
    /// <exception cref="UserException">A field has a value that is not modelled.</exception>
    protected virtual void ReadOthers(JsonFields fields)
    {
    }

    /// <summary>Whether the token embedding has a row for <see cref="PadToken"/> that is not trained.</summary>
    protected virtual bool HasPaddingRow => true;

    /// <summary>
    /// The row of the token embedding that starts at zero and gets no gradient from lookups; null: none. Negative ids count from the end, as in
    /// PyTorch; a family's default that lies outside a small vocabulary means none.
    /// </summary>
    protected int? PaddingRow => HasPaddingRow && PadToken is { } pad && pad < VocabularySize && pad >= -VocabularySize ? (pad < 0 ? pad + VocabularySize : pad) : null;

    /// <summary>The padding id for another vocabulary.</summary>
    protected int? PadWithin(int? vocabulary) => PadToken >= (vocabulary ?? int.MaxValue) ? null : PadToken;

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
        config = config with { Others = fields.Unread };
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
                result[name] = JsonSerializer.SerializeToNode(value);
        }

        return result;
    }
}
