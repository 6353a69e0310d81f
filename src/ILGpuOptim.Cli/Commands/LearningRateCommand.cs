using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Files;
using ILGpuOptim.Lab;
using ILGpuOptim.Models;
using ILGpuOptim.Training;
using ILGpuOptim.Validation;
using OxyPlot;
using OxyPlot.Axes;
using OxyPlot.Series;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>lr-find</c>: a learning-rate range test.</summary>
internal static class LearningRateCommand
{
    /// <summary>Flags of <c>train</c> for which a range test has its own values, or which belong to run folders.</summary>
    private static readonly HashSet<string> Others = ["--resume", "--out", "--allow-data-change", "--lr", "--steps", "--warmup", "--schedule", "--final-rate", "--checkpoint-interval", "--keep", "--eval-interval", "--eval-batches", "--sample-interval", "--layer-interval", "--tensorboard", "--ema"];

    public static Command Create()
    {
        var options = new TrainOptions();
        Option<double> from = Flag.Of("--from-lr", "first learning rate; the curve begins here", 1e-5, new RangeAttribute(0) { MinimumIsExclusive = true });
        Option<double> to = Flag.Of("--to-lr", "last learning rate", 1.0, new RangeAttribute(0) { MinimumIsExclusive = true });
        Option<int> steps = Flag.Of("--steps", "number of updates, each with a larger learning rate", 200, new RangeAttribute(10, 1_000_000));
        var output = new Option<string?>("--out") { Description = "SVG file of the curve; default: runs/lr-find-OPTIMIZER-TIME.svg" };
        var command = new Command("lr-find", "Find a learning rate: one short run whose rate grows with each update. Draws the losses over the rates; takes the flags of train, and writes no run.")
        {
            from, to, steps, output,
        };
        foreach (Option option in options.All.Where(option => !Others.Contains(option.Name)))
            command.Options.Add(option);
        command.SetAction(result => Run(options, result, result.GetValue(from), result.GetValue(to), result.GetValue(steps), result.GetValue(output)));
        return command;
    }

    private static int Run(TrainOptions options, ParseResult result, double from, double to, int steps, string? output)
    {
        if (from >= to)
            throw new UserException($"--from-lr {from}: it must be below --to-lr {to}");
        bool json = result.GetValue(options.Json);
        TrainingSettings settings = options.Settings(result);
        string name = settings.Optimizer.Name;
        string path = output ?? Path.Combine("runs", string.Create(CultureInfo.InvariantCulture, $"lr-find-{name}-{DateTime.Now:yyyyMMdd-HHmmss}.svg"));
        if (Directory.Exists(path))
            throw new UserException($"--out {path}: it is a folder; name the SVG file to write");
        using var signals = new StopSignals();
        using Dataset data = TrainingRun.LoadData(settings, settings.From);
        ModelConfig config = TrainedModel.Configuration(settings, data, null);
        using Device device = CommonOptions.Open(settings.Device, settings.Threads);
        var plan = MemoryPlan.Of(config, settings with { Ema = 0 }, device);
        plan.CheckAgainst(device);
        CommonOptions.Note(plan);
        if (!json)
            Console.WriteLine($"{name}: {steps} updates with learning rates from {from:G3} to {to:G3}; {config.Summary}");
        signals.Saves = true;
        var sweep = LearningRateSweep.Run(device, config, settings, data, from, to, steps, json ? Print : Show, signals.Token);
        if (Path.GetDirectoryName(Path.GetFullPath(path)) is { } folder)
            Directory.CreateDirectory(folder);
        AtomicFolder.WriteText(path, Charts.Document(Plot(sweep, name)));
        if (json)
            CommonOptions.PrintJson(new { Event = "end", sweep.Suggested, Lowest = sweep.Lowest?.Rate, Recommended = Optim.Registry.Find(name).Defaults.LearningRate, sweep.End, Chart = Path.GetFullPath(path) });
        else
            Describe(sweep, name, path);
        return signals.Token.IsCancellationRequested ? 130 : 0;

        void Show(int step, RatePoint point)
        {
            if (step % Math.Max(1, steps / 20) == 0)
                Console.WriteLine($"lr {point.Rate,-9:G3} loss {point.Loss:F4}  running mean {point.Smoothed:F4}");
        }

        static void Print(int step, RatePoint point) => CommonOptions.PrintJson(new { Event = "step", Step = step, Lr = point.Rate, point.Loss, point.Smoothed });
    }

    private static void Describe(LearningRateSweep sweep, string name, string path)
    {
        if (sweep.End is { } end)
            Console.WriteLine($"end        {end}");
        Console.WriteLine(sweep.Suggested is { } rate
            ? $"suggested  {rate:G2}, a third of the rate at which the running mean was lowest; {name} is recommended with {Optim.Registry.Find(name).Defaults.LearningRate}"
            : "suggested  none: the loss hardly fell; begin with a lower rate (--from-lr) or give it more updates (--steps)");
        Console.WriteLine($"curve      {path}");
    }

    private static PlotModel Plot(LearningRateSweep sweep, string name)
    {
        PlotModel plot = Charts.Plot(new LogarithmicAxis { Position = AxisPosition.Bottom, Title = "learning rate" }, "loss, nats per token");
        LineSeries losses = Charts.Thin(0, LineStyle.Solid), means = Charts.Line($"{name}, running mean of the loss", 0);
        means.MarkerType = MarkerType.None;
        foreach (RatePoint point in sweep.Points.Where(point => double.IsFinite(point.Loss)))
        {
            losses.Points.Add(new DataPoint(point.Rate, point.Loss));
            means.Points.Add(new DataPoint(point.Rate, point.Smoothed));
        }

        plot.Series.Add(losses);
        plot.Series.Add(means);
        if (sweep.Points.Count > 0)
            plot.Axes[1].Maximum = 1.1 * Math.Max(sweep.Points[0].Loss, sweep.Points[^1].Smoothed);
        if (sweep.Suggested is { } rate)
        {
            RatePoint nearest = sweep.Points.MinBy(point => Math.Abs(Math.Log(point.Rate / rate)))!;
            LineSeries mark = Charts.Points(1, MarkerType.Diamond, Charts.Color(1), 6);
            mark.Points.Add(new DataPoint(nearest.Rate, nearest.Smoothed));
            (mark.Title, mark.RenderInLegend) = ($"suggested: {rate.ToString("G2", CultureInfo.InvariantCulture)}", true);
            plot.Series.Add(mark);
        }

        return plot;
    }
}
