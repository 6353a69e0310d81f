using System.Text.Json;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Optim;
using ILGpuOptim.Tests.Cli;
using ILGpuOptim.Training;
using static ILGpuOptim.Tests.Cli.Tool;

namespace ILGpuOptim.Tests.Training;

/// <summary>Runs whose windows come once an epoch.</summary>
public class EpochRunTests
{
    /// <summary>An epoch of 11 windows, 4 in a step: it ends within a step, at step 11, and within others.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(8)]
    [InlineData(11)]
    [InlineData(12)]
    public void ARunGoesOnExactlyInAndAfterAnEpoch(int stopped)
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        TrainingSettings settings = Settings(folder);
        using (TrainingRun run = TrainingRun.Begin(folder["whole"], settings, device))
        {
            Assert.Equal(11, new EpochWindows(settings.Block, settings.Seed).Count(run.Data.Training.Length));
            Assert.True(run.Train(CancellationToken.None));
        }

        using (TrainingRun run = TrainingRun.Begin(folder["parts"], settings, device))
        {
            using var stop = new CancellationTokenSource();
            run.Stepped = result =>
            {
                if (result.Step == stopped)
                    stop.Cancel();
            };
            Assert.False(run.Train(stop.Token));
        }

        using (TrainingRun run = TrainingRun.Resume(folder["parts"], _ => device))
            Assert.True(run.Train(CancellationToken.None));
        Assert.Equal(MetricLines.Updates(folder["whole"]), MetricLines.Updates(folder["parts"]));
        Assert.Equal(4 / 11.0, JsonDocument.Parse(MetricLines.Updates(folder["whole"])[0]).RootElement.GetProperty("epoch").GetDouble(), 12);
        Assert.Equal(14 * 4 / 11.0, JsonDocument.Parse(MetricLines.Updates(folder["whole"])[^1]).RootElement.GetProperty("epoch").GetDouble(), 12);
    }

    /// <summary>Runs of earlier versions have no field for the sampling.</summary>
    [Fact]
    public void AnEarlierRunGoesOnAtRandom()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        TrainingSettings settings = Settings(folder) with { Sampling = Sampling.Random, Schedule = ScheduleKind.Constant };
        using (TrainingRun run = TrainingRun.Begin(folder["whole"], settings, device))
            Assert.True(run.Train(CancellationToken.None));
        using (TrainingRun run = TrainingRun.Begin(folder["parts"], settings with { Steps = 5 }, device))
            Assert.True(run.Train(CancellationToken.None));
        string file = folder["parts", TrainingRun.SettingsFile], text = File.ReadAllText(file);
        File.WriteAllText(file, text.Replace("\"sampling\": \"random\",", "", StringComparison.Ordinal));
        Assert.NotEqual(text, File.ReadAllText(file));
        Assert.Equal(Sampling.Random, TrainingSettings.Load(file).Sampling);
        using (TrainingRun run = TrainingRun.Resume(folder["parts"], _ => device, saved => saved with { Steps = settings.Steps }))
        {
            Assert.Equal("settings changed at step 5: steps: 5 → 14", Assert.Single(run.Notes));
            Assert.True(run.Train(CancellationToken.None));
        }

        Assert.Equal(MetricLines.Updates(folder["whole"]), MetricLines.Updates(folder["parts"]));
        using (TrainingRun run = TrainingRun.Begin(folder["epochs"], settings with { Sampling = Sampling.Epochs }, device))
            Assert.True(run.Train(CancellationToken.None));
        Assert.NotEqual(MetricLines.Updates(folder["whole"]), MetricLines.Updates(folder["epochs"]));
        Assert.Equal(Sampling.Epochs, TrainingSettings.Parse("{}").Sampling);
        Assert.Equal(Sampling.Random, TrainingSettings.Parse("""{"sampling": "random"}""").Sampling);
    }

    /// <summary>With another batch a run goes on where one would be that always had it.</summary>
    [Fact]
    public void AChangedBatchGoesOnAtItsOwnPosition()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        TrainingSettings settings = Settings(folder) with { Optimizer = new OptimizerSettings { Name = "sgd", LearningRate = 1e-30 } };
        float[] losses = new float[4];
        using (TrainingRun run = TrainingRun.Begin(folder["large"], settings with { Batch = 8 }, device))
        {
            run.Stepped = result => losses[Math.Min(3, result.Step - 1)] = result.Step <= 4 ? result.Loss : losses[3];
            Assert.True(run.Train(CancellationToken.None));
        }

        using (TrainingRun run = TrainingRun.Begin(folder["small"], settings with { Steps = 2 }, device))
            Assert.True(run.Train(CancellationToken.None));
        using (TrainingRun run = TrainingRun.Resume(folder["small"], _ => device, saved => saved with { Batch = 2, Accumulate = 4, Steps = 4 }))
        {
            run.Stepped = result => Assert.Equal(losses[result.Step - 1], result.Loss, 1e-5f);
            Assert.True(run.Train(CancellationToken.None));
        }
    }

    [Fact]
    public void TheToolTellsEpochs()
    {
        using var folder = new TemporaryFolder();
        string text = Settings(folder).Data[0];
        string[] common = ["train", "--preset", "tiny", "--data", text, "--block", "16", "--batch", "4", "--steps", "12", "--eval-batches", "1"];
        Outcome trained = Run([.. common, "--out", folder["run"]]);
        Assert.Equal(0, trained.Code);
        Assert.Contains("steps      12 of 64 tokens: 4.36 epochs\n", trained.Output.ReplaceLineEndings("\n"), StringComparison.Ordinal);
        Assert.Contains("epoch 4.36  loss", trained.Output, StringComparison.Ordinal);
        Assert.Contains("\"sampling\": \"epochs\"", File.ReadAllText(folder["run", "settings.json"]), StringComparison.Ordinal);
        Outcome random = Run([.. common, "--sampling", "random", "--out", folder["random"]]);
        Assert.Contains("4.36 epochs, at random positions", random.Output, StringComparison.Ordinal);
        Assert.Contains("sampling random", Run("info", folder["random"]).Output, StringComparison.Ordinal);
        Outcome wrong = Run([.. common, "--sampling", "shuffle"]);
        Assert.Equal(1, wrong.Code);
        Assert.Contains("--sampling shuffle: it must be epochs or random", wrong.Error, StringComparison.Ordinal);
        Assert.Contains("epochs", Run("train", "--help").Output, StringComparison.Ordinal);
    }

    private static TrainingSettings Settings(TemporaryFolder folder)
    {
        File.WriteAllText(folder["text.txt"], string.Concat(Enumerable.Range(0, 218).Select(i => (char)('a' + (i * i % 23)))));
        return new TrainingSettings { Data = [folder["text.txt"]], Layers = 1, Heads = 2, HiddenSize = 12, Block = 16, Batch = 4, Steps = 14, Warmup = 0, EvalBatches = 1, CheckpointInterval = 0 };
    }
}
