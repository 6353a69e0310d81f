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

    /// <summary>As Hugging Face's library counts them; LLaMA as GaLore and APOLLO name their sizes.</summary>
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
    [InlineData("llama-3.2-1b", 1_235_814_400)]
    [InlineData("smollm2-135m", 134_515_008)]
    [InlineData("smollm2-360m", 361_821_120)]
    [InlineData("smollm3-3b", 3_075_098_624)]
    [InlineData("qwen2.5-0.5b", 494_032_768)]
    [InlineData("qwen2.5-1.5b", 1_543_714_304)]
    [InlineData("qwen3-0.6b", 596_049_920)]
    [InlineData("qwen3-30b-a3b", 30_532_122_624)]
    [InlineData("mistral-7b", 7_241_732_096)]
    [InlineData("mixtral-8x7b", 46_702_792_704)]
    [InlineData("phi-3-mini", 3_821_079_552)]
    [InlineData("olmo-2-1b", 1_484_916_736)]
    [InlineData("gemma-2-2b", 2_614_341_888)]
    [InlineData("gemma-3-270m", 268_098_176)]
    [InlineData("gemma-3-1b", 999_885_952)]
    [InlineData("pythia-14m", 14_067_712)]
    [InlineData("pythia-70m", 70_426_624)]
    [InlineData("pythia-160m", 162_322_944)]
    [InlineData("pythia-410m", 405_334_016)]
    [InlineData("roberta-base", 124_697_433)]
    [InlineData("modernbert-base", 149_655_232)]
    [InlineData("t5-small", 60_506_624)]
    [InlineData("t5-base", 222_903_552)]
    [InlineData("t5-large", 737_668_096)]
    [InlineData("t5-v1.1-small", 76_961_152)]
    public void SizesAreThoseOfThePapers(string name, long count) =>
        Assert.Equal(count, DescribedParameters.Of(ModelConfig.Load(Path.Combine(Folder, name + ".json")).Describe()!).Sum(item => item.Shape.Aggregate(1L, (product, size) => product * size)));

    [Fact]
    public void OtherSizesKeepTheirRatios()
    {
        var llama = new LlamaConfig { VocabularySize = 10, HiddenSize = 64, IntermediateSize = 176, Layers = 2, Heads = 4, KeyHeads = 2, HeadSize = 16 };
        var resized = (LlamaConfig)llama.Resized(vocabulary: 20, positions: 8, layers: 3, heads: 8, hiddenSize: 128, dropout: 0.25);
        Assert.Equal((20, 8, 3, 8, 4, 128, 352, 16, 0.25f), (resized.VocabularySize, resized.ContextLength, resized.Layers, resized.Heads, resized.KeyHeadCount, resized.HiddenSize, resized.IntermediateSize, resized.SizeOfHead, resized.AttentionDropout));
        Assert.Equal(llama, llama.Resized());
        var gpt2 = new Gpt2Config { VocabularySize = 10, ContextLength = 8, HiddenSize = 32, Layers = 1, Heads = 2, IntermediateSize = 96 };
        Assert.Equal(192, ((Gpt2Config)gpt2.Resized(hiddenSize: 64)).IntermediateSize);
        var bert = new BertConfig { VocabularySize = 10, HiddenSize = 32, IntermediateSize = 96, Layers = 1, Heads = 2 };
        Assert.Equal((48, 0f), (((BertConfig)bert.Resized(hiddenSize: 16, dropout: 0)).IntermediateSize, ((BertConfig)bert.Resized(dropout: 0)).HiddenDropout));
    }

    [Theory]
    [InlineData("gpt2-124m")]
    [InlineData("llama-60m")]
    [InlineData("bert-base")]
    public void AWholeStepRunsWithoutMemory(string name)
    {
        using var device = new DryDevice();
        using LanguageModel model = ModelConfig.Load(Path.Combine(Folder, name + ".json")).Create(new Initializer(device, 1));
        long weights = device.Pool.UsedBytes;
        var tape = new Tape(device);
        tape.Backward(model.Loss(tape, new int[512], new int[512], 4));
        Assert.InRange(device.Pool.PeakBytes, 2 * weights, 20 * weights);
        Assert.All(model.Parameters, parameter => Assert.True(tape.Gradients.Has(parameter)));
    }
}
