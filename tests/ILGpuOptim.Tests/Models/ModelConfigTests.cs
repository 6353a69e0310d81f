using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Models;

public class ModelConfigTests
{
    private static readonly string Folder = Path.Combine(ArchitectureTests.FindRoot(), "models");

    public static TheoryData<string> Files => [.. Directory.EnumerateFiles(Folder, "*.json").Select(file => Path.GetFileName(file)!)];

    [Theory]
    [MemberData(nameof(Files))]
    public void EveryConfigurationOfTheFolderMakesAModel(string file) => Assert.NotEmpty(ModelConfig.Load(Path.Combine(Folder, file)).ParameterShapes());

    /// <summary>GPT-2 and BERT as Hugging Face's library counts them; LLaMA as GaLore and APOLLO name their sizes.</summary>
    [Theory]
    [InlineData("gpt2-124m", 124_439_808)]
    [InlineData("gpt2-355m", 354_823_168)]
    [InlineData("gpt2-774m", 774_030_080)]
    [InlineData("gpt2-1558m", 1_557_611_200)]
    [InlineData("bert-base", 109_514_298)]
    [InlineData("bert-large", 335_174_458)]
    [InlineData("llama-60m", 58_073_600)]
    [InlineData("llama-130m", 134_105_856)]
    [InlineData("llama-350m", 367_969_280)]
    [InlineData("llama-1b", 1_339_082_752)]
    [InlineData("llama-7b", 6_738_415_616)]
    public void SizesAreThoseOfThePapers(string name, long count) =>
        Assert.Equal(count, ModelConfig.Load(Path.Combine(Folder, name + ".json")).ParameterShapes().Sum(item => item.Shape.Aggregate(1L, (product, size) => product * size)));

    [Fact]
    public void OtherSizesKeepTheirRatios()
    {
        var llama = new LlamaConfig { Vocabulary = 10, Channels = 64, Inner = 176, Layers = 2, Heads = 4, KeyHeads = 2, HeadSize = 16 };
        var resized = (LlamaConfig)llama.Resized(vocabulary: 20, positions: 8, layers: 3, heads: 8, channels: 128, dropout: 0.25);
        Assert.Equal((20, 8, 3, 8, 4, 128, 352, 16, 0.25f), (resized.Vocabulary, resized.Positions, resized.Layers, resized.Heads, resized.KeyHeadCount, resized.Channels, resized.Inner, resized.SizeOfHead, resized.AttentionDropout));
        Assert.Equal(llama, llama.Resized());
        var gpt2 = new Gpt2Config { Vocabulary = 10, ContextLength = 8, Channels = 32, Layers = 1, Heads = 2, Inner = 96 };
        Assert.Equal(192, ((Gpt2Config)gpt2.Resized(channels: 64)).Inner);
        var bert = new BertConfig { Vocabulary = 10, Channels = 32, Inner = 96, Layers = 1, Heads = 2 };
        Assert.Equal((48, 0f), (((BertConfig)bert.Resized(channels: 16, dropout: 0)).Inner, ((BertConfig)bert.Resized(dropout: 0)).HiddenDropout));
    }

    [Theory]
    [InlineData("gpt2-124m")]
    [InlineData("llama-60m")]
    [InlineData("bert-base")]
    public void AWholeStepRunsWithoutMemory(string name)
    {
        using var device = new DryDevice();
        using LanguageModel model = ModelConfig.Load(Path.Combine(Folder, name + ".json")).Create(new Initializer(device, 1));
        long weights = device.Pool.LentBytes;
        var tape = new Tape(device);
        tape.Backward(model.Loss(tape, new int[512], new int[512], 4));
        Assert.InRange(device.Pool.PeakBytes, 2 * weights, 20 * weights);
        Assert.All(model.Parameters, parameter => Assert.True(tape.Gradients.Has(parameter)));
    }
}
