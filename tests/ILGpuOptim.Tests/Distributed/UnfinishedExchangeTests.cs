using ILGpuOptim.Compute;
using ILGpuOptim.Distributed;
using ILGpuOptim.Models;
using ILGpuOptim.Training;
using static ILGpuOptim.Tests.Distributed.PendingParameterTests;

namespace ILGpuOptim.Tests.Distributed;

/// <summary>What ends an exchange that a step has left under way: messages of the program, other trainers with the same communicator, and disposals.</summary>
public class UnfinishedExchangeTests
{
    /// <summary>A message that a program starts waits for the parameters, as one that it exchanges does.</summary>
    [Fact]
    public void StartedMessagesWait() => Run(2, Settings, 50, trainer =>
    {
        trainer.Step();
        Assert.NotEqual(0, Pending(trainer.Model));
        Communicator ranks = trainer.Communicator!;
        int peer = 1 - ranks.Rank;
        byte[] received = new byte[1];
        ranks.Start(peer, new byte[] { (byte)(7 + ranks.Rank) }, received);
        Assert.Equal(0, Pending(trainer.Model));
        while (!ranks.IsDone(peer))
            Thread.Yield();
        Assert.Equal(7 + peer, received[0]);
        Assert.Equal(Expected.Value[0], Weights(trainer.Model));
    });

    /// <summary>Two trainers that take turns on one communicator.</summary>
    [Fact]
    public void TrainersShareACommunicator()
    {
        float[][] expected = Expected.Value;
        ThreadCommunicator.Run(2, communicator =>
        {
            var ranks = new SlowCommunicator(communicator, () => 50);
            using var device = new CpuDevice(1);
            using LanguageModel one = TrainedModel.Create(Llama, Settings, device), two = TrainedModel.Create(Llama, Settings, device);
            using Trainer first = new(device, one, Tokens, Settings, ranks), second = new(device, two, Tokens, Settings, ranks);
            for (int step = 0; step < 3; step++)
            {
                first.Step();
                Assert.NotEqual(0, Pending(one));
                second.Step();
                Assert.Equal(0, Pending(one));
                Assert.NotEqual(0, Pending(two));
            }

            Assert.Equal(expected[2], Weights(one));
            Assert.Equal(expected[2], Weights(two));
        }, TimeSpan.FromSeconds(60));
    }

    /// <summary>Weights for evaluation, which the owners send, wait for the parameters of another trainer.</summary>
    [Fact]
    public void WeightsForEvaluationWaitForAnotherTrainer()
    {
        TrainingSettings averaging = Settings with { Optimizer = new() { Name = "schedulefree-adamw", LearningRate = 1e-3 } };
        double expected = 0;
        Run(1, averaging, 0, trainer =>
        {
            trainer.Step();
            expected = trainer.Validate(3);
        });
        ThreadCommunicator.Run(2, communicator =>
        {
            var ranks = new SlowCommunicator(communicator, () => 50);
            using var device = new CpuDevice(1);
            using LanguageModel one = TrainedModel.Create(Llama, Settings, device), two = TrainedModel.Create(Llama, averaging, device);
            using Trainer first = new(device, one, Tokens, Settings, ranks), second = new(device, two, Tokens, averaging, ranks);
            second.Step();
            first.Step();
            Assert.NotEqual(0, Pending(one));
            Assert.Equal(expected, second.Validate(3));
            Assert.Equal(0, Pending(one));
            first.Step();
            Assert.Equal(Expected.Value[1], Weights(one));
        }, TimeSpan.FromSeconds(60));
    }

    /// <summary>The first disposal on each rank ends the exchange, and all ranks have the new values.</summary>
    [Theory]
    [InlineData("trainer")]
    [InlineData("model")]
    [InlineData("device")]
    [InlineData("communicator")]
    public void DisposalEndsTheExchange(string first) => ThreadCommunicator.Run(2, communicator =>
    {
        var ranks = new SlowCommunicator(communicator, () => 50);
        using var device = new CpuDevice(1);
        using LanguageModel model = TrainedModel.Create(Llama, Settings, device);
        using var trainer = new Trainer(device, model, Tokens, Settings, ranks);
        trainer.Step();
        Assert.NotEqual(0, Pending(model));
        IDisposable disposed = first switch { "device" => device, "communicator" => ranks, "model" when ranks.Rank == 0 => model, _ => trainer };
        disposed.Dispose();
        Assert.Equal(0, Pending(model));
        if (disposed == trainer || disposed == ranks)
            Assert.Equal(Expected.Value[0], Weights(model));
        if (disposed == device)
            ranks.Barrier();
    }, TimeSpan.FromSeconds(20));

    /// <summary>A disposal that meets an error of the device or of another rank throws nothing: it would replace the error that ended the program. The communicator is ended.</summary>
    [Theory]
    [InlineData("trainer", true)]
    [InlineData("model", true)]
    [InlineData("communicator", true)]
    [InlineData("device", true)]
    [InlineData("trainer", false)]
    [InlineData("model", false)]
    [InlineData("communicator", false)]
    [InlineData("device", false)]
    public void DisposalThrowsNothing(string first, bool isOfDevice) => ThreadCommunicator.Run(2, communicator =>
    {
        var ranks = new SlowCommunicator(communicator, () => 50);
        using var device = new CpuDevice(1);
        LanguageModel model = TrainedModel.Create(Llama, Settings, device);
        var trainer = new Trainer(device, model, Tokens, Settings, ranks);
        trainer.Step();
        Assert.NotEqual(0, Pending(model));
        ranks.Failure = isOfDevice ? new DeviceException("the device was lost") : new CommunicationException("the network failed");
        IDisposable[] all = [trainer, model, ranks, device];
        IDisposable disposed = first switch { "trainer" => trainer, "model" => model, "device" => device, _ => ranks };
        disposed.Dispose();
        foreach (IDisposable other in all)
            other.Dispose();
        Assert.True(ranks.IsEnded);
    }, TimeSpan.FromSeconds(20));
}
