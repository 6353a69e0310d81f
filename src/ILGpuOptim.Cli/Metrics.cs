using ILGpuOptim.Files;
using ILGpuOptim.Training;
using OxyPlot;
using OxyPlot.Axes;
using OxyPlot.Series;

namespace ILGpuOptim.Cli;

/// <summary>Plots the metrics of a run.</summary>
internal static class Metrics
{
    private const int MaxPoints = 800;

    /// <summary>Writes <c>loss.svg</c>: the loss of each step, smoothed, the validations, and the learning rate on an axis of its own.</summary>
    public static void Plot(TrainingRun run)
    {
        string path = Path.Combine(run.Folder, "loss.svg");
        try
        {
            AtomicFolder.WriteText(path, Charts.Document(Chart($"{run.Settings.Preset}, {run.Settings.Optimizer.Name}", RunMetrics.Read(run.Folder), run.Data.HasPairs ? "pair" : "token")));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{path}: the chart cannot be written: {e.Message}; the run itself is saved", e);
        }
    }

    /// <summary>The chart of a run.</summary>
    /// <param name="title">The title.</param>
    /// <param name="metrics">What it recorded.</param>
    /// <param name="unit">What a loss is of: a token, or a pair of answers.</param>
    internal static PlotModel Chart(string title, RunMetrics metrics, string unit = "token")
    {
        PlotModel plot = Charts.Plot(new LinearAxis { Position = AxisPosition.Bottom, Title = "step", Minimum = 0 }, $"loss, nats per {unit}");
        plot.Title = Terminal.Line(title);
        plot.TitleFontSize = 14;
        const string rateAxis = "rate";
        (long Step, double Rate)[] rates = [.. Thinned(metrics.LearningRates)];
        if (rates.Length > 1)
        {
            Charts.Add(plot, new LinearAxis { Position = AxisPosition.Right, Key = rateAxis, Title = "learning rate", Minimum = 0, MaximumPadding = 0.08 }, LineStyle.None);
            var rate = new LineSeries { Title = "learning rate", YAxisKey = rateAxis, Color = OxyColor.FromRgb(140, 140, 140), StrokeThickness = 1, LineStyle = LineStyle.Dash };
            rate.Points.AddRange(rates.Select(item => new DataPoint(item.Step, item.Rate)));
            plot.Series.Add(rate);
        }

        var steps = new LineSeries { Title = "training, smoothed", Color = Charts.Color(5), StrokeThickness = 1 };
        steps.Points.AddRange(Thinned([.. metrics.Smoothed()]).Select(item => new DataPoint(item.Step, item.Loss)));
        plot.Series.Add(steps);
        LineSeries validations = Charts.Line("validation", 1);
        validations.Points.AddRange(metrics.Validations.Select(item => new DataPoint(item.Step, item.Validation ?? double.NaN)));
        if (metrics.Validations.Any(item => item.Validation is not null))
            plot.Series.Add(validations);

        // Losses far above the first one, as of a run that diverges, leave the chart at its top.
        double[] losses = [.. steps.Points.Concat(validations.Points).Select(point => point.Y).Where(double.IsFinite)];
        if (losses.Length > 0 && losses.Max() > 1.5 * losses[0] && losses[0] > 0)
            plot.Axes[1].Maximum = 1.5 * losses[0];
        return plot;
    }

    /// <summary>At most about <see cref="MaxPoints"/> items, the last one included.</summary>
    private static IEnumerable<T> Thinned<T>(IReadOnlyList<T> items)
    {
        int stride = Math.Max(1, items.Count / MaxPoints);
        return items.Where((_, i) => (items.Count - 1 - i) % stride == 0);
    }
}
