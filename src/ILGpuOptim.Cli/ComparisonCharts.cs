using System.Globalization;
using ILGpuOptim.Lab;
using OxyPlot;
using OxyPlot.Axes;
using OxyPlot.Series;

namespace ILGpuOptim.Cli;

/// <summary>The charts of a comparison.</summary>
internal static class ComparisonCharts
{
    private const int MaxPoints = 200;
    private const string Left = "loss, nats per token";

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

    /// <summary>
    /// The validation loss of each learning rate. A solid line joins finished runs of an optimizer; a dotted one leads to hollow marks, which are losses at the
    /// step where a run was pruned or stopped. Crosses at the top are runs that diverged. A vertical bar spans the seeds of the best rate.
    /// </summary>
    public static PlotModel ByRate(OptimizerComparison comparison)
    {
        PlotModel plot = Charts.Plot(new RateAxis([.. comparison.Candidates.SelectMany(candidate => candidate.Grid).Select(run => run.Rate).Distinct().Order()]), "validation loss, nats per token");
        double[] losses = [.. comparison.Candidates.SelectMany(candidate => candidate.Runs).Select(run => run.ValidationLoss).Where(double.IsFinite)];
        (double lowest, double highest) = losses.Length > 0 ? (losses.Min(), losses.Max()) : (0, 1);
        double margin = highest > lowest ? 0.08 * (highest - lowest) : 0.5, top = highest + 2 * margin;
        (plot.Axes[1].Minimum, plot.Axes[1].Maximum) = (lowest - margin, top + margin);
        for (int i = 0; i < comparison.Candidates.Count; i++)
        {
            OptimizerComparison.ComparedCandidate candidate = comparison.Candidates[i];
            LineSeries finished = Charts.Line(candidate.Candidate.Label, i), all = Charts.Thin(i, LineStyle.Dot);
            LineSeries stopped = Charts.Points(i, Charts.Marker(i), OxyColors.Transparent), diverged = Charts.Points(i, MarkerType.Cross, OxyColors.Transparent);
            foreach (ComparedRun run in candidate.Grid)
            {
                if (run.Status == RunStatus.Diverged)
                    diverged.Points.Add(new DataPoint(run.Rate, top));
                if (!double.IsFinite(run.ValidationLoss))
                    continue;
                var point = new DataPoint(run.Rate, run.ValidationLoss);
                all.Points.Add(point);
                (run.Status == RunStatus.Finished ? finished : stopped).Points.Add(point);
            }

            foreach (LineSeries series in (LineSeries[])[all, finished, stopped, diverged])
                plot.Series.Add(series);
            AddSpread(plot, candidate, i, candidate.Best?.Rate);
        }

        return plot;
    }

    /// <summary>Validation loss over bytes of optimizer state, with the spread over the seeds.</summary>
    public static PlotModel ByState(OptimizerComparison comparison)
    {
        PlotModel plot = Charts.Plot(new LinearAxis { Title = "optimizer state, % of AdamW's", Position = AxisPosition.Bottom, Minimum = 0, MaximumPadding = 0.12 }, "validation loss, nats per token");
        for (int i = 0; i < comparison.Candidates.Count; i++)
        {
            ComparisonRow row = ComparisonRow.Of(comparison.Candidates[i]);
            if (row is not { Loss: { } loss, StateFraction: { } fraction })
                continue;
            AddSpread(plot, comparison.Candidates[i], i, 100 * fraction);
            LineSeries mean = Charts.Points(i, Charts.Marker(i), Charts.Color(i), size: 5.5);
            mean.RenderInLegend = true;
            mean.Title = row.Label;
            mean.Points.Add(new DataPoint(100 * fraction, loss));
            plot.Series.Add(mean);
        }

        return plot;
    }

    /// <summary>A small mark for each seed of the best rate, and a bar from the lowest to the highest loss.</summary>
    private static void AddSpread(PlotModel plot, OptimizerComparison.ComparedCandidate candidate, int i, double? x)
    {
        double[] losses = [.. candidate.Repeats.Append(candidate.Best).Where(run => run?.Status == RunStatus.Finished).Select(run => run!.ValidationLoss).Order()];
        if (x is not { } place || losses.Length < 2)
            return;
        var bar = new LineSeries { Color = Charts.Color(i), StrokeThickness = 1, RenderInLegend = false };
        bar.Points.AddRange([new DataPoint(place, losses[0]), new DataPoint(place, losses[^1])]);
        plot.Series.Add(bar);
        LineSeries seeds = Charts.Points(i, MarkerType.Circle, Charts.Color(i), size: 2);
        seeds.Points.AddRange(losses.Select(loss => new DataPoint(place, loss)));
        plot.Series.Add(seeds);
    }

    /// <summary>Losses of each optimizer's run with all tokens and the first seed over steps.</summary>
    public static PlotModel BySteps(ProtocolResult result) => Curves(
        [.. result.Optimizers.Select(optimizer => (optimizer.Optimizer.Candidate.Label, optimizer.Ends.FirstOrDefault()?.Run))], "step", _ => step => step);

    private static PlotModel Curves(OptimizerComparison comparison, string axis, Func<ComparedRun, Func<long, double>> position) => Curves(
        [.. comparison.Candidates.Select(candidate => (candidate.Candidate.Label, candidate.Best ?? candidate.Grid.MaxBy(run => run.Step)))], axis, position);

    private static PlotModel Curves(IReadOnlyList<(string Label, ComparedRun? Run)> runs, string axis, Func<ComparedRun, Func<long, double>> position)
    {
        PlotModel plot = Charts.Plot(new LinearAxis { Title = axis, Position = AxisPosition.Bottom, Minimum = 0 }, Left);
        double lowest = double.PositiveInfinity, highest = double.NegativeInfinity;
        List<LineSeries> behind = [], before = [];
        for (int i = 0; i < runs.Count; i++)
        {
            if (runs[i].Run is not { Metrics.Validations.Count: > 0 } run)
                continue;
            Func<long, double> x = position(run);
            LineSeries training = Charts.Thin(i, LineStyle.Solid), validation = Charts.Line(runs[i].Label, i);
            (long Step, double Loss)[] smoothed = [.. run.Metrics.Smoothed()];
            int stride = Math.Max(1, smoothed.Length / MaxPoints);
            training.Points.AddRange(smoothed.Where((_, k) => k % stride == 0).Select(item => new DataPoint(x(item.Step), item.Loss)));
            validation.Points.AddRange(run.Metrics.Validations.Select(item => new DataPoint(x(item.Step), item.Validation ?? double.NaN)));
            behind.Add(training);

            // The untrained model's loss would flatten everything else.
            double[] losses = [.. run.Metrics.Validations.Skip(1).Select(item => item.Validation).OfType<double>()];
            foreach (double loss in losses)
                (lowest, highest) = (Math.Min(lowest, loss), Math.Max(highest, loss));

            // Between two validations the training loss is the curve.
            if (losses.Length == 1)
            {
                highest = double.PositiveInfinity;
                validation.LineStyle = LineStyle.None;
            }

            before.Add(validation);
        }

        foreach (LineSeries series in behind.Concat(before))
            plot.Series.Add(series);
        double top = Math.Min(highest, lowest + 2), margin = 0.05 * (top - lowest);
        if (lowest < highest)
            (plot.Axes[1].Minimum, plot.Axes[1].Maximum) = (lowest - margin, top + margin);
        return plot;
    }

    /// <summary>A logarithmic axis with a tick at each learning rate, as far as their labels do not overlap.</summary>
    internal sealed class RateAxis : LogarithmicAxis
    {
        /// <summary>The least distance of two labels, as a fraction of the axis.</summary>
        private const double LabelDistance = 0.1;

        private readonly List<double> ticks = [];

        /// <summary>Makes the axis.</summary>
        /// <param name="rates">The learning rates, in order; at least one.</param>
        public RateAxis(double[] rates)
        {
            (Title, Position) = ("learning rate", AxisPosition.Bottom);
            double margin = Math.Max(Math.Pow(rates[^1] / rates[0], 0.08), 1.1);
            (Minimum, Maximum) = (rates[0] / margin, rates[^1] * margin);
            LabelFormatter = rate => rate.ToString(rate is >= 1e-4 and < 1e4 ? "0.########" : "0.###e+0", CultureInfo.InvariantCulture);
            double range = Math.Log(Maximum / Minimum);
            foreach (double rate in rates.Where(rate => ticks.Count == 0 || Math.Log(rate / ticks[^1]) >= LabelDistance * range))
                ticks.Add(rate);
        }

        public override void GetTickValues(out IList<double> majorLabelValues, out IList<double> majorTickValues, out IList<double> minorTickValues) =>
            (majorLabelValues, majorTickValues, minorTickValues) = (ticks, ticks, []);
    }
}
