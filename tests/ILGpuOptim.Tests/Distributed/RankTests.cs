using System.Runtime.InteropServices;
using System.Security.Cryptography;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Distributed;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;
using ILGpuOptim.Tests.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Distributed;

/// <summary>The number of ranks changes no bit of losses, norms, parameters and state.</summary>
public class RankTests
{
    public static TheoryData<string, StateStorage> Optimizers => new(from entry in Registry.Entries from storage in Enum.GetValues<StateStorage>() select (entry.Name, storage));

    /// <summary>All registered optimizers train on ranks; others have to say that they exchange what they combine.</summary>
    [Fact]
    public void AnOptimizerThatCombinesParametersIsRefused()
    {
        using var device = new CpuDevice(1);
        var entry = new OptimizerEntry("combining", "", _ => new Combining());
        OptimizerSettings settings = new() { Name = "combining", LearningRate = 0.1 };
        Registry.Create(entry, settings, [new Parameter(device, "p", 3)], ThreadCommunicator.Create(1)[0], out _).Dispose();
        UserException error = Assert.Throws<UserException>(() => Registry.Create(entry, settings, [new Parameter(device, "p", 3)], ThreadCommunicator.Create(2)[0], out _));
        Assert.StartsWith("combining combines values of all parameters", error.Message, StringComparison.Ordinal);
    }

    private sealed class Combining : Optimizer<OptimizerOptions>
    {
        public override string Name => "combining";

        public override bool NeedsAllGradients => true;

        protected override IReadOnlyList<StateTensor> Declare(IReadOnlyList<int> shape, OptimizerOptions options) => [];

        protected override void Update(in ParameterUpdate update, OptimizerOptions options)
        {
        }
    }

    [Theory]
    [MemberData(nameof(Optimizers))]
    public void EveryOptimizerGivesTheSameBits(string optimizer, StateStorage storage) => Same(Settings(optimizer) with { Optimizer = Settings(optimizer).Optimizer with { StateType = storage } });

    [Theory]
    [InlineData("adamw", ParameterStorage.BF16)]
    [InlineData("adamw", ParameterStorage.Int8)]
    [InlineData("came", ParameterStorage.Int8)]
    public void NarrowParametersGiveTheSameBits(string optimizer, ParameterStorage storage) => Same(Settings(optimizer) with { ParameterType = storage });

    [Fact]
    public void LayerwiseUpdatesGiveTheSameBits()
    {
        TrainingSettings settings = Settings("adamw") with { Clip = 0 };
        Assert.Equal(Same(settings), Same(settings with { Layerwise = true }));
    }

    /// <summary>The gradients of drawn labels go through the same tree.</summary>
    [Theory]
    [InlineData(1, false)]
    [InlineData(2, false)]
    [InlineData(1, true)]
    public void EstimatesOfCurvatureGiveTheSameBits(int accumulate, bool layerwise)
    {
        TrainingSettings settings = Settings("sophia") with { Accumulate = accumulate, Clip = 0, Layerwise = layerwise };
        string without = Train(settings, 2).Hash;
        Assert.NotEqual(without, Same(settings with { Optimizer = settings.Optimizer.WithDefault("curvature_interval", "2") }));
    }

    [Theory]
    [InlineData("adamw", 1)]
    [InlineData("came", 2)]
    public void GradientsInBf16GiveTheSameBits(string optimizer, int accumulate)
    {
        TrainingSettings settings = Settings(optimizer) with { Accumulate = accumulate };
        Assert.NotEqual(Train(settings, 1).Hash, Same(settings with { GradientExchange = GradientExchange.BF16 }));
    }

    [Fact]
    public void LayerwiseGradientsInBf16GiveTheSameBits()
    {
        TrainingSettings settings = Settings("adamw") with { Clip = 0, GradientExchange = GradientExchange.BF16 };
        Assert.Equal(Same(settings), Same(settings with { Layerwise = true }));
    }

    /// <summary>Without other shards there is no addition, and nothing is rounded.</summary>
    [Fact]
    public void OneShardIsNotRounded()
    {
        TrainingSettings settings = Settings("adamw") with { Shards = 1 };
        Assert.Equal(Train(settings, 1).Hash, Train(settings with { GradientExchange = GradientExchange.BF16 }, 1).Hash);
    }

    /// <summary>Both operands of each addition are rounded, and the last sum is not.</summary>
    [Fact]
    public void TheTreeRoundsBothOperands()
    {
        float[] gradients = [1.00390625f, 1.01171875f, 3.3333333f, -7.7777777f, 1e-3f, 2.0000001f, 0.1f, 77.7f];
        static float Rounded(float value) => Bf16.Widen(Bf16.Narrow(value));
        static float Sum(ReadOnlySpan<float> values) => values.Length == 1 ? values[0] : Rounded(Sum(values[..(values.Length / 2)])) + Rounded(Sum(values[(values.Length / 2)..]));
        using var device = new CpuDevice(1);
        var parameter = new Parameter(device, "p", 1);
        using var sum = new GradientSum(device, GradientExchange.BF16, 1);
        using var sums = new ShardSums(device, [parameter], 8, sum);
        var tape = new Gradients(device);
        for (int shard = 0; shard < 8; shard++)
        {
            device.Upload([gradients[shard]], tape.Target(parameter, out _));
            sums.Add(tape, parameter, shard);
        }

        var result = new float[1];
        device.Download(tape[parameter], result);
        Assert.Equal(Sum(gradients), result[0]);
        Assert.NotEqual(ShardSums.Sum(gradients), result[0]);
        Assert.NotEqual(Rounded(result[0]), result[0]);
    }

    /// <summary>Exchanges begin before the backward pass and the updates end; without this overlap the bits are the same.</summary>
    [Theory]
    [InlineData("adamw", 1)]
    [InlineData("lamb", 2)]
    public void ExchangesOverlap(string optimizer, int accumulate)
    {
        TrainingSettings settings = Settings(optimizer) with { Accumulate = accumulate };
        var early = new List<(long Gradients, long Parameters)>();
        Result overlapping = Train(settings, 4, trainer =>
        {
            Action<Parameter> ready = trainer.Tape.GradientReady!, passed = trainer.Optimizer.Passed!;
            Communicator ranks = trainer.Communicator!;
            IReadOnlyList<ParameterState> states = trainer.Optimizer.States;
            long before = ranks.BytesSent, gradients = 0, parameters = 0;
            trainer.Tape.GradientReady = parameter =>
            {
                ready(parameter);
                gradients = ranks.BytesSent - before;
            };
            trainer.Optimizer.Passed = parameter =>
            {
                before = parameter == states[0].Parameter ? ranks.BytesSent : before;
                passed(parameter);
                if (parameter == states[^2].Parameter)
                    parameters = ranks.BytesSent - before;
                if (parameter != states[^1].Parameter)
                    return;
                lock (early)
                    early.Add((gradients, parameters));
            };
            trainer.Measured = _ => before = ranks.BytesSent;
        });
        Assert.Equal(4 * settings.Steps, early.Count);

        // A rank may have to wait for others before it sends anything; those that do not have begun.
        Assert.True(early.Sum(bytes => bytes.Gradients) > 0 && early.Sum(bytes => bytes.Parameters) > 0);
        Result waiting = Train(settings, 4, trainer => trainer.Exchange!.Overlaps = false);
        Assert.Equal(Train(settings, 1).Hash, waiting.Hash);
        Assert.Equal(overlapping.Hash, waiting.Hash);
        Assert.Equal(overlapping.BytesSent, waiting.BytesSent);
    }

    /// <summary>A step of a rank allocates no more than one of a process alone with as many shards of its own, which makes all updates itself.</summary>
    [Fact]
    public void ExchangesAllocateNothing()
    {
        TrainingSettings settings = Settings("adamw") with { Steps = 8 };
        Assert.InRange(Allocated(settings with { Shards = 4 }, 2), 0, Allocated(settings with { Shards = 2 }, 1));

        static long Allocated(TrainingSettings settings, int ranks)
        {
            long least = long.MaxValue;
            ThreadCommunicator.Run(ranks, communicator =>
            {
                using var device = new CpuDevice(1);
                using LanguageModel model = TrainedModel.Create(Llama, settings, device);
                using var trainer = new Trainer(device, model, Tokens, settings, communicator);
                for (int i = 0; i < settings.Steps; i++)
                {
                    long before = GC.GetAllocatedBytesForCurrentThread();
                    trainer.Step();
                    if (communicator.Rank == 0)
                        least = Math.Min(least, GC.GetAllocatedBytesForCurrentThread() - before);
                }
            });
            return least;
        }
    }

    [Fact]
    public void EverySettingGivesTheSameBits() => Same(Settings("adamw") with
    {
        Accumulate = 3,
        Dropout = 0.1,
        Ema = 0.9,
        LayerInterval = 2,
        SpikeThreshold = 3,
        SpikeWindow = 2,
        Precision = Precision.BF16,
        Sampling = Sampling.Random,
        Recompute = true,
    });

    /// <summary>The tree of eight shards differs from a running sum, and from one batch of eight times as many sequences.</summary>
    [Fact]
    public void TheTreeIsThatOfTheShards()
    {
        float[] gradients = [1e8f, 1, -1e8f, 1, 3, 1e-8f, 7, 1e7f];
        Assert.Equal(((1e8f + 1) + (-1e8f + 1)) + ((3 + 1e-8f) + (7 + 1e7f)), ShardSums.Sum(gradients));
        using var device = new CpuDevice(1);
        var parameter = new Parameter(device, "p", 1);
        using var adder = new GradientSum(device, GradientExchange.F32, 1);
        using var sums = new ShardSums(device, [parameter], 8, adder);
        var tape = new Gradients(device);
        for (int shard = 0; shard < 8; shard++)
        {
            device.Upload([gradients[shard]], tape.Target(parameter, out float beta));
            Assert.Equal(0, beta);
            sums.Add(tape, parameter, shard);
        }

        var sum = new float[1];
        device.Download(tape[parameter], sum);
        Assert.Equal(ShardSums.Sum(gradients), sum[0]);
    }

    /// <summary>Shards sum what accumulation sums, in another order.</summary>
    [Fact]
    public void ShardsAreBatches()
    {
        TrainingSettings settings = Settings("sgd") with { Steps = 1, Clip = 0 };
        (float loss, float norm) = Train(settings, 1).Steps[0];
        (float other, float otherNorm) = Train(settings with { Shards = 1, Accumulate = 8 }, 1).Steps[0];
        Assert.Equal(loss, other, 1e-5f);
        Assert.Equal(norm, otherNorm, 1e-4f);
    }

    [Fact]
    public void StateIsDividedAmongTheOwners()
    {
        TrainingSettings settings = Settings("adamw");
        long all = Train(settings, 1).StateBytes[0];
        long[] parts = Train(settings, 4).StateBytes;
        Assert.Equal(all, parts.Sum());
        Assert.All(parts, part => Assert.InRange(part, all / 8, all / 2));
    }

    /// <summary>The plan of a rank is the peak of its pool.</summary>
    [Theory]
    [InlineData(1, false, GradientExchange.F32)]
    [InlineData(2, false, GradientExchange.F32)]
    [InlineData(4, false, GradientExchange.F32)]
    [InlineData(8, false, GradientExchange.F32)]
    [InlineData(8, true, GradientExchange.F32)]
    [InlineData(1, false, GradientExchange.BF16)]
    [InlineData(4, false, GradientExchange.BF16)]
    [InlineData(4, true, GradientExchange.BF16)]
    public void ThePlanOfARankIsExact(int ranks, bool layerwise, GradientExchange exchange)
    {
        TrainingSettings settings = Settings("came") with { Clip = layerwise ? 0 : 1, Layerwise = layerwise, Ema = 0.9, GradientExchange = exchange };
        Result result = Train(settings, ranks);
        long[] planned = [.. Enumerable.Range(0, ranks).Select(rank => MemoryPlan.Of(Llama, settings, null, rank, ranks).Total)];
        Assert.Equal(planned, result.PeakBytes);
    }

    /// <summary>
    /// Gradients to their owners and parameters back, without duplicates: (ranks − 1) · (gradient bytes + parameter bytes) in all; losses and squared norms by
    /// recursive doubling.
    /// </summary>
    [Theory]
    [InlineData(2, ParameterStorage.F32, GradientExchange.F32)]
    [InlineData(4, ParameterStorage.BF16, GradientExchange.F32)]
    [InlineData(8, ParameterStorage.Int8, GradientExchange.F32)]
    [InlineData(4, ParameterStorage.BF16, GradientExchange.BF16)]
    public void TheBytesOfAStepFollowTheFormula(int ranks, ParameterStorage storage, GradientExchange exchange)
    {
        TrainingSettings settings = Settings("adamw") with { ParameterType = storage, GradientExchange = exchange };
        using var device = new CpuDevice(1);
        using LanguageModel model = TrainedModel.Create(Llama, settings, device);
        long elements = model.ParameterCount, stored = model.Parameters.Sum(parameter => parameter.Bytes), parameters = model.Parameters.Count;
        long expected = ((ranks - 1) * (((exchange == GradientExchange.BF16 ? 2 : 4) * elements) + stored)) + (ranks * (long)Math.Log2(ranks) * 4 * (settings.Shards + parameters));
        Assert.Equal(expected * settings.Steps, Train(settings, ranks).BytesSent.Sum());
    }

    [Fact]
    public void RefusesRanksThatCannotShareTheShards()
    {
        UserException error = Assert.Throws<UserException>(() => Train(Settings("adamw") with { Shards = 4 }, 8));
        Assert.Equal("--shards 4: 8 ranks cannot share them equally; take a power of two of ranks, at most as many as shards", error.InFlags());
        Assert.Contains("3 ranks", Assert.Throws<UserException>(() => Train(Settings("adamw"), 3)).Message, StringComparison.Ordinal);
        Assert.Contains("power of two; use 4 or 8", Assert.Throws<UserException>((Settings("adamw") with { Shards = 6 }).Check).Message, StringComparison.Ordinal);
    }

    private static string Same(TrainingSettings settings)
    {
        Result one = Train(settings, 1);
        foreach (int ranks in (int[])[2, 4, 8])
        {
            Result several = Train(settings, ranks);
            Assert.Equal(one.Steps, several.Steps);
            Assert.Equal(one.Validation, several.Validation);
            Assert.Equal(one.Norms, several.Norms);
            Assert.Equal(one.Hash, several.Hash);
        }

        return one.Hash;
    }

    private static LlamaConfig Llama => new() { VocabularySize = 31, ContextLength = 33, HiddenSize = 62, Layers = 2, Heads = 1, IntermediateSize = 131 };

    private static Dataset Tokens => Dataset.FromTokens(TokenSequence.From([.. Enumerable.Range(0, 2000).Select(i => i * i % 31)]), 31, null, 0.2, "squares");

    private static TrainingSettings Settings(string optimizer) => new()
    {
        Block = 15,
        Batch = 2,
        Steps = 4,
        Warmup = 2,
        Shards = 8,
        Optimizer = LowRankOptimizers.WithRank(new OptimizerSettings { Name = optimizer, LearningRate = 1e-3, WeightDecay = 0.01 }, 2),
    };

    /// <summary>What training leaves: on every rank the same, but for the bytes.</summary>
    private sealed record Result((float Loss, float Norm)[] Steps, double Validation, string Norms, string Hash, long[] StateBytes, long[] PeakBytes, long[] BytesSent);

    /// <summary>Trains on a number of ranks, each a thread with a device of its own.</summary>
    private static Result Train(TrainingSettings settings, int ranks, Action<Trainer>? prepare = null)
    {
        var results = new Result[ranks];
        long[] states = new long[ranks], peaks = new long[ranks], sent = new long[ranks];
        var hashes = new SortedDictionary<string, string>(StringComparer.Ordinal);
        ThreadCommunicator.Run(ranks, communicator =>
        {
            using var device = new CpuDevice(1);
            using LanguageModel model = TrainedModel.Create(Llama, settings, device);
            using var trainer = new Trainer(device, model, Tokens, settings, communicator);
            prepare?.Invoke(trainer);
            device.Pool.ResetPeak();
            StepResult[] steps = [.. Enumerable.Range(0, settings.Steps).Select(_ => trainer.Step())];
            int rank = communicator.Rank;
            (states[rank], peaks[rank], sent[rank]) = (trainer.Optimizer.StateBytes, device.Pool.PeakBytes, communicator.BytesSent);
            double validation = trainer.Validate(5);
            lock (hashes)
            {
                foreach (ParameterState state in trainer.Optimizer.States.Where(state => state.IsOwned))
                    hashes.Add(state.Parameter.Name, HashOf(state));
            }

            string norms = string.Join(" ", steps.SelectMany(step => step.Layers ?? []));
            string weights = Hash(MemoryMarshal.AsBytes<float>([.. model.Parameters.SelectMany(parameter => parameter.ToArray())]));
            results[rank] = new Result([.. steps.Select(step => (step.Loss, step.GradientNorm))], validation, norms, weights, states, peaks, sent);
        });
        Assert.All(results, result => Assert.Equal((results[0].Hash, results[0].Validation, results[0].Norms), (result.Hash, result.Validation, result.Norms)));
        return results[0] with { Hash = $"{results[0].Hash} {string.Join(" ", hashes.Values)}" };
    }

    private static string HashOf(ParameterState state)
    {
        var all = new List<byte>(BitConverter.GetBytes(state.Step));
        foreach (StateTensor tensor in state.Declared)
        {
            var bytes = new byte[tensor.Bytes];
            state.Parameter.Device.DownloadBytes(state[tensor.Name], bytes.Length, bytes);
            all.AddRange(bytes);
        }

        return Hash(CollectionsMarshal.AsSpan(all));
    }

    private static string Hash(ReadOnlySpan<byte> bytes) => Convert.ToHexStringLower(SHA256.HashData(bytes));
}
