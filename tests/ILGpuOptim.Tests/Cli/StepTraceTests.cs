using System.Text.Json;
using ILGpuOptim.Cli;
using ILGpuOptim.Compute;
using ILGpuOptim.Tests.Training;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Cli;

/// <summary>Traces of some steps of a run.</summary>
public sealed class StepTraceTests : IDisposable
{
    private static readonly TrainingSettings Tiny = Presets.Find("tiny") with { Steps = 6, EvalInterval = 2, EvalBatches = 1, SampleInterval = 2, Dropout = 0.1 };

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    private string[] Train(string name, StepTrace? trace, TrainingSettings settings)
    {
        using Device device = trace is null ? new CpuDevice(1) : trace.Wrap(settings, () => new CpuDevice(1));
        using TrainingRun run = TrainingRun.Begin(folder[name], settings, device);
        trace?.Follow(run);
        run.Train(TestContext.Current.CancellationToken);
        return MetricLines.Losses(run.Folder);
    }

    private JsonElement[] Events(string category) => [.. JsonDocument.Parse(File.ReadAllBytes(folder["trace.json"])).RootElement.GetProperty("traceEvents").EnumerateArray()
        .Where(item => item.TryGetProperty("cat", out JsonElement found) && found.GetString() == category)];

    /// <summary>Validations and samples between the steps are not in it, and the run is the same.</summary>
    [Fact]
    public void TheStepsAskedForAreTracedAndTheRunIsTheSame()
    {
        const double Rounding = 0.01; // microseconds
        var trace = new StepTrace(folder["trace.json"], new StepRange(3, 4));
        Assert.Equal(Train("plain", null, Tiny), Train("traced", trace, Tiny));
        JsonElement[] steps = Events("step"), launches = Events("launch");
        Assert.Equal(["step 3", "step 4"], steps.Select(item => item.GetProperty("name").GetString()));
        int[] counts = [.. steps.Select(step => launches.Count(launch => Begin(launch) >= Begin(step) && End(launch) <= End(step) + Rounding))];
        Assert.Equal(launches.Length, counts.Sum());
        Assert.True(counts[0] == counts[1] && counts[0] > 20, $"{counts[0]} and {counts[1]} launches");
        Assert.Equal($"{folder["trace.json"]}: {launches.Length} launches of steps 3 to 4, for Perfetto (ui.perfetto.dev) or chrome://tracing", trace.Finish());

        static double Begin(JsonElement item) => item.GetProperty("ts").GetDouble();
        static double End(JsonElement item) => Begin(item) + item.GetProperty("dur").GetDouble();
    }

    [Theory]
    [InlineData(6, new[] { "step 3", "step 4", "step 5" })]
    [InlineData(2, new[] { "step 1", "step 2" })]
    public void ByDefaultTheFirstTwoStepsAreLeftOutIfThereAreMore(int steps, string[] expected)
    {
        Train("run", new StepTrace(folder["trace.json"], null), Tiny with { Steps = steps });
        Assert.Equal(expected, Events("step").Select(item => item.GetProperty("name").GetString()));
    }

    [Theory]
    [InlineData("it must be a step, or the first and the last", "--trace", "t.json", "--trace-steps", "5-3")]
    [InlineData("it must be a step, or the first and the last", "--trace", "t.json", "--trace-steps", "0")]
    [InlineData("it must be a step, or the first and the last", "--trace", "t.json", "--trace-steps", "1-2-3")]
    [InlineData("the run ends at step 2", "--trace", "t.json", "--trace-steps", "2-3")]
    [InlineData("add --trace FILE", "--trace-steps", "2-3")]
    [InlineData("there is no folder", "--trace", "missing/t.json")]
    public void WrongFlagsAreRefusedBeforeTheRunBegins(string message, params string[] flags)
    {
        Outcome outcome = Tool.Run(folder.Path, ["train", "--preset", "tiny", "--steps", "2", "--out", folder["run"], .. flags]);
        Assert.Equal(1, outcome.Code);
        Assert.Contains(message, outcome.Error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder["run"]));
    }
}
