using System.Text.Json;
using ILGpuOptim.Training;
using OxyPlot;
using OxyPlot.Axes;
using OxyPlot.Legends;
using OxyPlot.Series;

namespace ILGpuOptim.Cli;

/// <summary>Reads a run's metrics and draws them.</summary>
internal static class Metrics
{
    /// <summary>The validations of a run.</summary>
    public static List<(long Step, double Training, double Validation)> Validations(string folder) =>
        [.. Lines(folder).Where(line => line.TryGetProperty("val_loss", out _)).Select(line => (line.GetProperty("step").GetInt64(), Number(line, "train_loss"), Number(line, "val_loss")))];

    /// <summary>Writes <c>loss.svg</c>: the loss of each step, smoothed, and the validations.</summary>
    public static void Plot(string folder, string title)
    {
        var plot = new PlotModel { Title = title, Background = OxyColors.White, TitleFontSize = 14 };
        plot.Axes.Add(new LinearAxis { Position = AxisPosition.Bottom, Title = "step", MajorGridlineStyle = LineStyle.Dot });
        plot.Axes.Add(new LinearAxis { Position = AxisPosition.Left, Title = "nats a token", AxisTitleDistance = 14, MajorGridlineStyle = LineStyle.Dot });
        plot.Legends.Add(new Legend { LegendPosition = LegendPosition.RightTop });
        var steps = new LineSeries { Title = "training", Color = OxyColor.FromRgb(150, 180, 220), StrokeThickness = 1 };
        double smooth = double.NaN;
        foreach (JsonElement line in Lines(folder).Where(line => line.TryGetProperty("loss", out _)))
        {
            double loss = Number(line, "loss");
            smooth = double.IsNaN(smooth) ? loss : 0.98 * smooth + 0.02 * loss;
            steps.Points.Add(new DataPoint(line.GetProperty("step").GetInt64(), smooth));
        }

        var validations = new LineSeries { Title = "validation", Color = OxyColor.FromRgb(200, 60, 40), MarkerType = MarkerType.Circle, MarkerSize = 3 };
        validations.Points.AddRange(Validations(folder).Select(item => new DataPoint(item.Step, item.Validation)));
        plot.Series.Add(steps);
        plot.Series.Add(validations);
        File.WriteAllText(Path.Combine(folder, "loss.svg"), new SvgExporter { Width = 800, Height = 450, UseVerticalTextAlignmentWorkaround = true }.ExportToString(plot));
    }

    private static IEnumerable<JsonElement> Lines(string folder)
    {
        string path = Path.Combine(folder, TrainingRun.MetricsFile);
        if (!File.Exists(path))
            yield break;
        foreach (string line in File.ReadLines(path))
        {
            JsonElement element;
            try
            {
                element = JsonSerializer.Deserialize<JsonElement>(line);
            }
            catch (JsonException)
            {
                // A line that is being written, or that a killed process left.
                yield break;
            }

            yield return element;
        }
    }

    private static double Number(JsonElement line, string name) =>
        line.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.Number ? value.GetDouble() : double.NaN;
}
