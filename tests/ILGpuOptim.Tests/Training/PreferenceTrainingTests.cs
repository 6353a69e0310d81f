using System.Text.Json;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Distributed;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Ops;
using ILGpuOptim.Tests.Cli;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Training;

/// <summary>Pairs of answers, of which one in letters a is preferred to one in letters b.</summary>
public sealed class PreferenceTrainingTests : IDisposable
{
    private readonly TemporaryFolder folder = new();
    private readonly CpuDevice device = new(threads: 1);

    public PreferenceTrainingTests()
    {
        var random = new Random(5);
        string[] prompts = [.. Enumerable.Range(0, 40).Select(_ => string.Concat(Enumerable.Range(0, random.Next(2, 9)).Select(_ => (char)('c' + random.Next(6)))))];
        File.WriteAllLines(folder["talk.jsonl"], prompts.Select((prompt, i) => $$"""{"prompt": "{{prompt}}", "completion": "{{new string((char)('a' + (i % 2)), random.Next(3, 9))}}"}"""));
        File.WriteAllLines(folder["pairs.jsonl"], prompts.Select(prompt => $$"""{"prompt": "{{prompt}}", "chosen": "{{new string('a', random.Next(3, 9))}}", "rejected": "{{new string('b', random.Next(3, 9))}}"}"""));
        TrainingSettings talk = Common with { Data = [folder["talk.jsonl"]], Layers = 1, Heads = 2, HiddenSize = 16, Steps = 20, Batch = 4, Validation = 0, EvalBatches = 0, Optimizer = new() { LearningRate = 1e-2 } };
        using TrainingRun run = TrainingRun.Begin(folder["base"], talk, device);
        run.Train(CancellationToken.None);
    }

    private TrainingSettings Common => new() { Block = 180, Warmup = 1, CheckpointInterval = 0 };

    private TrainingSettings Settings => Common with
    {
        Data = [folder["pairs.jsonl"]],
        From = TrainingRun.ModelFolder(folder["base"]),
        Validation = 0.25,
        Batch = 4,
        Steps = 6,
        EvalInterval = 3,
        EvalBatches = 4,
        CheckpointInterval = 3,
        Optimizer = new() { LearningRate = 3e-3 },
    };

    public static TheoryData<string> Losses => ["sigmoid", "smoothed", "ipo", "normalized", "sft"];

    private static DpoOptions Options(string name) => name switch
    {
        "smoothed" => new() { Beta = 0.5, LabelSmoothing = 0.1 },
        "ipo" => new() { Beta = 0.2, Loss = PreferenceLossKind.Ipo },
        "normalized" => new() { Beta = 2, LengthNormalized = true },
        "sft" => new() { Beta = 0.3, SftWeight = 0.7 },
        _ => new() { Beta = 0.3 },
    };

    [Theory]
    [MemberData(nameof(Losses))]
    public void LossMarginAndAccuracyAreThoseOfEachConversationAlone(string name)
    {
        // One batch holds all pairs, so its loss is the mean over them.
        TrainingSettings settings = Settings with { Validation = 0, EvalBatches = 0, Batch = 2, Dpo = Options(name), Steps = 4, Warmup = 0 };
        using (TrainingRun run = TrainingRun.Begin(folder["windows"], settings, device))
            settings = settings with { Batch = (int)Math.Round(2 / run.Trainer.EpochsAfter(1)) };
        Compare(settings);
    }

    private void Compare(TrainingSettings settings)
    {
        using TrainingRun run = TrainingRun.Begin(folder["run"], settings, device);
        Assert.Equal(1, run.Trainer.EpochsAfter(1));
        double[] reference = LogProbabilities(run);
        for (int step = 0; step < 4; step++)
        {
            double[] now = LogProbabilities(run);
            (double loss, PreferenceMetrics metrics) = Expected(run.Data, reference, now, settings.Dpo);
            StepResult result = run.Trainer.Step();
            Assert.Equal(loss, result.Loss, 2e-5 * Math.Max(1, Math.Abs(loss)));
            Assert.Equal(metrics.Margin, result.Preferences!.Margin, 2e-5);
            if (step > 0)
                Assert.Equal(metrics.Accuracy, result.Preferences.Accuracy, 1e-5);
        }
    }

    /// <summary>Losses, margins, accuracies and weights are the same on every number of ranks, and those of accumulated batches but for roundings.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void RanksGiveTheSameBits(bool layerwise)
    {
        TrainingSettings settings = Settings with { Shards = 4, Layerwise = layerwise, Clip = layerwise ? 0 : 1, Dpo = Options("sft") };
        Train(1);
        foreach (int size in (int[])[2, 4])
        {
            Train(size);
            Assert.Equal(MetricLines.Losses(folder["1"]), MetricLines.Losses(folder[$"{size}"]));
            Assert.Equal(Weights(1), Weights(size));
        }

        using TrainingRun sum = TrainingRun.Begin(folder["sum"], settings with { Shards = 1, Accumulate = 4, Layerwise = false }, device);
        using TrainingRun tree = TrainingRun.Begin(folder["tree"], settings, device);
        for (int step = 0; step < 3; step++)
        {
            StepResult expected = sum.Trainer.Step(), result = tree.Trainer.Step();
            Assert.Equal(expected.Loss, result.Loss, 1e-4f);
            Assert.Equal(expected.Preferences!.Margin, result.Preferences!.Margin, 1e-4);
            Assert.Equal(expected.Preferences.Accuracy, result.Preferences.Accuracy, 1e-5);
        }

        void Train(int size) => ThreadCommunicator.Run(size, ranks =>
        {
            using var own = new CpuDevice(threads: 1);
            using TrainingRun run = TrainingRun.Begin(folder[$"{size}"], settings, own, ranks);
            Assert.True(run.Train(CancellationToken.None));
        });

        byte[] Weights(int size) => File.ReadAllBytes(Path.Combine(TrainingRun.ModelFolder(folder[$"{size}"]), "model.safetensors"));
    }

    [Fact]
    public void TheFirstLossIsThatOfACoin()
    {
        using TrainingRun run = TrainingRun.Begin(folder["run"], Settings, device);
        Assert.Equal(Math.Log(2), run.Trainer.Validate(4), 1e-5);
        Assert.Equal(Math.Log(2), run.Trainer.Step().Loss, 1e-5);
        Assert.True(run.Trainer.Step().Loss < Math.Log(2));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void TheAccuracyOfHeldOutPairsRises(bool adapts)
    {
        TrainingSettings settings = Settings with { Steps = 30, EvalInterval = 30, Lora = adapts ? new LoraOptions { Rank = 2 } : null, Optimizer = new() { LearningRate = adapts ? 2e-2 : 3e-3 } };
        using TrainingRun run = TrainingRun.Begin(folder["run"], settings, device);
        (double before, PreferenceMetrics? first) = run.Trainer.Measure(4, onTraining: false);
        run.Train(CancellationToken.None);
        Assert.True(run.Trainer.Validate(4) < 0.5 * before);
        Assert.Equal(0, first!.Margin, 1e-4);
        Assert.InRange(run.Preferences!.Accuracy, 0.95, 1);
        Assert.InRange(run.Preferences.Margin, 1, double.PositiveInfinity);

        JsonElement[] lines = [.. File.ReadLines(Path.Combine(run.Folder, "metrics.jsonl")).Select(line => JsonDocument.Parse(line).RootElement)];
        JsonElement validation = lines.Last(line => line.TryGetProperty("val_loss", out _)), step = lines.Last(line => line.TryGetProperty("grad_norm", out _));
        Assert.Equal(run.Preferences.Accuracy, validation.GetProperty("reward_accuracy").GetDouble());
        Assert.InRange(step.GetProperty("reward_margin").GetDouble(), 1, double.PositiveInfinity);
    }

    [Fact]
    public void ARunResumesExactlyWithTheReferenceOfItsBeginning()
    {
        List<(float Loss, PreferenceMetrics? Preferences)> whole = [], rest = [];
        TrainingSettings settings = Settings with { Accumulate = 2, TensorBoard = true };
        using (TrainingRun run = TrainingRun.Begin(folder["whole"], settings, device))
        {
            run.Stepped = result => whole.Add((result.Loss, result.Preferences));
            Assert.True(run.Train(CancellationToken.None));
        }

        using (TrainingRun run = TrainingRun.Begin(folder["parts"], settings, device))
        {
            using var stop = new CancellationTokenSource();
            run.Stepped = result => { if (result.Step == 3) stop.Cancel(); };
            Assert.False(run.Train(stop.Token));
        }

        using (TrainingRun run = TrainingRun.Resume(folder["parts"], _ => device))
        {
            run.Stepped = result => rest.Add((result.Loss, result.Preferences));
            Assert.True(run.Train(CancellationToken.None));
        }

        Assert.Equal(whole[3..], rest);
        File.Delete(folder["parts/reference.safetensors"]);
        Assert.Contains("reference.safetensors is missing", Assert.Throws<UserException>(() => TrainingRun.Resume(folder["parts"], _ => device)).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void MemoryIsPredictedToTheByte(bool adapts)
    {
        using TrainingRun run = TrainingRun.Begin(folder["run"], Settings with { Dpo = Options("sft"), Lora = adapts ? new LoraOptions() : null }, device);
        device.Pool.ResetPeak();
        run.Trainer.Step();
        run.Trainer.Step();
        Assert.Equal(run.Plan.Total, device.Pool.PeakBytes);
    }

    [Fact]
    public void WhatCannotBeTrainedIsRefused()
    {
        Refuses(Settings with { From = null }, "name it with");
        Refuses(Settings with { Batch = 3 }, "must be even");
        Refuses(Settings with { Data = [folder["talk.jsonl"]], Dpo = new() { Beta = 0.2 } }, "holds no pairs of answers");
        Refuses(Settings with { Dpo = new() { Beta = 0 } }, "Beta");
        using (TrainingRun run = TrainingRun.Begin(folder["run"], Settings, device))
            run.Train(CancellationToken.None);
        Assert.Contains("pairs of answers are compared with the model that a run began with", Tool.Run("eval", folder["run"]).Error, StringComparison.Ordinal);
    }

    private void Refuses(TrainingSettings settings, string message) =>
        Assert.Contains(message, Assert.ThrowsAny<Exception>(() => TrainingRun.Begin(folder[Guid.NewGuid().ToString()], settings, device)).Message, StringComparison.Ordinal);

    /// <summary>The log-probability of each answer, in double precision from the logits of its conversation alone.</summary>
    private double[] LogProbabilities(TrainingRun run)
    {
        Dataset data = run.Data;
        int[] tokens = data.Training.ToArray(), answers = data.TrainingAnswers!.ToArray();
        var sums = new double[data.TrainingDocuments!.Count];
        int start = 0;
        for (int i = 0; i < sums.Length; i++)
        {
            int end = (int)data.TrainingDocuments.EndOf(i), length = end - start - 1;
            var tape = new Tape(device) { IsRecording = false, IsTraining = false };
            float[] logits = run.Trainer.Model.Logits(tape, tokens.AsSpan(start, length), 1).ToArray();
            tape.Reset();
            int vocabulary = logits.Length / length;
            for (int t = 0; t < length; t++)
            {
                if (answers[start + t + 1] == 1)
                    sums[i] += logits[(t * vocabulary) + tokens[start + t + 1]] - Math.Log(logits.Skip(t * vocabulary).Take(vocabulary).Sum(z => Math.Exp(z)));
            }

            start = end;
        }

        return sums;
    }

    private static (double Loss, PreferenceMetrics Metrics) Expected(Dataset data, double[] reference, double[] now, DpoOptions options)
    {
        int[] answers = data.TrainingAnswers!.ToArray();
        int pairs = now.Length / 2;
        double loss = 0, margin = 0, accuracy = 0;
        for (int pair = 0; pair < pairs; pair++)
        {
            double chosen = (now[2 * pair] - reference[2 * pair]) / Length(2 * pair), rejected = (now[(2 * pair) + 1] - reference[(2 * pair) + 1]) / Length((2 * pair) + 1), difference = chosen - rejected;
            loss += options.Loss == PreferenceLossKind.Ipo ? Math.Pow(difference - 1 / (2 * options.Beta), 2)
                : -(1 - options.LabelSmoothing) * Math.Log(Sigmoid(options.Beta * difference)) - options.LabelSmoothing * Math.Log(Sigmoid(-options.Beta * difference));
            loss -= options.SftWeight * now[2 * pair] / Tokens(2 * pair);
            margin += options.Beta * difference;
            accuracy += difference > 0 ? 1 : 0;
        }

        return (loss / pairs, new PreferenceMetrics(margin / pairs, accuracy / pairs));

        double Length(int conversation) => options.LengthNormalized ? Tokens(conversation) : 1;

        int Tokens(int conversation) => answers[(conversation == 0 ? 0 : (int)data.TrainingDocuments!.EndOf(conversation - 1))..(int)data.TrainingDocuments!.EndOf(conversation)].Sum();

        static double Sigmoid(double x) => 1 / (1 + Math.Exp(-x));
    }

    public void Dispose()
    {
        device.Dispose();
        folder.Dispose();
    }
}
