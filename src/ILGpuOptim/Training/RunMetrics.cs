using System.Text.Json;
using ILGpuOptim.Files;

namespace ILGpuOptim.Training;

/// <summary>The losses in a run folder's <see cref="TrainingRun.MetricsFile"/>.</summary>
/// <param name="Steps">The loss of each update's batches.</param>
/// <param name="Validations">Losses on training and on validation batches; null where a loss was not finite or there was no validation.</param>
public sealed record RunMetrics(IReadOnlyList<(long Step, double Loss)> Steps, IReadOnlyList<(long Step, double? Training, double? Validation)> Validations)
{
    /// <summary>The learning rate of each update.</summary>
    public IReadOnlyList<(long Step, double Rate)> LearningRates { get; init; } = [];

    /// <summary>Reads a run's losses; empty when there are none yet. A line that is damaged, or that is being written, is skipped.</summary>
    /// <exception cref="UserException">The file cannot be read.</exception>
    public static RunMetrics Read(string folder)
    {
        var steps = new List<(long, double)>();
        var validations = new List<(long, double?, double?)>();
        var rates = new List<(long, double)>();
        string path = Path.Combine(folder, TrainingRun.MetricsFile);
        try
        {
            if (!SourceFile.HasContents(path))
                return new RunMetrics(steps, validations);

            // The run may be adding lines.
            using var reader = new StreamReader(new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete));
            while (reader.ReadLine() is { } text)
            {
                using JsonDocument? json = Parse(text);
                if (json is null)
                    continue;
                JsonElement line = json.RootElement;
                long step = line.GetProperty("step").GetInt64();
                if (line.TryGetProperty("val_loss", out _))
                    validations.Add((step, Number(line, "train_loss"), Number(line, "val_loss")));
                else if (line.TryGetProperty("loss", out _))
                    steps.Add((step, Number(line, "loss") ?? double.NaN));
                if (Number(line, "lr") is { } rate)
                    rates.Add((step, rate));
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{path}: the losses cannot be read: {e.Message}", e);
        }

        return new RunMetrics(steps, validations) { LearningRates = rates };
    }

    /// <summary>The step of a line; null for a damaged one.</summary>
    internal static long? StepOf(string line)
    {
        using JsonDocument? json = Parse(line);
        return json?.RootElement.GetProperty("step").GetInt64();
    }

    /// <summary>An object with a step; null for anything else.</summary>
    private static JsonDocument? Parse(string line)
    {
        try
        {
            JsonDocument json = JsonDocument.Parse(line);
            if (json.RootElement.ValueKind == JsonValueKind.Object && json.RootElement.TryGetProperty("step", out JsonElement step) && step.ValueKind == JsonValueKind.Number && step.TryGetInt64(out long number) && number >= 0)
                return json;
            json.Dispose();
        }
        catch (JsonException)
        {
            // A damaged line, or one that is being written.
        }

        return null;
    }

    /// <summary>A running mean of the losses: of all so far, and after fifty steps an exponential one with a decay of 2 % per step.</summary>
    public IEnumerable<(long Step, double Loss)> Smoothed()
    {
        double smooth = 0;
        for (int i = 0; i < Steps.Count; i++)
        {
            smooth += Math.Max(0.02, 1.0 / (i + 1)) * (Steps[i].Loss - smooth);
            yield return (Steps[i].Step, smooth);
        }
    }

    private static double? Number(JsonElement line, string name) =>
        line.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double number) && double.IsFinite(number) ? number : null;
}
