using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Models.Transformers;

/// <summary>Blocks that are computed again in the backward pass.</summary>
public class RecomputationTests
{
    private static readonly int[] Read = [3, 5, 7, 9, 2, 4, 6, 8], Written = [2, 3, 4, 5, 6, 7];

    public static TheoryData<int> Seeds => [.. Enumerable.Range(0, 24)];

    /// <summary>Dropout, experts with their loss, relative biases and an encoder's states included.</summary>
    [Theory]
    [MemberData(nameof(Seeds))]
    public void LossesAndGradientsKeepTheirBits(int seed)
    {
        TransformerDescription description = seed % 4 == 3 ? new RandomDescription(seed).MakeWithEncoder() : new RandomDescription(seed).Make();
        description = description with { Blocks = [.. description.Blocks.Select(Dropping)], Encoder = description.Encoder is { } encoder ? encoder with { Blocks = [.. encoder.Blocks.Select(Dropping)] } : null };
        foreach (int length in (int[])[4, 1])
            Assert.Equal(Run(description, seed, length, recomputes: false), Run(description, seed, length, recomputes: true));
    }

    [Fact]
    public void TheMemoryPlanKnows()
    {
        var config = new Gpt2Config { VocabularySize = 31, ContextLength = 128, Layers = 8, Heads = 4, HiddenSize = 64 };
        var settings = new TrainingSettings { Block = 128, Batch = 4 };
        MemoryPlan kept = MemoryPlan.Of(config, settings), again = MemoryPlan.Of(config, settings with { Recompute = true });
        Assert.True(again.Activations < kept.Activations / 2, $"{again.Activations} bytes instead of {kept.Activations}");
        Assert.Equal((kept.Weights, kept.Gradients), (again.Weights, again.Gradients));
    }

    private static BlockDescription Dropping(BlockDescription block) => block with
    {
        AttentionOutputDropout = 0.2f,
        FeedForwardOutputDropout = 0.3f,
        Attention = block.Attention with { Dropout = 0.1f },
        FeedForward = block.FeedForward with { Dropout = 0.2f },
    };

    private static Dictionary<string, float[]> Run(TransformerDescription description, int seed, int length, bool recomputes)
    {
        using var device = new CpuDevice(2);
        using LanguageModel model = DescribedConfig.Of(description).Create(new Initializer(device, (ulong)seed));
        model.Recomputes = recomputes;
        using var tape = new Tape(device) { Seed = 11 };
        int[] read = Read[..(2 * length)];
        var batch = new TokenBatch(read, 2) { DecoderTokens = model.HasEncoder ? Written : [] };
        Tensor loss = model.Loss(tape, batch, model.HasEncoder ? Written : read);
        loss.IsKept = true;
        tape.Backward(loss);
        var result = new Dictionary<string, float[]> { ["loss"] = [loss.Item()] };
        foreach (Parameter parameter in model.Parameters)
            device.Download(tape.Gradients[parameter], result[parameter.Name] = new float[parameter.Length]);
        return result;
    }
}
