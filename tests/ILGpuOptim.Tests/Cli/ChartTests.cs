using ILGpuOptim.Cli;
using ILGpuOptim.Training;
using OxyPlot;
using OxyPlot.Axes;
using OxyPlot.Series;

namespace ILGpuOptim.Tests.Cli;

/// <summary>The charts of runs and the facts of reports. tests/report-test.sh checks in a browser how they look.</summary>
public class ChartTests
{
    [Fact]
    public void TheLearningRateHasItsOwnAxis()
    {
        PlotModel plot = Metrics.Chart("a run", new RunMetrics([(1, 4.0), (2, 3.0)], [(0, null, 4.1), (2, null, null)]) { LearningRates = [(1, 1e-4), (2, 2e-4)] });
        Axis right = Assert.Single(plot.Axes, axis => axis.Position == AxisPosition.Right);
        LineSeries rate = Assert.Single(plot.Series.OfType<LineSeries>(), series => series.YAxisKey == right.Key);
        Assert.Equal([1e-4, 2e-4], rate.Points.Select(point => point.Y));
        Assert.Equal(["learning rate", "training, smoothed", "validation"], plot.Series.Select(series => series.Title));
        Assert.Contains("learning rate", Charts.Document(plot), StringComparison.Ordinal);
    }

    /// <summary>Runs without a step, with one, and with a loss that diverges have a chart too.</summary>
    [Fact]
    public void AnyRunHasAChart()
    {
        Assert.Contains("<svg", Charts.Document(Metrics.Chart("", new RunMetrics([], []))), StringComparison.Ordinal);
        Assert.Contains("<svg", Charts.Document(Metrics.Chart("one", new RunMetrics([(1, 4)], [(1, 4, 4)]) { LearningRates = [(1, 1e-3)] })), StringComparison.Ordinal);
        PlotModel diverged = Metrics.Chart("diverged", new RunMetrics([(1, 4), (2, 1e9), (3, double.NaN)], [(0, 4, 4), (3, null, null)]));
        Assert.Equal(6, diverged.Axes[1].Maximum);
        Assert.DoesNotContain("NaN", Charts.Document(diverged), StringComparison.Ordinal);
        (long, double)[] many = [.. Enumerable.Range(1, 10_000).Select(step => ((long)step, 4.0 - step * 1e-4))];
        var steps = (LineSeries)Metrics.Chart("long", new RunMetrics(many, [])).Series[0];
        Assert.InRange(steps.Points.Count, 500, 900);
        Assert.Equal(10_000, steps.Points[^1].X);
    }

    /// <summary>A tick at each rate, and none whose label would lie on the one before.</summary>
    [Theory]
    [InlineData(new[] { 1e-3 }, new[] { 1e-3 })]
    [InlineData(new[] { 1e-3, 3e-3 }, new[] { 1e-3, 3e-3 })]
    [InlineData(new[] { 1e-5, 1e-3, 1.01e-3, 1e-2 }, new[] { 1e-5, 1e-3, 1e-2 })]
    public void RatesAreTicks(double[] rates, double[] expected)
    {
        var axis = new ComparisonCharts.RateAxis(rates);
        axis.GetTickValues(out IList<double> labels, out _, out _);
        Assert.Equal(expected, labels);
        Assert.True(axis.Minimum < rates[0] && axis.Maximum > rates[^1]);
        Assert.Equal(["0.001", "1e-5", "0.0003"], new[] { 1e-3, 1e-5, 3e-4 }.Select(axis.LabelFormatter));
    }

    [Fact]
    public void SettingsAreShownWithoutNulls() => Assert.Equal(
        """{"a":1,"b":{"d":[{"f":false}]},"h":""}""",
        Provenance.WithoutNulls("""{"a": 1, "b": {"c": null, "d": [{"e": null, "f": false}]}, "g": [], "h": ""}""").ReplaceLineEndings("").Replace(" ", "", StringComparison.Ordinal));

    [Fact]
    public void CommandsAreQuotedAsAShellReadsThem() => Assert.Equal(
        "ilgpuoptim compare --out 'my runs' --lr came=1e-3,3e-3 --no-decay '*norm*'",
        Provenance.Command(CommandLine.Parse("compare", "--out", "my runs", "--lr", "came=1e-3,3e-3", "--no-decay", "*norm*")));
}
