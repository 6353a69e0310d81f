using System.Text.Json;

namespace ILGpuOptim.Training;

/// <summary>The losses in a run folder's <see cref="TrainingRun.MetricsFile"/>.</summary>
/// <param name="Steps">The loss of each update's batches.</param>
/// <param name="Validations">Losses on training and on validation batches; null where they were no number or nothing validates.</param>
public sealed record RunMetrics(IReadOnlyList<(long Step, double Loss)> Steps, IReadOnlyList<(long Step, double? Training, double? Validation)> Validations)
{
    /// <summary>Reads a run's losses; empty when there are none yet.</summary>
    public static RunMetrics Read(string folder)
    {
        var steps = new List<(long, double)>();
        var validations = new List<(long, double?, double?)>();
        string path = Path.Combine(folder, TrainingRun.MetricsFile);
        foreach (string text in File.Exists(path) ? File.ReadLines(path) : [])
        {
            try
            {
                using JsonDocument json = JsonDocument.Parse(text);
                JsonElement line = json.RootElement;
                long step = line.GetProperty("step").GetInt64();
                if (line.TryGetProperty("val_loss", out _))
                    validations.Add((step, Number(line, "train_loss"), Number(line, "val_loss")));
                else
                    steps.Add((step, Number(line, "loss") ?? double.NaN));
            }
            catch (JsonException)
            {
                // A line that is being written, or that a killed process left.
                break;
            }
        }

        return new RunMetrics(steps, validations);
    }

    /// <summary>Losses as a running mean: of all so far, and when they are more than fifty, one that forgets 2 % a step.</summary>
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
        line.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.Number ? value.GetDouble() : null;
}
