using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Training;

/// <summary>The lines of a run's metrics.</summary>
internal static class MetricLines
{
    /// <summary>Updates and validations without what depends on the clock: equal for runs that compute the same.</summary>
    public static string[] Losses(string run) =>
        [.. File.ReadLines(Path.Combine(run, TrainingRun.MetricsFile)).Where(line => line.Contains("loss\"", StringComparison.Ordinal)).Select(line => line[..line.IndexOf(",\"time\"", StringComparison.Ordinal)] + "}")];

    /// <summary>The updates among them.</summary>
    public static string[] Updates(string run) => [.. Losses(run).Where(line => line.Contains("\"loss\"", StringComparison.Ordinal))];
}
