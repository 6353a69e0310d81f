using ILGpuOptim.Cli;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Lab;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Lab;

/// <summary>Comparisons from beginning to report: stopped and gone on with, diverged, repeated.</summary>
public class OptimizerComparisonTests
{
    [Fact]
    public void StoppedAnywhereItEndsInTheSameTable()
    {
        using var folder = new TemporaryFolder();
        ComparisonSettings settings = Settings(folder, "adamw,apollo-mini", "1e-3,1e-2,1e-1") with { Seeds = 2 };
        string whole = Path.Combine(folder.Path, "whole"), parts = Path.Combine(folder.Path, "parts");
        using var device = new CpuDevice(2);
        Assert.True(Run(whole, settings, device, CancellationToken.None));

        // Every seventh step the process ends; with an odd count of stops it ends without having saved.
        using var other = new CpuDevice(1);
        int stops = 0;
        for (bool finished = false; !finished; stops++)
        {
            using var stop = new CancellationTokenSource();
            int steps = 0, limit = 7;
            try
            {
                finished = Run(parts, settings, other, stop.Token, () =>
                {
                    if (++steps < limit)
                        return;
                    if (stops % 2 == 1 && stops < 9)
                        throw new KilledException();
                    stop.Cancel();
                });
            }
            catch (KilledException)
            {
                // Gone on with in the next round.
            }

            Assert.InRange(stops, 0, 200);
        }

        Assert.True(stops > 5);
        Assert.Equal(WithoutTimes(whole), WithoutTimes(parts));
        Assert.Equal(File.ReadAllText(Path.Combine(whole, "runs.csv")), File.ReadAllText(Path.Combine(parts, "runs.csv")));
        string before = File.ReadAllText(Path.Combine(parts, "results.csv"));
        Assert.True(Run(parts, settings, device, CancellationToken.None, () => Assert.Fail("a finished comparison has nothing to train")));
        Assert.Equal(before, File.ReadAllText(Path.Combine(parts, "results.csv")));
    }

    [Fact]
    public void WritesTheSameTableThreeTimes()
    {
        using var folder = new TemporaryFolder();
        ComparisonSettings settings = Settings(folder, "adamw,sgd,apollo:rank=4", "1e-2") with
        {
            Candidates = Candidate.Parse(["adamw,sgd,apollo:rank=4"], ["1e-2", "sgd=1e30"], new OptimizerSettings()),
        };
        string path = Path.Combine(folder.Path, "comparison");
        using var device = new CpuDevice(1);
        Assert.True(Run(path, settings, device, CancellationToken.None));
        string csv = File.ReadAllText(Path.Combine(path, "results.csv")), markdown = File.ReadAllText(Path.Combine(path, "results.md"));
        string html = File.ReadAllText(Path.Combine(path, ComparisonReport.FileName));
        string[] lines = csv.TrimEnd().Split('\n');
        Assert.StartsWith("optimizer,outcome,best_lr,seeds,val_loss,perplexity,state_bytes,state_fraction,", lines[0], StringComparison.Ordinal);
        Assert.Equal(4, lines.Length);
        Assert.StartsWith("sgd,diverged,,0,,,", lines[3], StringComparison.Ordinal);
        string[] adamw = lines.Single(line => line.StartsWith("adamw", StringComparison.Ordinal)).Split(',');
        Assert.Equal(["finished", "0.01", "1"], adamw[1..4]);
        Assert.Equal("1", adamw[7]);
        using (OptimizerComparison comparison = OptimizerComparison.Open(path, settings))
        {
            foreach (ComparisonRow row in ComparisonTables.Rows(comparison))
            {
                foreach (string cell in ComparisonTables.Columns.Select(column => column.Text(row)))
                {
                    Assert.Contains($" {cell} |", markdown, StringComparison.Ordinal);
                    Assert.Contains($"<td>{System.Net.WebUtility.HtmlEncode(cell)}</td>", html, StringComparison.Ordinal);
                }
            }
        }

        Assert.Contains("Diverged: sgd", html, StringComparison.Ordinal);
        Assert.Equal(3, html.Split("<svg viewBox").Length - 1);
        Assert.DoesNotContain("http", html.Replace("http://www.w3.org/", "", StringComparison.Ordinal), StringComparison.Ordinal);
        Assert.DoesNotContain("<script", html, StringComparison.Ordinal);
        Assert.DoesNotContain("rgb(1,2,3)", html, StringComparison.Ordinal);
        Assert.StartsWith("<?xml", File.ReadAllText(Path.Combine(path, ComparisonReport.CurvesFile)), StringComparison.Ordinal);
    }

    [Fact]
    public void AFolderOfSomethingElseIsRefused()
    {
        using var folder = new TemporaryFolder();
        ComparisonSettings settings = Settings(folder, "adamw", "1e-2");
        string path = Path.Combine(folder.Path, "comparison");
        using (OptimizerComparison comparison = OptimizerComparison.Open(path, settings))
            Assert.Contains("another process", Error(path, settings), StringComparison.Ordinal);
        Assert.Contains("another comparison (training.batch: 4 there, 8 here)", Error(path, settings with { Training = settings.Training with { Batch = 8 } }), StringComparison.Ordinal);
        Assert.Contains("another comparison (optimizers: adamw there, came here)", Error(path, Settings(folder, "came", "1e-2")), StringComparison.Ordinal);
        using (OptimizerComparison.Open(path, settings with { Training = settings.Training with { Threads = 1 } }))
            Assert.Contains("not empty", Error(folder.Path, settings), StringComparison.Ordinal);
        Assert.Contains("--seeds 0: it must be", Error(path, settings with { Seeds = 0 }), StringComparison.Ordinal);
        Assert.Contains("--eval-batches", Error(path, settings with { Training = settings.Training with { EvalBatches = 0 } }), StringComparison.Ordinal);
    }

    /// <summary>Comparisons of earlier versions, which do not name the sampling, go on with random positions.</summary>
    [Fact]
    public void AnEarlierComparisonGoesOnAtRandom()
    {
        using var folder = new TemporaryFolder();
        ComparisonSettings settings = Settings(folder, "adamw", "1e-2");
        OptimizerComparison.Open(folder["comparison"], settings).Dispose();
        string file = folder["comparison", OptimizerComparison.SettingsFile], text = File.ReadAllText(file);
        foreach (string line in (string[])["\"sampling\": \"epochs\",", "\"documents\": false,", "\"pad\": false,", "\"mean_span\": 3,"])
        {
            Assert.Contains(line, text, StringComparison.Ordinal);
            text = text.Replace(line, "", StringComparison.Ordinal);
        }

        File.WriteAllText(file, text);
        Assert.Contains("training.sampling: null there, \"epochs\" here", Error(folder["comparison"], settings), StringComparison.Ordinal);
        Assert.Contains("training.documents: null there, true here", Error(folder["comparison"], settings with { Training = settings.Training with { Sampling = Sampling.Random, Documents = true } }), StringComparison.Ordinal);
        OptimizerComparison.Open(folder["comparison"], settings with { Training = settings.Training with { Sampling = Sampling.Random } }).Dispose();
    }

    private static string Error(string path, ComparisonSettings settings) => Assert.ThrowsAny<UserException>(() => OptimizerComparison.Open(path, settings)).InFlags();

    private static bool Run(string folder, ComparisonSettings settings, Device device, CancellationToken stop, Action? stepped = null)
    {
        using OptimizerComparison comparison = OptimizerComparison.Open(folder, settings);
        comparison.Begun = (_, _, training, _) => training.Stepped = _ => stepped?.Invoke();
        bool finished = comparison.Run(device, stop);
        ComparisonTables.Write(comparison);
        ComparisonReport.Write(comparison, device);
        return finished;
    }

    private static string[] WithoutTimes(string folder)
    {
        int times = ComparisonTables.Columns.Count(column => column.IsTime);
        return [.. File.ReadLines(Path.Combine(folder, "results.csv")).Select(line => string.Join(',', line.Split(',')[..^times]))];
    }

    private static ComparisonSettings Settings(TemporaryFolder folder, string optimizers, string rates)
    {
        string text = Path.Combine(folder.Path, "text.txt");
        File.WriteAllText(text, string.Concat(Enumerable.Range(0, 400).Select(i => $"line {i * i % 97} of the text says {i % 7}\n")));
        return new ComparisonSettings
        {
            Training = new TrainingSettings
            {
                Data = [text],
                Layers = 1,
                Heads = 2,
                HiddenSize = 16,
                Block = 16,
                Batch = 4,
                Dropout = 0.1,
                Warmup = 2,
                Steps = 20,
                EvalInterval = 5,
                EvalBatches = 2,
                CheckpointInterval = 3,
                Keep = 1,
            },
            Candidates = Candidate.Parse([optimizers], [rates], new OptimizerSettings()),
        };
    }

    private sealed class KilledException : Exception;
}
