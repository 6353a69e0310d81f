using System.Globalization;
using ILGpuOptim.Lab;
using OxyPlot;
using OxyPlot.Annotations;
using OxyPlot.Axes;
using OxyPlot.Legends;
using OxyPlot.Series;

namespace ILGpuOptim.Cli;

/// <summary>The pictures of a comparison.</summary>
internal static class ComparisonCharts
{
    private const int MaxPoints = 200;

    // Stand-ins that become the page's own colours, so that a chart follows light and dark.
    private static readonly OxyColor Ink = OxyColor.FromRgb(1, 2, 3), Grid = OxyColor.FromRgb(4, 5, 6);

    /// <summary>Okabe and Ito's colours, which the colour-blind can tell apart, in shades that show on white and on black.</summary>
    private static readonly OxyColor[] Palette =
    [
        OxyColor.FromRgb(0, 114, 178), OxyColor.FromRgb(213, 94, 0), OxyColor.FromRgb(0, 158, 115), OxyColor.FromRgb(204, 121, 167),
        OxyColor.FromRgb(200, 145, 0), OxyColor.FromRgb(70, 165, 220), OxyColor.FromRgb(140, 110, 90), OxyColor.FromRgb(130, 130, 140),
    ];

    /// <summary>Losses of each candidate's best run over steps: validation as a line with marks, smoothed training thin behind it.</summary>
    public static PlotModel BySteps(OptimizerComparison comparison) => Curves(comparison, "step", _ => step => step);

    /// <summary>The same over the seconds spent in training steps.</summary>
    public static PlotModel BySeconds(OptimizerComparison comparison) => Curves(comparison, "seconds in training steps", run =>
    {
        var sums = new SortedList<long, double> { [0] = 0 };
        double sum = 0;
        foreach ((long step, double milliseconds, _) in run.Times)
            sums[step] = sum += milliseconds / 1000;
        return step => sums.TryGetValue(step, out double seconds) ? seconds : double.NaN;
    });

    /// <summary>The validation loss of each learning rate; hollow marks are losses at the step where a rate was pruned.</summary>
    public static PlotModel ByRate(OptimizerComparison comparison)
    {
        PlotModel plot = Plot(new LogarithmicAxis { Title = "learning rate", Position = AxisPosition.Bottom, MinimumPadding = 0.06, MaximumPadding = 0.06 });
        for (int i = 0; i < comparison.Candidates.Count; i++)
        {
            OptimizerComparison.ComparedCandidate candidate = comparison.Candidates[i];
            var whole = Line(candidate, i);
            var pruned = new LineSeries { LineStyle = LineStyle.None, MarkerType = MarkerType.Circle, MarkerSize = 4, MarkerFill = OxyColors.Transparent, MarkerStroke = Color(i), MarkerStrokeThickness = 1.5 };
            foreach (ComparedRun run in candidate.Grid.Where(run => double.IsFinite(run.ValidationLoss)))
                (run.Status == RunStatus.Finished ? whole : pruned).Points.Add(new DataPoint(run.Rate, run.ValidationLoss));
            plot.Series.Add(whole);
            plot.Series.Add(pruned);
        }

        return plot;
    }

    /// <summary>Validation loss over bytes of optimizer state.</summary>
    public static PlotModel ByState(OptimizerComparison comparison)
    {
        PlotModel plot = Plot(new LinearAxis { Title = "optimizer state, % of AdamW's", Position = AxisPosition.Bottom, Minimum = 0, MaximumPadding = 0.12 });
        plot.Legends.Clear();
        for (int i = 0; i < comparison.Candidates.Count; i++)
        {
            ComparisonRow row = ComparisonRow.Of(comparison.Candidates[i]);
            if (row is not { Loss: { } loss, StateFraction: { } fraction })
                continue;
            plot.Series.Add(new LineSeries { LineStyle = LineStyle.None, MarkerType = MarkerType.Circle, MarkerSize = 6, MarkerFill = Color(i), Points = { new DataPoint(100 * fraction, loss) } });
            plot.Annotations.Add(new TextAnnotation { Text = row.Label, TextPosition = new DataPoint(100 * fraction, loss), Offset = new ScreenVector(0, -8), TextColor = Ink, Stroke = OxyColors.Transparent });
        }

        return plot;
    }

    /// <summary>A chart to stand in a page: no size of its own, the page's colours.</summary>
    /// <param name="plot">The chart.</param>
    /// <param name="id">Sets its clip paths apart from those of other charts.</param>
    /// <param name="label">For those who cannot see it.</param>
    public static string Inline(PlotModel plot, string id, string label) => Svg(plot, isDocument: false)
        .Replace("rgb(1,2,3)", "currentColor", StringComparison.Ordinal)
        .Replace("rgb(4,5,6)", "var(--grid)", StringComparison.Ordinal)
        .Replace("clipPath", $"clipPath-{id}-", StringComparison.Ordinal)
        .Replace($"<clipPath-{id}- ", "<clipPath ", StringComparison.Ordinal)
        .Replace($"</clipPath-{id}->", "</clipPath>", StringComparison.Ordinal)
        .Replace("<svg width=\"800\" height=\"450\"", $"<svg viewBox=\"0 0 800 450\" role=\"img\" aria-label=\"{label}\"", StringComparison.Ordinal);

    /// <summary>A chart as a file of its own, on white.</summary>
    public static string Document(PlotModel plot)
    {
        plot.Background = OxyColors.White;
        return Svg(plot, isDocument: true).Replace("rgb(1,2,3)", "rgb(0,0,0)", StringComparison.Ordinal).Replace("rgb(4,5,6)", "rgb(215,215,215)", StringComparison.Ordinal);
    }

    private static string Svg(PlotModel plot, bool isDocument) =>
        new SvgExporter { Width = 800, Height = 450, IsDocument = isDocument, UseVerticalTextAlignmentWorkaround = true }.ExportToString(plot);

    private static OxyColor Color(int i) => Palette[i % Palette.Length];

    private static LineSeries Line(OptimizerComparison.ComparedCandidate candidate, int i) => new()
    {
        // The exporter does not know the page's font and measures text too narrow; legends are clipped to what it measured.
        Title = candidate.Candidate.Label + new string('\u00a0', 8),
        Color = Color(i),
        StrokeThickness = 2,
        LineStyle = i < Palette.Length ? LineStyle.Solid : LineStyle.Dash,
        MarkerType = MarkerType.Circle,
        MarkerSize = 3.5,
        MarkerFill = Color(i),
    };

    private static PlotModel Curves(OptimizerComparison comparison, string axis, Func<ComparedRun, Func<long, double>> position)
    {
        PlotModel plot = Plot(new LinearAxis { Title = axis, Position = AxisPosition.Bottom, Minimum = 0 });
        double lowest = double.PositiveInfinity, highest = double.NegativeInfinity;
        for (int i = 0; i < comparison.Candidates.Count; i++)
        {
            OptimizerComparison.ComparedCandidate candidate = comparison.Candidates[i];
            if ((candidate.Best ?? candidate.Grid.MaxBy(run => run.Step)) is not { Metrics.Validations.Count: > 0 } run)
                continue;
            Func<long, double> x = position(run);
            var training = new LineSeries { Color = OxyColor.FromAColor(90, Color(i)), StrokeThickness = 1 };
            (long Step, double Loss)[] smoothed = [.. run.Metrics.Smoothed()];
            int stride = Math.Max(1, smoothed.Length / MaxPoints);
            training.Points.AddRange(smoothed.Where((_, k) => k % stride == 0).Select(item => new DataPoint(x(item.Step), item.Loss)));
            LineSeries validation = Line(candidate, i);
            validation.Points.AddRange(run.Metrics.Validations.Select(item => new DataPoint(x(item.Step), item.Validation ?? double.NaN)));
            plot.Series.Insert(i == 0 ? 0 : plot.Series.Count / 2, training);
            plot.Series.Add(validation);

            // The untrained model's loss would flatten everything else.
            foreach (double loss in run.Metrics.Validations.Skip(1).Select(item => item.Validation).OfType<double>())
                (lowest, highest) = (Math.Min(lowest, loss), Math.Max(highest, loss));
        }

        if (lowest < highest)
            (plot.Axes[1].Minimum, plot.Axes[1].Maximum) = (lowest - 0.05 * (highest - lowest), Math.Min(highest, lowest + 2) + 0.05 * (highest - lowest));
        return plot;
    }

    private static PlotModel Plot(Axis bottom)
    {
        var plot = new PlotModel { DefaultFont = "sans-serif", TextColor = Ink, PlotAreaBorderColor = Grid, Background = OxyColors.Transparent, Culture = CultureInfo.InvariantCulture };
        foreach (Axis axis in (Axis[])[bottom, new LinearAxis { Position = AxisPosition.Left, Title = "nats a token", AxisTitleDistance = 14, MinimumPadding = 0.06, MaximumPadding = 0.1 }])
        {
            axis.MajorGridlineStyle = LineStyle.Solid;
            axis.MajorGridlineColor = axis.TicklineColor = axis.MinorTicklineColor = Grid;
            plot.Axes.Add(axis);
        }

        plot.Legends.Add(new Legend { LegendPosition = LegendPosition.RightTop, LegendTextColor = Ink, LegendLineSpacing = 5 });
        return plot;
    }
}
