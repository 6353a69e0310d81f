using System.Globalization;
using System.Text.Json;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Files;
using ILGpuOptim.Training;

namespace ILGpuOptim.Lab;

/// <summary>A run of a protocol, with the accuracy for masked tokens after some steps where the protocol asks for it (<c>accuracy.jsonl</c>).</summary>
internal sealed class ProtocolRun(ComparedRun run)
{
    private string AccuracyFile => Path.Combine(Run.Folder, "accuracy.jsonl");

    /// <summary>The run.</summary>
    public ComparedRun Run { get; } = run;

    /// <summary>The last validation loss; infinite for a run that diverged.</summary>
    public double Loss => Run.ValidationLoss;

    /// <summary>The accuracy after each validation, by step.</summary>
    public IReadOnlyDictionary<long, double> Accuracies
    {
        get
        {
            var found = new SortedDictionary<long, double>();
            foreach (string line in File.Exists(AccuracyFile) ? File.ReadAllLines(AccuracyFile).Where(line => line.Length > 0) : [])
            {
                try
                {
                    if (JsonSerializer.Deserialize<double[]>(line) is [double step, double accuracy])
                        found[(long)step] = accuracy;
                }
                catch (JsonException)
                {
                    // An incomplete line is skipped.
                }
            }

            return found;
        }
    }

    /// <summary>Adds the accuracy at each validation of a run, over as many tokens as its validation loss.</summary>
    public void MeasureAccuracy(TrainingRun training, Device device)
    {
        TrainingSettings settings = training.Settings;
        long length = Math.Min(training.Data.Validation.Length, (long)settings.EvalBatches * settings.Batch * settings.Block);
        TokenSequence tokens = training.Data.Validation.Slice(0, length);
        var options = new EvaluationOptions { Block = settings.Block, MaskedFraction = settings.MaskedFraction };
        training.Validated += (step, _, _) =>
        {
            double accuracy = Evaluation.Run(training.Trainer.Model, device, tokens, null, options).Accuracy ?? 0;

            // A line begins with its line break, so that one which a killed process did not complete stays alone.
            File.AppendAllText(AccuracyFile, string.Create(CultureInfo.InvariantCulture, $"\n[{step},{accuracy:R}]"));
        };
    }
}
