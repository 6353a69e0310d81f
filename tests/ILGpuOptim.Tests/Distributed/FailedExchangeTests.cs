using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Distributed;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Distributed;

/// <summary>After an exchange that failed, other ranks may have a part of the data: steps, validations and checkpoints are refused.</summary>
public class FailedExchangeTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void AStepCannotBeRepeated(bool layerwise) => Run(new TrainingSettings { Layerwise = layerwise, Clip = 0, Optimizer = new() { Name = "adamw" } }, (trainer, ranks) =>
    {
        trainer.Step();
        ranks.Failure = new CommunicationException("the network failed");
        Assert.Throws<CommunicationException>(trainer.Step);
        ranks.Failure = null;
    });

    [Fact]
    public void AFailedValidationLeavesTheTrainedWeights() => Run(new TrainingSettings { Optimizer = new() { Name = "schedulefree-adamw" } }, (trainer, ranks) =>
    {
        trainer.Step();
        trainer.Step();
        float[] trained = Weights(trainer);
        ranks.Failure = new CommunicationException("the network failed");
        Assert.Throws<CommunicationException>(() => trainer.Validate(2));
        ranks.Failure = null;
        Assert.Equal(trained, Weights(trainer));
        Assert.Contains("failed before", Assert.Throws<InvalidOperationException>(() => trainer.Validate(2)).Message, StringComparison.Ordinal);
        Assert.Equal(trained, Weights(trainer));
    });

    /// <summary>
    /// Parameters that were under way when the exchange failed are not read any more; those that had arrived are. The first read throws the error, later ones that it failed
    /// before; disposal does not wait.
    /// </summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void ParametersUnderWayAreLost(bool layerwise) => Run(new TrainingSettings { Layerwise = layerwise, Clip = 0, Optimizer = new() { Name = "adamw" } }, (trainer, ranks) =>
    {
        trainer.Step();
        Parameter first = trainer.Model.Parameters[0], last = trainer.Model.Parameters[^1];
        float[] values = first.ToArray();
        ranks.Failure = new CommunicationException("the network failed");
        Assert.Throws<CommunicationException>(last.ToArray);
        Assert.Contains("failed before", Assert.Throws<InvalidOperationException>(last.ToArray).Message, StringComparison.Ordinal);
        Assert.Contains("failed before", Assert.Throws<InvalidOperationException>(() => trainer.Validate(2)).Message, StringComparison.Ordinal);
        Assert.Contains("failed before", Assert.Throws<InvalidOperationException>(ranks.Barrier).Message, StringComparison.Ordinal);
        Assert.Equal(values, first.ToArray());
        ranks.Failure = null;
    }, looks: 100);

    private static float[] Weights(Trainer trainer) => [.. trainer.Model.Parameters.SelectMany(parameter => parameter.ToArray())];

    /// <summary>Lets an exchange fail on both of two ranks, and then tries to go on.</summary>
    private static void Run(TrainingSettings settings, Action<Trainer, SlowCommunicator> fail, int looks = 0)
    {
        settings = settings with { Block = 7, Batch = 2, Steps = 4, Warmup = 0, Shards = 4 };
        using var folder = new TemporaryFolder();
        var config = new LlamaConfig { VocabularySize = 31, ContextLength = 8, HiddenSize = 8, Layers = 1, Heads = 1, IntermediateSize = 16 };
        Dataset tokens = Dataset.FromTokens(TokenSequence.From([.. Enumerable.Range(0, 500).Select(i => i * i % 31)]), 31, null, 0.2, "squares");
        ThreadCommunicator.Run(2, communicator =>
        {
            using var device = new CpuDevice(1);
            using LanguageModel model = TrainedModel.Create(config, settings, device);
            var ranks = new SlowCommunicator(communicator, () => looks);
            using var trainer = new Trainer(device, model, tokens, settings, ranks);
            fail(trainer, ranks);
            Assert.Contains("failed before", Assert.Throws<InvalidOperationException>(trainer.Step).Message, StringComparison.Ordinal);
            Assert.Contains("failed before", Assert.Throws<InvalidOperationException>(() => Checkpoint.Save(folder["checkpoint"], trainer, null, null)).Message, StringComparison.Ordinal);
            Assert.False(Directory.Exists(folder["checkpoint"]));
        });
    }
}
