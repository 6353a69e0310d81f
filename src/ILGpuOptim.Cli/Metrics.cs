using ILGpuOptim.Files;
using ILGpuOptim.Training;
using OxyPlot;
using OxyPlot.Axes;
using OxyPlot.Legends;
using OxyPlot.Series;

namespace ILGpuOptim.Cli;

/// <summary>Plots the metrics of a run.</summary>
internal static class Metrics
{
    /// <summary>Writes <c>loss.svg</c>: the loss of each step, smoothed, and the validations.</summary>
    public static void Plot(TrainingRun run)
    {
        string folder = run.Folder, title = $"{run.Settings.Preset}, {run.Settings.Optimizer.Name}";
        var plot = new PlotModel { Title = Terminal.Line(title), Background = OxyColors.White, TitleFontSize = 14 };
        plot.Axes.Add(new LinearAxis { Position = AxisPosition.Bottom, Title = "step", MajorGridlineStyle = LineStyle.Dot });
        plot.Axes.Add(new LinearAxis { Position = AxisPosition.Left, Title = "nats per token", AxisTitleDistance = 14, MajorGridlineStyle = LineStyle.Dot });
        plot.Legends.Add(new Legend { LegendPosition = LegendPosition.RightTop });
        RunMetrics metrics = RunMetrics.Read(folder);
        var steps = new LineSeries { Title = "training", Color = OxyColor.FromRgb(150, 180, 220), StrokeThickness = 1 };
        steps.Points.AddRange(metrics.Smoothed().Select(item => new DataPoint(item.Step, item.Loss)));
        var validations = new LineSeries { Title = "validation", Color = OxyColor.FromRgb(200, 60, 40), MarkerType = MarkerType.Circle, MarkerSize = 3 };
        validations.Points.AddRange(metrics.Validations.Select(item => new DataPoint(item.Step, item.Validation ?? double.NaN)));
        plot.Series.Add(steps);
        if (metrics.Validations.Any(item => item.Validation is not null))
            plot.Series.Add(validations);
        try
        {
            AtomicFolder.WriteText(Path.Combine(folder, "loss.svg"), new SvgExporter { Width = 800, Height = 450, UseVerticalTextAlignmentWorkaround = true }.ExportToString(plot));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{Path.Combine(folder, "loss.svg")}: the chart cannot be written: {e.Message}; the run itself is saved", e);
        }
    }
}
