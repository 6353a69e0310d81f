using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Models;
using ILGpuOptim.Training;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Lab;

/// <summary>
/// A learning-rate range test (Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017): one short run whose learning rate grows by the same
/// factor with each update. The loss falls once the rate is large enough to learn, and rises once it is too large.
/// </summary>
public sealed class LearningRateSweep
{
    /// <summary>The running mean extends over about this fraction of the updates, so that it lags by the same factor of the rate in every test.</summary>
    private const double Window = 0.05;

    /// <summary>A rate is suggested only if the running mean fell to this fraction of the first loss, which differences between batches do not reach.</summary>
    private const double Progress = 0.95;

    /// <summary>The test ends where the running mean exceeds its lowest value by this factor.</summary>
    private const double Rise = 2;

    /// <summary>The suggested rate is the one with the lowest running mean, divided by this. A full run at that rate itself is often unstable.</summary>
    private const double Margin = 3;

    private LearningRateSweep(IReadOnlyList<RatePoint> points, string? end)
    {
        Points = points;
        End = end;
        Lowest = points.Count == 0 ? null : points.MinBy(point => point.Smoothed);
    }

    /// <summary>The updates, in the order of their rates.</summary>
    public IReadOnlyList<RatePoint> Points { get; }

    /// <summary>Why the test ended before the highest rate; null if it reached that.</summary>
    public string? End { get; }

    /// <summary>The update with the lowest running mean; null if there was no finite loss.</summary>
    public RatePoint? Lowest { get; }

    /// <summary>The suggested peak learning rate: a third of that with the lowest running mean. Null if the loss hardly fell.</summary>
    public double? Suggested => Lowest is { } lowest && lowest.Smoothed < Progress * Points[0].Loss ? lowest.Rate / Margin : null;

    /// <summary>Trains a new model with rising rates.</summary>
    /// <param name="device">The device of the model.</param>
    /// <param name="config">The model; see <see cref="TrainedModel.Configuration"/>.</param>
    /// <param name="settings">Training settings. Steps, schedule, warm-up and learning rate are those of the test.</param>
    /// <param name="data">The data to train on.</param>
    /// <param name="from">The first learning rate.</param>
    /// <param name="to">The last learning rate.</param>
    /// <param name="steps">The number of updates, at least 10.</param>
    /// <param name="stepped">Called after each update with its number.</param>
    /// <param name="stop">Ends the test after an update.</param>
    /// <exception cref="UserException">The rates or the settings contradict each other.</exception>
    public static LearningRateSweep Run(Device device, ModelConfig config, TrainingSettings settings, Dataset data, double from, double to, int steps, Action<int, RatePoint>? stepped = null, CancellationToken stop = default)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(steps, 10);
        if (!(from > 0 && from < to && double.IsFinite(to)))
            throw UserException.NamingSettings($"{nameof(from):setting} {from}: it must be above 0 and below {nameof(to):setting} {to}");
        settings = settings with
        {
            Steps = steps,
            Warmup = 0,
            Schedule = ScheduleKind.Constant,
            FinalRate = new TrainingSettings().FinalRate,
            Optimizer = settings.Optimizer with { LearningRate = to },
        };
        using LanguageModel model = TrainedModel.Create(config, settings, device);
        using var trainer = new Trainer(device, model, data, settings);
        double growth = Math.Log(to / from) / (steps - 1), kept = Math.Max(0, 1 - 1 / (Window * steps)), mean = 0, lowest = double.PositiveInfinity;
        trainer.RateFactor = step => Math.Exp(growth * (step - (steps - 1)));
        var points = new List<RatePoint>(steps);
        try
        {
            for (int i = 0; i < steps && !stop.IsCancellationRequested; i++)
            {
                StepResult result = trainer.Step();
                mean = kept * mean + (1 - kept) * result.Loss;
                points.Add(new RatePoint(result.LearningRate, result.Loss, mean / (1 - Math.Pow(kept, i + 1))));
                stepped?.Invoke(i + 1, points[^1]);
                lowest = Math.Min(lowest, points[^1].Smoothed);
                if (points[^1].Smoothed > Rise * lowest)
                    return new LearningRateSweep(points, $"at {result.LearningRate:G3} the loss was {Rise} times its lowest value");
            }

            trainer.Settle();
            return new LearningRateSweep(points, stop.IsCancellationRequested ? "it was stopped" : null);
        }
        catch (DivergedException e)
        {
            return new LearningRateSweep(points, e.Message.Split(';')[0]);
        }
    }
}
