using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;
using ILGpuOptim.Tests.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Training;

/// <summary>Norms of gradients, updates and weights, for each parameter.</summary>
public class UpdateNormsTests
{
    private static LlamaConfig Llama => new() { VocabularySize = 31, ContextLength = 33, HiddenSize = 62, Layers = 2, Heads = 1, IntermediateSize = 259 };

    private static Dataset Tokens => Dataset.FromTokens(TokenSequence.From([.. Enumerable.Range(0, 2000).Select(i => i * i % 31)]), 31, null, 0.1, "squares");

    private static TrainingSettings Settings(string optimizer, ParameterStorage storage, bool layerwise) => new()
    {
        Block = 15,
        Batch = 3,
        Steps = 6,
        Warmup = 2,
        Clip = layerwise ? 0 : 0.1,
        Layerwise = layerwise,
        Accumulate = layerwise ? 1 : 2,
        ParameterType = storage,
        LayerInterval = 2,
        Optimizer = LowRankOptimizers.WithRank(new OptimizerSettings { Name = optimizer, LearningRate = 1e-2, WeightDecay = 0.01 }, 2),
    };

    public static TheoryData<string, ParameterStorage, bool> Choices => new(
        from optimizer in (string[])["adamw", "apollo-mini"] from storage in Enum.GetValues<ParameterStorage>() from layerwise in (bool[])[false, true] select (optimizer, storage, layerwise));

    /// <summary>They are those of the weights before and after the step, and losses and weights are the same as without them.</summary>
    [Theory]
    [MemberData(nameof(Choices))]
    public void AreThoseOfTheStoredWeights(string optimizer, ParameterStorage storage, bool layerwise)
    {
        TrainingSettings settings = Settings(optimizer, storage, layerwise);
        using var device = new CpuDevice(2);
        using LanguageModel model = TrainedModel.Create(Llama, settings, device), plain = TrainedModel.Create(Llama, settings, device);
        using var trainer = new Trainer(device, model, Tokens, settings);
        using var without = new Trainer(device, plain, Tokens, settings with { LayerInterval = 0 });
        for (int step = 1; step <= 4; step++)
        {
            float[][] before = [.. model.Parameters.Select(parameter => parameter.ToArray())];
            StepResult result = trainer.Step();
            Assert.Equal(without.Step().Loss, result.Loss);
            float[][] after = [.. model.Parameters.Select(parameter => parameter.ToArray())];
            Assert.Equal(plain.Parameters.Select(parameter => parameter.ToArray()), after);
            if (step % 2 != 0)
            {
                Assert.Null(result.Layers);
                continue;
            }

            Assert.Equal(model.Parameters.Select(parameter => parameter.Name), result.Layers!.Select(norms => norms.Name));
            Assert.Equal(result.GradientNorm, Norm(result.Layers!.Select(norms => norms.Gradient)), 1e-5 * result.GradientNorm);
            foreach ((int i, ParameterNorms norms) in result.Layers!.Index())
            {
                double update = Norm(after[i].Zip(before[i], (one, other) => one - other)), weights = Norm(before[i]);
                Assert.True(update > 0 && norms.Gradient > 0, norms.Name);
                Assert.Equal(update, norms.Update, 1e-4 * update);
                Assert.Equal(weights, norms.Weights, 1e-5 * weights);
                Assert.Equal(norms.Update / norms.Weights, norms.UpdateRatio);
            }
        }
    }

    /// <summary>The update of gradient descent is its gradient times the rate, so gradients are told apart.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void GradientsAreThoseOfTheirParameters(bool layerwise)
    {
        TrainingSettings settings = Settings("sgd", ParameterStorage.F32, layerwise) with { Clip = 0, LayerInterval = 1, Optimizer = new OptimizerSettings { Name = "sgd", LearningRate = 0.5, WeightDecay = 0 }.With("momentum", 0) };
        using var device = new CpuDevice(1);
        using LanguageModel model = TrainedModel.Create(Llama, settings, device);
        using var trainer = new Trainer(device, model, Tokens, settings);
        for (int step = 1; step <= 3; step++)
        {
            StepResult result = trainer.Step();
            Assert.All(result.Layers!, norms => Assert.Equal(result.LearningRate * norms.Gradient, norms.Update, 1e-4 * norms.Update));
        }
    }

    [Fact]
    public void AreTheSameForEveryNumberOfThreads() => Assert.Equal(Norms(1), Norms(3));

    private static ParameterNorms[] Norms(int threads)
    {
        TrainingSettings settings = Settings("came", ParameterStorage.BF16, layerwise: false);
        using var device = new CpuDevice(threads);
        using LanguageModel model = TrainedModel.Create(Llama, settings, device);
        using var trainer = new Trainer(device, model, Tokens, settings);
        return [.. Enumerable.Range(0, 4).SelectMany(_ => trainer.Step().Layers ?? [])];
    }

    /// <summary>The plan knows the copy of the largest parameter, and steps that measure allocate no device memory.</summary>
    [Theory]
    [MemberData(nameof(Choices))]
    public void MemoryIsPlanned(string optimizer, ParameterStorage storage, bool layerwise)
    {
        TrainingSettings settings = Settings(optimizer, storage, layerwise) with { Accumulate = 1 };
        MemoryPlan plan = MemoryPlan.Of(Llama, settings);
        Assert.True(plan.Total > MemoryPlan.Of(Llama, settings with { LayerInterval = 0 }).Total);
        using var device = new CpuDevice(1);
        using LanguageModel model = TrainedModel.Create(Llama, settings, device);
        using var trainer = new Trainer(device, model, Tokens, settings);
        device.Pool.ResetPeak();
        for (int i = 0; i < 2; i++)
            trainer.Step();
        long allocations = device.Pool.Allocations;
        for (int i = 0; i < 4; i++)
            trainer.Step();
        Assert.Equal((plan.Total, allocations), (device.Pool.PeakBytes, device.Pool.Allocations));
    }

    private static double Norm(IEnumerable<float> values) => Math.Sqrt(values.Sum(value => (double)value * value));
}
