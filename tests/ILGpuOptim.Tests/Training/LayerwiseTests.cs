using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;
using ILGpuOptim.Tests.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Training;

/// <summary>Updates within the backward pass: the numbers of the other way, in less memory.</summary>
public class LayerwiseTests
{
    public static TheoryData<string, ParameterStorage> Choices => new(
        from entry in Registry.Entries where entry.Name is not ("lamb" or "prodigy") from storage in Enum.GetValues<ParameterStorage>() select (entry.Name, storage));

    /// <summary>Losses, norms and parameters are the same bits.</summary>
    [Theory]
    [MemberData(nameof(Choices))]
    public void GivesTheSameNumbers(string optimizer, ParameterStorage storage) => Same(Settings(optimizer, storage), Llama);

    /// <summary>A tied head has its gradient complete only when the embedding's is: at the end.</summary>
    [Theory]
    [InlineData("gpt2")]
    [InlineData("bert")]
    public void GivesTheSameNumbersWithATiedHead(string family) => Same(Settings("adamw", ParameterStorage.F32) with { Dropout = 0.1 }, family == "gpt2"
        ? new Gpt2Config { VocabularySize = 31, ContextLength = 33, Layers = 2, Heads = 2, HiddenSize = 62, EmbeddingDropout = 0.1f }
        : new BertConfig { VocabularySize = 31, ContextLength = 33, Layers = 2, Heads = 2, HiddenSize = 62, IntermediateSize = 93, MaskToken = 30 });

    /// <summary>Only the gradients of one operation exist at once; a plan says how many bytes that are, and the pool lends no more than it says.</summary>
    [Theory]
    [MemberData(nameof(Choices))]
    public void HoldsTheGradientsOfOneOperation(string optimizer, ParameterStorage storage)
    {
        TrainingSettings settings = Settings(optimizer, storage);
        MemoryPlan all = MemoryPlan.Of(Llama, settings), plan = MemoryPlan.Of(Llama, settings with { Layerwise = true });
        Assert.Equal(4 * Llama.Create(new Layers.Initializer(new DryDevice(), 0)).ParameterCount, all.Gradients);
        Assert.Equal(4L * 2 * 259 * 62, plan.Gradients);

        // SOAP rotates whole matrices while activations still exist, which here takes more than the gradients.
        Assert.True(optimizer == "soap" || plan.Total < all.Total, $"{plan.Total} bytes instead of {all.Total}");
        using var device = new CpuDevice(1);
        using LanguageModel model = TrainedModel.Create(Llama, settings, device);
        using var trainer = new Trainer(device, model, Tokens, settings with { Layerwise = true });
        device.Pool.ResetPeak();
        for (int i = 0; i < 3; i++)
            trainer.Step();
        if (trainer.Optimizer.HasEvaluationWeights)
            trainer.Validate(1, onTraining: true);
        Assert.Equal(plan.Total, device.Pool.PeakBytes);
        Assert.Equal(0, trainer.Tape.Gradients.Bytes);
    }

    [Fact]
    public void AllocatesNothing()
    {
        TrainingSettings settings = Settings("apollo-mini", ParameterStorage.Int8) with { Layerwise = true };
        using var device = new CpuDevice(2);
        using LanguageModel model = TrainedModel.Create(Llama, settings, device);
        using var trainer = new Trainer(device, model, Tokens, settings);
        for (int i = 0; i < 3; i++)
            trainer.Step();
        long before = device.Pool.Allocations;
        for (int i = 0; i < 5; i++)
            trainer.Step();
        Assert.Equal(before, device.Pool.Allocations);
    }

    [Fact]
    public void RefusesWhatNeedsAllGradients()
    {
        TrainingSettings settings = Settings("adamw", ParameterStorage.F32) with { Layerwise = true };
        Assert.Contains("--clip 0", Assert.Throws<UserException>((settings with { Clip = 1 }).Check).InFlags(), StringComparison.Ordinal);
        Assert.Contains("--accumulate", Assert.Throws<UserException>((settings with { Accumulate = 2 }).Check).InFlags(), StringComparison.Ordinal);
        using var device = new CpuDevice(1);
        using LanguageModel model = TrainedModel.Create(Llama, settings, device);
        UserException error = Assert.Throws<UserException>(() => new Trainer(device, model, Tokens, settings with { Optimizer = settings.Optimizer with { Name = "lamb" } }));
        Assert.Contains("lamb", error.Message, StringComparison.Ordinal);
    }

    /// <summary>A loss that is no number is found before the first update.</summary>
    [Fact]
    public void StopsBeforeTheUpdate()
    {
        TrainingSettings settings = Settings("adamw", ParameterStorage.F32) with { Layerwise = true };
        using var device = new CpuDevice(1);
        using LanguageModel model = TrainedModel.Create(Llama, settings, device);
        using var trainer = new Trainer(device, model, Tokens, settings);
        trainer.Step();
        float[] norm = model.Parameters[^2].ToArray(), broken = [.. norm];
        broken[3] = float.NaN;
        model.Parameters[^2].Load(broken);
        float[] before = model.Parameters[3].ToArray();
        Assert.Contains(model.Parameters[^2].Name, Assert.Throws<DivergedException>(() => trainer.Step()).Message, StringComparison.Ordinal);
        Assert.Equal(before, model.Parameters[3].ToArray());
        Assert.Equal(1, trainer.StepNumber);
    }

    private static LlamaConfig Llama => new() { VocabularySize = 31, ContextLength = 33, HiddenSize = 62, Layers = 2, Heads = 1, IntermediateSize = 259 };

    private static Dataset Tokens => Dataset.FromTokens(TokenSequence.From([.. Enumerable.Range(0, 2000).Select(i => i * i % 31)]), 31, null, 0.1, "squares");

    private static TrainingSettings Settings(string optimizer, ParameterStorage storage) => new()
    {
        Block = 15,
        Batch = 3,
        Steps = 6,
        Warmup = 2,
        Clip = 0,
        ParameterType = storage,
        Optimizer = LowRankOptimizers.WithRank(new OptimizerSettings { Name = optimizer, LearningRate = 1e-3, WeightDecay = 0.01 }.WithDefault("precondition_frequency", "1"), 2),
    };

    private static void Same(TrainingSettings settings, ModelConfig config)
    {
        var (losses, parameters) = Train(settings, config, threads: 1);
        var (others, changed) = Train(settings with { Layerwise = true }, config, threads: 3);
        Assert.Equal(losses, others);
        Assert.Equal(parameters, changed);
    }

    private static ((float Loss, float Norm)[] Steps, float[] Parameters) Train(TrainingSettings settings, ModelConfig config, int threads)
    {
        using var device = new CpuDevice(threads);
        using LanguageModel model = TrainedModel.Create(config, settings, device);
        using var trainer = new Trainer(device, model, Tokens, settings);
        (float, float)[] steps = [.. Enumerable.Range(0, settings.Steps).Select(_ => trainer.Step()).Select(step => (step.Loss, step.GradientNorm))];
        return (steps, [.. model.Parameters.SelectMany(parameter => parameter.ToArray())]);
    }
}
