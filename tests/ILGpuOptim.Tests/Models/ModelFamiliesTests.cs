using System.Text.Json;
using System.Text.Json.Serialization;
using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Models;

/// <summary>Families that others add, and the configurations that the library holds.</summary>
public sealed class ModelFamiliesTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    static ModelFamiliesTests() => ModelFamilies.Register(ModelFamily.Of<PlainConfig>("plain_test", "Plain"));

    public void Dispose() => folder.Dispose();

    [Fact]
    public void AFamilyFromOutsideIsKnownToFilesAndSettings()
    {
        var config = (PlainConfig)ModelConfig.Parse("""{"model_type":"plain_test","vocab_size":20,"width":8,"heads":2,"eos_token_id":3}""", "config.json");
        Assert.Equal((20, 8, 2, 3), (config.VocabularySize, config.HiddenSize, config.Heads, config.Layers));
        Assert.Contains("width is missing", Assert.Throws<UserException>(() => ModelConfig.Parse("""{"model_type":"plain_test","vocab_size":20}""", "config.json")).Message, StringComparison.Ordinal);
        Assert.Contains("hidden_size", Assert.Throws<UserException>(() => ModelConfig.Parse("""{"model_type":"plain_test","vocab_size":20,"width":8,"heads":2,"hidden_size":4}""", "config.json")).Message, StringComparison.Ordinal);
        Assert.Contains("Plain", config.Summary, StringComparison.Ordinal);

        TrainingSettings settings = Presets.Find("tiny") with { Model = config };
        File.WriteAllText(folder["settings.json"], settings.ToJson());
        Assert.Equal(config.ToJson(), TrainingSettings.Load(folder["settings.json"]).Model!.ToJson());
        Assert.Equal(config.ToJson(), JsonSerializer.Deserialize<ModelConfig>(JsonSerializer.Serialize<ModelConfig>(config))!.ToJson());

        using var device = new CpuDevice(1);
        using (LanguageModel model = config.Create(new Initializer(device, 1)))
            ModelFiles.Save(folder.Path, model);
        using LanguageModel loaded = ModelFiles.Load(folder.Path, device);
        Assert.Equal(config.ToJson(), loaded.Config.ToJson());
        Assert.Equal("table.weight", loaded.Parameters[0].Name);
    }

    [Fact]
    public void AFamilyIsRegisteredOnce()
    {
        Assert.Contains("plain_test", Assert.Throws<ArgumentException>(() => ModelFamilies.Register(ModelFamily.Of<OtherConfig>("plain_test", "Other"))).Message, StringComparison.Ordinal);
        Assert.Contains("plain_test", Assert.Throws<ArgumentException>(() => ModelFamilies.Register(ModelFamily.Of<PlainConfig>("other", "Other"))).Message, StringComparison.Ordinal);
        Assert.Throws<ArgumentException>(() => ModelFamilies.Register(new ModelFamily("text", "Text", typeof(string))));
        Assert.Throws<ArgumentException>(() => ModelFamilies.Register(ModelFamily.Of<ModelConfig>("abstract", "Abstract")));
        Assert.Contains(nameof(OtherConfig), Assert.Throws<InvalidOperationException>(() => new OtherConfig { VocabularySize = 1, HiddenSize = 1 }.ToJson()).Message, StringComparison.Ordinal);
        Assert.Contains(ModelFamilies.All, family => family.ModelType == "plain_test");
    }

    [Fact]
    public void UnknownFamiliesAndModelsAreAnsweredWithNames()
    {
        Assert.Contains("did you mean qwen", Assert.Throws<UserException>(() => ModelConfig.Parse("""{"model_type":"qwen9"}""", "config.json")).Message, StringComparison.Ordinal);
        string message = Assert.Throws<UserException>(() => ModelConfig.Find("gpt2-125m")).Message;
        Assert.Contains("did you mean gpt2-124m?", message, StringComparison.Ordinal);
        Assert.All(KnownModels.Names, name => Assert.Contains(name, message, StringComparison.Ordinal));
    }

    [Fact]
    public void KnownModelsAreThoseOfTheFolder()
    {
        string models = Path.Combine(ArchitectureTests.FindRoot(), "models");
        Assert.Equal(Directory.EnumerateFiles(models, "*.json").Select(file => Path.GetFileNameWithoutExtension(file)!).Order(StringComparer.Ordinal), KnownModels.Names);
        Assert.All(KnownModels.Names, name => Assert.Equal(ModelConfig.Load(Path.Combine(models, name + ".json")).ToJson(), ModelConfig.Find(name).ToJson()));
        Assert.Null(KnownModels.Read("no-such-model"));
    }

    /// <summary>A family of one layer, as a program of somebody else would define it.</summary>
    public record PlainConfig : ModelConfig
    {
        public PlainConfig() => TieWordEmbeddings = true;

        [JsonPropertyName("width")]
        public override required int HiddenSize { get; init; }

        [JsonPropertyName("heads")]
        public override int Heads { get; init; } = 1;

        [JsonPropertyName("depth")]
        public override int Layers { get; init; } = 3;

        public override int ContextLength { get; init; } = 16;

        public override string TokenTensor => "table.weight";

        public override TransformerDescription Describe() => new()
        {
            VocabularySize = VocabularySize,
            HiddenSize = HiddenSize,
            MaxPositions = ContextLength,
            Embedding = new EmbeddingDescription { Tokens = "table" },
            Blocks = [.. Enumerable.Range(0, Layers).Select(layer => new BlockDescription
            {
                AttentionNorm = new NormDescription($"{layer}.norm", NormKind.RmsNorm, 1e-6f),
                Attention = new AttentionDescription
                {
                    Inputs = [new ProjectionDescription($"{layer}.qkv")],
                    Output = new ProjectionDescription($"{layer}.out"),
                    Heads = Heads,
                    KeyHeads = Heads,
                    HeadSize = HiddenSize / Heads,
                    Scale = 1,
                },
                FeedForward = new FeedForwardDescription { Activation = "relu", IntermediateSize = 2 * HiddenSize, Up = new ProjectionDescription($"{layer}.up"), Down = new ProjectionDescription($"{layer}.down") },
            })],
            Head = new HeadDescription(),
        };

        public override ModelConfig Resized(int? vocabulary = null, int? positions = null, int? layers = null, int? heads = null, int? hiddenSize = null, double? dropout = null) =>
            this with { VocabularySize = vocabulary ?? VocabularySize, Layers = layers ?? Layers, Heads = heads ?? Heads, HiddenSize = hiddenSize ?? HiddenSize };
    }

    /// <summary>A family that nobody registers.</summary>
    public sealed record OtherConfig : PlainConfig;
}
