using ILGpuOptim.Compute;
using ILGpuOptim.Distributed;
using ILGpuOptim.Files;
using ILGpuOptim.Models;
using ILGpuOptim.Optim;
using ILGpuOptim.Tests.Optim;
using ILGpuOptim.Tests.Training;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Distributed;

/// <summary>Runs of several ranks: one folder, and checkpoints that any number of ranks goes on from.</summary>
public class RankRunTests
{
    public static TheoryData<string, StateStorage> Optimizers => new(
        from entry in Registry.Entries from storage in entry.Name is "adamw" or "came" ? Enum.GetValues<StateStorage>() : [StateStorage.F32] select (entry.Name, storage));

    /// <summary>A run of one rank, and one that four ranks begin and two finish: the same lines and weights.</summary>
    [Theory]
    [MemberData(nameof(Optimizers))]
    public void AnotherNumberOfRanksGoesOnExactly(string optimizer, StateStorage storage)
    {
        using var folder = new TemporaryFolder();
        TrainingSettings settings = Settings(folder, optimizer);
        bool averages = optimizer.StartsWith("schedulefree", StringComparison.Ordinal);
        settings = settings with { Ema = averages ? 0 : 0.9, Optimizer = settings.Optimizer with { StateType = storage } };
        string whole = Path.Combine(folder.Path, "whole"), parts = Path.Combine(folder.Path, "parts");
        Run(1, ranks => TrainingRun.Begin(whole, settings, new CpuDevice(1), ranks));
        Run(4, ranks =>
        {
            TrainingRun run = TrainingRun.Begin(parts, settings, new CpuDevice(1), ranks);
            return run;
        }, stopAt: 3);
        (long step, string checkpoint) = Assert.Single(TrainingRun.Checkpoints(parts));
        Assert.Equal(4, step);
        if (optimizer != "apollo-mini")
            Assert.Equal(4, Directory.GetFiles(checkpoint, "optimizer-*.safetensors").Length);
        Run(2, ranks => TrainingRun.Resume(parts, _ => new CpuDevice(1), ranks, null, false));
        Assert.Equal(MetricLines.Updates(whole), MetricLines.Updates(parts));
        foreach (string file in averages ? ["model.safetensors"] : (string[])["model.safetensors", "ema/model.safetensors"])
            Assert.Equal(File.ReadAllBytes(Path.Combine(Last(whole), file)), File.ReadAllBytes(Path.Combine(Last(parts), file)));
        using Safetensors one = Safetensors.Open(Path.Combine(Last(whole), OptimizerFiles.Name)), two = Safetensors.Open(Path.Combine(Last(parts), OptimizerFiles.Index));
        Assert.Equal(one.Tensors.Keys.Order(), two.Tensors.Keys.Order());
        Assert.All(one.Tensors.Keys, name => Assert.Equal(one.ReadBytes(name), two.ReadBytes(name)));
    }

    /// <summary>
    /// A signal or an error of one rank stops all after the step in which they agree on it: the present one if its gradients are not known yet or there is one rank only,
    /// else the next one.
    /// </summary>
    [Theory]
    [InlineData(1, "operation", 3)]
    [InlineData(1, "stepped", 3)]
    [InlineData(1, "error", 3)]
    [InlineData(2, "operation", 3)]
    [InlineData(2, "stepped", 4)]
    [InlineData(2, "error", 4)]
    public void OneRankStopsAll(int size, string place, long expected)
    {
        using var folder = new TemporaryFolder();
        TrainingSettings settings = Settings(folder, "adamw");
        ThreadCommunicator.Run(size, ranks =>
        {
            using var stop = new CancellationTokenSource();
            using var device = new CpuDevice(1);
            using TrainingRun run = TrainingRun.Begin(folder["run"], settings, device, ranks);
            bool isFirst = ranks.Rank == size - 1;
            Action? advance = run.Trainer.Tape.BetweenOperations;
            run.Trainer.Tape.BetweenOperations = () =>
            {
                advance?.Invoke();
                if (isFirst && place == "operation" && run.Trainer.StepNumber == 2 && run.Trainer.IsStepping)
                    stop.Cancel();
            };
            run.Stepped = result =>
            {
                if (!isFirst || result.Step != 3)
                    return;
                if (place == "stepped")
                    stop.Cancel();
                if (place == "error")
                    throw new IOException("the disk is full");
            };
            if (isFirst && place == "error")
                Assert.Equal("the disk is full", Assert.Throws<IOException>(() => run.Train(stop.Token)).Message);
            else
                Assert.False(run.Train(stop.Token));
            Assert.Equal(expected, run.Trainer.StepNumber);
            ranks.Barrier();
            Assert.Equal(expected, Assert.Single(TrainingRun.Checkpoints(run.Folder)).Step);
        }, TimeSpan.FromSeconds(60));
    }

    /// <summary>If the first rank cannot write, every rank says so, and none waits.</summary>
    [Fact]
    public void EveryRankKnowsThatACheckpointFailed()
    {
        using var folder = new TemporaryFolder();
        TrainingSettings settings = Settings(folder, "adamw");
        string[] errors = new string[2];
        ThreadCommunicator.Run(2, ranks =>
        {
            using var device = new CpuDevice(1);
            using TrainingRun run = TrainingRun.Begin(Path.Combine(folder.Path, "run"), settings, device, ranks);
            run.Trainer.Step();
            string file = Path.Combine(folder.Path, "file");
            if (ranks.Rank == 0)
                File.WriteAllText(file, "");
            ranks.Barrier();
            errors[ranks.Rank] = Assert.Throws<UserException>(() => Checkpoint.Save(file, run.Trainer, null, null)).Message;
        });
        Assert.All(errors, error => Assert.Contains("file is a file", error, StringComparison.Ordinal));
    }

    /// <summary>Only the first rank locks and writes the folder; the others find out that it is taken when that one ends.</summary>
    [Fact]
    public void TheFirstRankRefusesAFolderThatHasARun()
    {
        using var folder = new TemporaryFolder();
        TrainingSettings settings = Settings(folder, "adamw") with { Steps = 1 };
        string path = Path.Combine(folder.Path, "run");
        Run(2, ranks => TrainingRun.Begin(path, settings, new CpuDevice(1), ranks));
        Assert.Contains("there is a run already", Assert.Throws<UserException>(() => Run(2, ranks => TrainingRun.Begin(path, settings, new CpuDevice(1), ranks))).Message, StringComparison.Ordinal);
    }

    /// <summary>After training, adapters of an optimizer that averages the weights itself are merged, on every rank, as on loading.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void AdaptersAreMergedWithTheWeightsForEvaluation(int size)
    {
        using var folder = new TemporaryFolder();
        TrainingSettings settings = Settings(folder, "schedulefree-adamw") with { Lora = new() { Rank = 2 } };
        string path = Path.Combine(folder.Path, "run");
        var merged = new float[size][];
        ThreadCommunicator.Run(size, ranks =>
        {
            using var device = new CpuDevice(1);
            using TrainingRun run = TrainingRun.Begin(path, settings, device, ranks);
            Assert.True(run.Train(CancellationToken.None));
            run.MergeAdapters();
            merged[ranks.Rank] = Values(run.Trainer.Model);
            Assert.Equal(ranks.Rank == 0, run.Sample(5) is not null);
        });
        using var reading = new CpuDevice(1);
        using LanguageModel loaded = ModelFiles.Load(Last(path), reading);
        Assert.All(merged, values => Assert.Equal(Values(loaded), values));

        static float[] Values(LanguageModel model) => [.. model.Parameters.SelectMany(parameter => parameter.ToArray())];
    }

    /// <summary>State is copied in parts, of any type and size, and read back to the same bytes.</summary>
    [Theory]
    [InlineData(StateStorage.F32)]
    [InlineData(StateStorage.BF16)]
    [InlineData(StateStorage.Fp8)]
    public void StateIsCopiedInParts(StateStorage storage)
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        var parameter = new Parameter(device, "p", 67, 131);
        using Optimizer written = New(parameter, storage), read = New(parameter, storage);
        var gradients = new Gradients(device);
        device.Random(gradients.Target(parameter, out _), RandomKind.Normal, 1, 7, 0);
        written.Step(gradients);
        string whole = Path.Combine(folder.Path, "whole"), parts = Path.Combine(folder.Path, "parts"), again = Path.Combine(folder.Path, "again");
        OptimizerFiles.Save(whole, written);
        OptimizerFiles.Save(parts, written, part: 1000);
        OptimizerFiles.Load(parts, read, part: 254);
        OptimizerFiles.Save(again, read);
        Assert.Equal(File.ReadAllBytes(whole), File.ReadAllBytes(parts));
        Assert.Equal(File.ReadAllBytes(whole), File.ReadAllBytes(again));
    }

    private static Optimizer New(Parameter parameter, StateStorage storage) =>
        Registry.Create(new OptimizerSettings { Name = "adamw", StateType = storage }, [parameter], out _);

    private static string Last(string run) => TrainingRun.Checkpoints(run).Last().Path;

    private static void Run(int size, Func<Communicator, TrainingRun> open, long stopAt = 0) => ThreadCommunicator.Run(size, ranks =>
    {
        using var stop = new CancellationTokenSource();
        using TrainingRun run = open(ranks);
        using Device device = run.Trainer.Device;

        // One rank is told to stop, and the others stop with it.
        run.Stepped = result =>
        {
            if (result.Step == stopAt && ranks.Rank == size - 1)
                stop.Cancel();
        };
        Assert.Equal(stopAt == 0, run.Train(stop.Token));
        if (ranks.Rank == 0)
            Assert.NotEmpty(Directory.GetFiles(run.Folder));
    });

    private static TrainingSettings Settings(TemporaryFolder folder, string optimizer)
    {
        string text = Path.Combine(folder.Path, "text.txt");
        File.WriteAllText(text, string.Concat(Enumerable.Range(0, 300).Select(i => $"{i * i % 97} in the beginning was number {i}. ")));
        return new TrainingSettings
        {
            Data = [text],
            Layers = 2,
            Heads = 2,
            HiddenSize = 72,
            Block = 16,
            Batch = 2,
            Shards = 4,
            Steps = 6,
            Warmup = 2,
            EvalInterval = 3,
            EvalBatches = 5,
            CheckpointInterval = 0,
            Dropout = 0.1,
            Optimizer = LowRankOptimizers.WithRank(new OptimizerSettings { Name = optimizer, LearningRate = 1e-3, WeightDecay = 0.01 }, 4),
        };
    }
}
