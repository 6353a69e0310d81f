using System.Globalization;
using System.Text.Json.Serialization;

namespace ILGpuOptim.Training;

/// <summary>What a run does with a step whose loss or gradient norm spikes.</summary>
public enum SpikeAction
{
    /// <summary>Leaves weights and optimizer state as they are, and goes on with the next batch.</summary>
    Skip,

    /// <summary>Saves the state before the step and ends the run.</summary>
    Stop,
}

/// <summary>The measure whose spikes are found.</summary>
public enum SpikeMeasure
{
    /// <summary>The loss.</summary>
    Loss,

    /// <summary>The global norm of the gradient before clipping.</summary>
    GradientNorm,

    /// <summary>Both.</summary>
    Either,
}

/// <summary>A loss or gradient norm far above those before it, or one that is not finite.</summary>
/// <param name="Measure">Which of the two.</param>
/// <param name="Value">Its value.</param>
/// <param name="Score">Standard deviations above the mean; infinite for a value that is not finite.</param>
/// <param name="Mean">The mean of the steps before.</param>
/// <param name="Skipped">The number of steps that the run has skipped, this one included.</param>
public sealed record Spike(SpikeMeasure Measure, float Value, double Score, double Mean, long Skipped)
{
    /// <inheritdoc/>
    public override string ToString()
    {
        string name = Measure == SpikeMeasure.Loss ? "loss" : "gradient norm";
        return float.IsFinite(Value) ? string.Create(CultureInfo.InvariantCulture, $"the {name} of {Value:G4} is {Score:G3} standard deviations above its mean of {Mean:G4}") : $"the {name} is {Value.ToString(CultureInfo.InvariantCulture)}";
    }
}

/// <summary>A step spiked, and the run stops. Its update was not made.</summary>
public sealed class SpikeException : UserException
{
    internal SpikeException(FormattableString message, long step, Spike spike, Exception? inner = null) : base(message, inner) => (Step, Spike) = (step, spike);

    /// <summary>The step.</summary>
    public long Step { get; }

    /// <summary>The spike.</summary>
    public Spike Spike { get; }
}

/// <summary>A running mean and variance: of all values so far, and once there are <c>window</c> of them exponential ones with a decay of 1 / window a value.</summary>
/// <param name="Count">The number of values.</param>
/// <param name="Mean">Their mean.</param>
/// <param name="Variance">Their variance.</param>
internal readonly record struct RunningStatistics(
    [property: JsonPropertyName("count")] long Count, [property: JsonPropertyName("mean")] double Mean, [property: JsonPropertyName("variance")] double Variance)
{
    /// <summary>The smallest standard deviation, relative to the mean: rounding alone is no spike.</summary>
    private const double Floor = 1e-4;

    /// <summary>The statistics with one more value.</summary>
    public RunningStatistics With(double value, int window)
    {
        double rate = Math.Max(1.0 / window, 1.0 / (Count + 1)), difference = value - Mean;
        return new(Count + 1, Mean + rate * difference, (1 - rate) * (Variance + rate * difference * difference));
    }

    /// <summary>Standard deviations of a value above the mean.</summary>
    public double Score(double value) => (value - Mean) / Math.Max(Math.Sqrt(Variance), Math.Max(Floor * Math.Abs(Mean), double.Epsilon));
}

/// <summary>What a <see cref="SpikeGuard"/> knows, as in a checkpoint.</summary>
/// <param name="Loss">Statistics of the loss.</param>
/// <param name="GradientNorm">Statistics of the gradient norm.</param>
/// <param name="Skipped">The number of skipped steps.</param>
/// <param name="InARow">How many of them were the last ones.</param>
internal readonly record struct SpikeState(
    [property: JsonPropertyName("loss")] RunningStatistics Loss, [property: JsonPropertyName("gradient_norm")] RunningStatistics GradientNorm,
    [property: JsonPropertyName("skipped")] long Skipped, [property: JsonPropertyName("in_a_row")] int InARow);

/// <summary>
/// Finds spikes: values more than <c>threshold</c> standard deviations above the running mean of the steps before, once there are <c>window</c> of those,
/// and values that are not finite. Spikes do not enter the statistics.
/// </summary>
/// <param name="threshold">The z-score.</param>
/// <param name="measure">The measure; values that are not finite are found of both.</param>
/// <param name="window">Steps of the running statistics.</param>
internal sealed class SpikeGuard(double threshold, SpikeMeasure measure, int window)
{
    /// <summary>The most steps that are skipped in a row.</summary>
    public const int MaxInARow = 10;

    /// <summary>The statistics, and the number of skipped steps.</summary>
    public SpikeState State { get; set; }

    /// <summary>The spike of a step; null if there is none.</summary>
    /// <param name="loss">The loss.</param>
    /// <param name="gradientNorm">The gradient norm; null if it is not known yet.</param>
    public Spike? Find(float loss, float? gradientNorm) =>
        Find(SpikeMeasure.Loss, loss, State.Loss) ?? (gradientNorm is { } norm ? Find(SpikeMeasure.GradientNorm, norm, State.GradientNorm) : null);

    /// <summary>Adds a step that made its update.</summary>
    public void Accept(float loss, float gradientNorm) =>
        State = new(State.Loss.With(loss, window), State.GradientNorm.With(gradientNorm, window), State.Skipped, 0);

    /// <summary>Counts a step that is skipped.</summary>
    public void Skip() => State = State with { Skipped = State.Skipped + 1, InARow = State.InARow + 1 };

    private Spike? Find(SpikeMeasure which, float value, in RunningStatistics before)
    {
        if (!float.IsFinite(value))
            return new Spike(which, value, double.PositiveInfinity, before.Mean, State.Skipped + 1);
        double score = before.Score(value);
        return (measure == which || measure == SpikeMeasure.Either) && before.Count >= window && score > threshold ? new Spike(which, value, score, before.Mean, State.Skipped + 1) : null;
    }
}
