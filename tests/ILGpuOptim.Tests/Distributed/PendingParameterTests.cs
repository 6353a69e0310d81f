using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Distributed;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Ops;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Distributed;

/// <summary>Updated parameters are under way when a step returns: the next forward pass takes them as they arrive, and reads and writes of a parameter wait until it has arrived.</summary>
public class PendingParameterTests
{
    internal static readonly TrainingSettings Settings = new() { Block = 15, Batch = 2, Steps = 5, Warmup = 0, Shards = 4, Optimizer = new() { Name = "adamw", LearningRate = 1e-3 } };

    internal static readonly LlamaConfig Llama = new() { VocabularySize = 31, ContextLength = 16, HiddenSize = 24, Layers = 3, Heads = 2, IntermediateSize = 40 };

    internal static readonly Dataset Tokens = Dataset.FromTokens(TokenSequence.From([.. Enumerable.Range(0, 2000).Select(i => i * i % 31)]), 31, null, 0.2, "squares");

    /// <summary>The weights after each step of a process alone.</summary>
    internal static readonly Lazy<float[][]> Expected = new(() => Alone(Settings));

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void TheForwardPassBeginsBeforeAllHaveArrived(bool layerwise)
    {
        TrainingSettings settings = Settings with { Layerwise = layerwise, Clip = 0 };
        float[][] expected = Alone(settings);
        Run(4, settings, 20, trainer =>
        {
            ParameterExchange? exchange = trainer.Exchange;
            for (int step = 0; step < settings.Steps; step++)
            {
                var pending = new List<int>();
                var arrived = new List<int>();
                Action advance = trainer.Tape.BetweenOperations!;
                trainer.Tape.BetweenOperations = () =>
                {
                    pending.Add(Pending(trainer.Model));
                    arrived.Add(exchange?.Progress.Arrived ?? 0);
                    advance();
                };
                trainer.Step();
                trainer.Tape.BetweenOperations = advance;
                bool isLast = step == settings.Steps - 1;
                Assert.Equal(isLast, Pending(trainer.Model) == 0);
                if (step == 0)
                    continue;

                // At the first operation all but the table that it reads; some while the forward pass goes on; none at the end of the backward pass.
                int all = trainer.Model.Parameters.Count;
                Assert.Equal(all - 1, pending[0]);
                Assert.Contains(pending, count => count > 0 && count < all / 2);
                Assert.Equal(0, pending[^1]);

                // The first operation has waited for the bucket of the table and not for all; others arrive between the operations that follow.
                int buckets = exchange!.Progress.All;
                Assert.InRange(arrived[0], 1, buckets - 1);
                Assert.Contains(arrived, count => count > arrived[0] && count < buckets);
            }

            Assert.Equal(expected[^1], Weights(trainer.Model));
        });
    }

    /// <summary>Each rank reads, or does not, after each step, alone and in any order, while messages take any time: the bits are those of a process alone.</summary>
    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    public void EveryReaderSeesTheNewValues(int size)
    {
        float[][] expected = Expected.Value;
        ThreadCommunicator.Run(size, communicator =>
        {
            var random = new Random(communicator.Rank);
            var ranks = new SlowCommunicator(communicator, () => random.Next(30));
            using var device = new CpuDevice(1);
            using LanguageModel model = TrainedModel.Create(Llama, Settings, device), reader = TrainedModel.Create(Llama, Settings, device);
            using var trainer = new Trainer(device, model, Tokens, Settings, ranks);
            for (int step = 0; step < Settings.Steps; step++)
            {
                trainer.Step();
                int[] starts = [0, .. model.Parameters.Select(parameter => (int)parameter.Length)];
                for (int i = 1; i < starts.Length; i++)
                    starts[i] += starts[i - 1];
                switch (random.Next(4))
                {
                    case 0:
                        foreach (int i in Enumerable.Range(0, model.Parameters.Count).OrderBy(_ => random.Next()))
                            Assert.Equal(expected[step][starts[i]..starts[i + 1]], model.Parameters[i].ToArray());
                        break;
                    case 1:
                        int one = random.Next(model.Parameters.Count);
                        Assert.Equal(expected[step][starts[one]..starts[one + 1]], model.Parameters[one].ToArray());
                        break;
                    case 2:
                        using (var folder = new TemporaryFolder())
                        {
                            ModelFiles.Save(folder.Path, model);
                            ModelFiles.LoadWeights(folder[ModelFiles.Weights], reader);
                        }

                        Assert.Equal(expected[step], Weights(reader));
                        break;
                    default:
                        break;
                }

                // All ranks take part in this.
                if (step == 2)
                    ranks.Barrier();
            }

            Assert.Equal(expected[^1], Weights(model));
        }, TimeSpan.FromSeconds(60));
    }

    [Fact]
    public void ValidationsAndCheckpointsSeeTheNewValues()
    {
        using var folder = new TemporaryFolder();
        var losses = new double[5];
        Run(1, Settings, 0, trainer => Measure(trainer, "one", 0));
        Run(4, Settings, 50, trainer => Measure(trainer, "four", 1 + trainer.Communicator!.Rank));
        Assert.All(losses, loss => Assert.Equal(losses[0], loss));
        Assert.Equal(File.ReadAllBytes(folder["one/model.safetensors"]), File.ReadAllBytes(folder["four/model.safetensors"]));

        void Measure(Trainer trainer, string name, int place)
        {
            trainer.Step();
            Assert.Equal(place == 0, Pending(trainer.Model) == 0);
            losses[place] = trainer.Validate(3);
            trainer.Step();
            Assert.Equal(place == 0, Pending(trainer.Model) == 0);
            Checkpoint.Save(folder[name], trainer, null, null);
            Assert.Equal(0, Pending(trainer.Model));
        }
    }

    /// <summary>A parameter arrives although no forward pass reads it.</summary>
    [Fact]
    public void AParameterThatIsNotReadArrives()
    {
        float[] expected = [];
        Run(1, (_, trainer) => expected = Train(trainer, false));
        Run(2, (_, trainer) => Assert.Equal(expected, Train(trainer, true)));

        static float[] Train(Trainer trainer, bool hasRanks)
        {
            var model = (ChangingModel)trainer.Model;
            for (int step = 0; step < 3; step++)
            {
                model.UsesBoth = step == 0;
                trainer.Step();
                Assert.Equal(hasRanks && step == 0, model.Second.Arrival is not null);
            }

            return Weights(model);
        }

        static void Run(int size, Action<Communicator, Trainer> train) => ThreadCommunicator.Run(size, communicator =>
        {
            var ranks = new SlowCommunicator(communicator, () => 20);
            using var device = new CpuDevice(1);
            using var model = new ChangingModel(Llama, new Initializer(device, 1));
            using var trainer = new Trainer(device, model, Tokens, Settings with { Shards = 2 }, ranks);
            train(ranks, trainer);
        }, TimeSpan.FromSeconds(60));
    }

    /// <summary>Writes wait too: the owner's old values may still have to be sent, and values that arrive later would replace the written ones.</summary>
    [Fact]
    public void WritesWait() => Run(4, Settings, 50, trainer =>
    {
        float[] doubled = [.. Expected.Value[0].Select(value => 2 * value)];
        trainer.Step();
        Assert.Equal(trainer.Model.Parameters.Count, Pending(trainer.Model));
        int end = doubled.Length;
        foreach (Parameter parameter in trainer.Model.Parameters.Reverse())
        {
            int start = end - (int)parameter.Length;
            parameter.Load(doubled.AsSpan(start..end));
            Assert.Null(parameter.Arrival);
            end = start;
        }

        Assert.Equal(doubled, Weights(trainer.Model));
        trainer.Settle();
        Assert.Equal(doubled, Weights(trainer.Model));
    });

    /// <summary>A view that another tape made before the step shows the values after it.</summary>
    [Fact]
    public void ViewsWait() => Run(2, Settings, 50, trainer =>
    {
        using var tape = new Tape(trainer.Device) { IsRecording = false };
        Parameter last = trainer.Model.Parameters[^1];
        Tensor view = tape.Detach(last).Reshape(-1);
        trainer.Step();
        Assert.NotNull(last.Arrival);
        Assert.Equal(Expected.Value[0][^(int)last.Length..], view.ToArray());
    });

    /// <summary>A step that fails in its forward pass and is repeated keeps what is under way.</summary>
    [Fact]
    public void AStepThatIsRepeatedLosesNothing() => Run(2, Settings, 50, trainer =>
    {
        trainer.Step();
        Action advance = trainer.Tape.BetweenOperations!;
        int operations = 0;
        trainer.Tape.BetweenOperations = () =>
        {
            if (++operations == 4)
                throw new InvalidOperationException("no memory");
            advance();
        };
        Assert.Equal("no memory", Assert.Throws<InvalidOperationException>(trainer.Step).Message);
        Assert.NotEqual(0, Pending(trainer.Model));
        trainer.Tape.BetweenOperations = advance;
        trainer.Step();
        Assert.Equal(Expected.Value[1], Weights(trainer.Model));
    });

    /// <summary>A run goes on from step to step without waiting; ranks agree on its end before the updates.</summary>
    [Fact]
    public void RunsOverlapToo()
    {
        using var folder = new TemporaryFolder();
        string text = folder["text"];
        File.WriteAllText(text, DefaultCorpus.Text[..5000]);
        TrainingSettings settings = Settings with { Data = [text], Layers = 1, Heads = 1, HiddenSize = 8, EvalBatches = 0, Optimizer = new() { Name = "adamw" } };
        ThreadCommunicator.Run(2, communicator =>
        {
            var ranks = new SlowCommunicator(communicator, () => 50);
            using var device = new CpuDevice(1);
            using TrainingRun run = TrainingRun.Begin(folder["run"], settings, device, ranks);
            Tape tape = run.Trainer.Tape;
            Action advance = tape.BetweenOperations!;
            int most = 0;
            tape.BetweenOperations = () =>
            {
                most = Math.Max(most, Pending(run.Trainer.Model));
                advance();
            };
            Assert.True(run.Train(CancellationToken.None));
            Assert.Equal(run.Trainer.Model.Parameters.Count - 1, most);
            Assert.Equal(0, Pending(run.Trainer.Model));
        }, TimeSpan.FromSeconds(60));
    }

    /// <summary>A rank that ends waits for none that has failed, and its own error is the one that is seen.</summary>
    [Fact]
    public void TheErrorOfARankIsSeen() => Assert.Equal("own", Assert.Throws<FormatException>(() => Run(2, Settings, 50, trainer =>
    {
        trainer.Step();
        if (trainer.Communicator!.Rank == 1)
            throw new FormatException("own");
        Assert.Throws<CommunicationException>(trainer.Step);
    })).Message);

    /// <summary>The order of the layers, in which they are updated and sent, is the one in which the forward pass reads them, but for GPT-2's two tables.</summary>
    [Fact]
    public void WhatIsReadFirstIsSentFirst()
    {
        using var device = new CpuDevice(1);
        foreach (ModelConfig config in (ModelConfig[])[Llama, new Gpt2Config { VocabularySize = 31, ContextLength = 16, HiddenSize = 24, Layers = 3, Heads = 2 }])
        {
            using LanguageModel model = config.Create(new Initializer(device, 1));
            var read = new List<string>();
            foreach (Parameter parameter in model.Parameters)
            {
                parameter.Arrival = each =>
                {
                    each.Arrival = null;
                    read.Add(LayerOf(each));
                };
            }

            using var tape = new Tape(device);
            model.Loss(tape, [1, 2, 3], [2, 3, 4], 1);
            if (config is Gpt2Config)
                (read[0], read[1]) = (read[1], read[0]);
            Assert.Equal(model.Parameters.Select(LayerOf).Distinct(), read.Distinct());
        }

        static string LayerOf(Parameter parameter) => parameter.Name[..parameter.Name.LastIndexOf('.')];
    }

    internal static int Pending(LanguageModel model) => model.Parameters.Count(parameter => parameter.Arrival is not null);

    internal static float[] Weights(LanguageModel model) => [.. model.Parameters.SelectMany(parameter => parameter.ToArray())];

    private static float[][] Alone(TrainingSettings settings)
    {
        var weights = new float[settings.Steps][];
        Run(1, settings, 0, trainer =>
        {
            for (int step = 0; step < settings.Steps; step++)
            {
                trainer.Step();
                weights[step] = Weights(trainer.Model);
            }
        });
        return weights;
    }

    /// <summary>Trains on ranks whose messages take a number of looks.</summary>
    internal static void Run(int size, TrainingSettings settings, int looks, Action<Trainer> train) => ThreadCommunicator.Run(size, communicator =>
    {
        var ranks = new SlowCommunicator(communicator, () => looks);
        using var device = new CpuDevice(1);
        using LanguageModel model = TrainedModel.Create(Llama, settings, device);
        using var trainer = new Trainer(device, model, Tokens, settings, ranks);
        train(trainer);
    }, TimeSpan.FromSeconds(60));

    /// <summary>Has a product that it uses in some steps only.</summary>
    private sealed class ChangingModel : LanguageModel
    {
        private readonly Parameter table, head;

        public ChangingModel(ModelConfig config, Initializer initializer)
        {
            Config = config;
            table = Add(initializer, "table", 0.2f, 0, config.VocabularySize, config.HiddenSize);
            Second = Add(initializer, "second", 0.2f, 0, config.HiddenSize, config.HiddenSize);
            head = Add(initializer, "head", 0.2f, 0, config.HiddenSize, config.VocabularySize);
        }

        public override ModelConfig Config { get; }

        public Parameter Second { get; }

        public bool UsesBoth { get; set; }

        public override Tensor Logits(Tape tape, in TokenBatch batch)
        {
            Tensor x = tape.IndexSelect(table, 0, batch.Tokens);
            return (UsesBoth ? x.MatMul(Second) : x).MatMul(head);
        }
    }
}
