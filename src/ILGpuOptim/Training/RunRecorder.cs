using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Training;

/// <summary>
/// Records a run while it trains: lines of <see cref="TrainingRun.MetricsFile"/>, TensorBoard events if the settings ask for them, and the instruments
/// of <see cref="TrainingMeters"/>. The duration of a step is the time since the last one was known, without validations, samples and checkpoints.
/// </summary>
internal sealed class RunRecorder : IDisposable
{
    private readonly Trainer trainer;
    private readonly MetricsWriter metrics;
    private readonly TensorBoardWriter? events;
    private readonly Stopwatch sinceStep = Stopwatch.StartNew(), sinceFlush = Stopwatch.StartNew();

    /// <summary>Opens the files of a run.</summary>
    /// <exception cref="UserException">A file cannot be written.</exception>
    public RunRecorder(string folder, Trainer trainer)
    {
        this.trainer = trainer;
        metrics = new MetricsWriter(folder);
        events = trainer.Settings.TensorBoard ? new TensorBoardWriter(folder, trainer.StepNumber) : null;
    }

    private static string Now => DateTime.UtcNow.ToString("yyyy-MM-dd'T'HH:mm:ss.fff'Z'", CultureInfo.InvariantCulture);

    /// <summary>Records what the run trains and the bytes that are predicted for it.</summary>
    public void Began(long predictedBytes)
    {
        metrics.Append(new JsonObject
        {
            ["step"] = trainer.StepNumber,
            ["began"] = new JsonObject
            {
                ["model"] = trainer.Model.Config.Summary,
                ["parameters"] = trainer.Model.ParameterCount,
                ["state_bytes"] = trainer.Optimizer.StateBytes,
                ["predicted_bytes"] = predictedBytes,
                ["tokens_per_step"] = trainer.TokensPerStep,
                ["device"] = $"{trainer.Device.Name}: {trainer.Device.Description}",
            },
            ["time"] = Now,
        });
    }

    /// <summary>Records an update, or a skipped one. Lines reach the file within about a second.</summary>
    public void Stepped(StepResult result)
    {
        if (result.Spike is { } spike)
        {
            sinceStep.Restart();
            metrics.Append(new JsonObject { ["step"] = result.Step, ["skipped"] = Fields(spike), ["skipped_steps"] = spike.Skipped, ["lr"] = result.LearningRate, ["time"] = Now });
            TrainingMeters.Skipped();
            events?.Append(result.Step, ("skipped_steps", spike.Skipped));
            return;
        }

        double seconds = sinceStep.Elapsed.TotalSeconds, speed = trainer.TokensPerStep / Math.Max(seconds, 1e-9);
        sinceStep.Restart();
        long bytes = trainer.Device.Pool.PeakBytes;
        var line = new JsonObject
        {
            ["step"] = result.Step,
            ["epoch"] = result.Epoch,
            ["loss"] = result.Loss,
            ["lr"] = result.LearningRate,
            ["grad_norm"] = result.GradientNorm,
            ["time"] = Now,
            ["seconds"] = seconds,
            ["tokens_per_second"] = speed,
            ["memory_bytes"] = bytes,
        };
        Append(line, result.Step, "training", result.Preferences);
        metrics.Append(line);
        TrainingMeters.Stepped(result, trainer.TokensPerStep, seconds, bytes);
        events?.Append(result.Step, ("loss/training", result.Loss), ("learning_rate", (float)result.LearningRate), ("gradient_norm", result.GradientNorm), ("tokens_per_second", (float)speed), ("memory_bytes", bytes));
        if (result.Layers is { } layers)
            Measured(result.Step, layers);
        if (sinceFlush.Elapsed.TotalSeconds > 1)
            Flush();
    }

    /// <summary>Records a spike that ends the run.</summary>
    public void Stopped(SpikeException stop)
    {
        metrics.Append(new JsonObject { ["step"] = stop.Step, ["stopped"] = Fields(stop.Spike), ["time"] = Now });
        Flush();
    }

    private static JsonObject Fields(Spike spike) => new()
    {
        ["measure"] = Values.NameOf($"{spike.Measure}"),
        ["value"] = Number(spike.Value),
        ["score"] = Number(spike.Score),
        ["mean"] = Number(spike.Mean),
    };

    private void Measured(long step, IReadOnlyList<ParameterNorms> layers)
    {
        metrics.Append(new JsonObject
        {
            ["step"] = step,
            ["layers"] = new JsonObject(layers.Select(norms => KeyValuePair.Create(norms.Name, (JsonNode?)new JsonObject
            {
                ["grad_norm"] = Number(norms.Gradient),
                ["weight_norm"] = Number(norms.Weights),
                ["update_norm"] = Number(norms.Update),
                ["update_ratio"] = Number(norms.UpdateRatio),
            }))),
            ["time"] = Now,
        });
        events?.Append(step, [.. layers.Select(norms => ($"layer_gradient_norm/{norms.Name}", norms.Gradient)), .. layers.Where(norms => float.IsFinite(norms.UpdateRatio)).Select(norms => ($"layer_update_ratio/{norms.Name}", norms.UpdateRatio))]);
    }

    /// <summary>Records a validation; NaN stands for data that is missing.</summary>
    public void Validated(double training, double validation, PreferenceMetrics? preferences)
    {
        var line = new JsonObject { ["step"] = trainer.StepNumber, ["train_loss"] = Number(training), ["val_loss"] = Number(validation), ["time"] = Now };
        Append(line, trainer.StepNumber, "validation", preferences);
        metrics.Append(line);
        TrainingMeters.Validated(validation);
        if (double.IsFinite(validation))
            events?.Append(trainer.StepNumber, ("loss/validation", (float)validation));
        Flush();
    }

    /// <summary>Adds the reward margin and the accuracy of pairs to a line, and to TensorBoard's events.</summary>
    private void Append(JsonObject line, long step, string data, PreferenceMetrics? preferences)
    {
        if (preferences is null)
            return;
        line["reward_margin"] = Number(preferences.Margin);
        line["reward_accuracy"] = Number(preferences.Accuracy);
        events?.Append(step, ($"reward_margin/{data}", (float)preferences.Margin), ($"reward_accuracy/{data}", (float)preferences.Accuracy));
    }

    /// <summary>Records a generated text.</summary>
    public void Sampled(string sample)
    {
        metrics.Append(new JsonObject { ["step"] = trainer.StepNumber, ["sample"] = sample, ["time"] = Now });
        events?.Append(trainer.StepNumber, "sample", sample);
        Flush();
    }

    /// <summary>Begins the time of the next step, after something else than a step.</summary>
    public void Restart() => sinceStep.Restart();

    /// <summary>Passes everything to the operating system.</summary>
    /// <exception cref="UserException">The disk is full.</exception>
    public void Flush()
    {
        metrics.Flush();
        events?.Flush();
        sinceFlush.Restart();
    }

    private static float? Number(float value) => float.IsFinite(value) ? value : null;

    private static double? Number(double value) => double.IsFinite(value) ? value : null;

    public void Dispose()
    {
        events?.Dispose();
        metrics.Dispose();
    }
}
