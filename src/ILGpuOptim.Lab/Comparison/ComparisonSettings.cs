using ILGpuOptim.Training;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Lab;

/// <summary>Everything that determines a comparison's results.</summary>
public sealed record ComparisonSettings
{
    /// <summary>Settings shared by all runs: model, data, batches, schedule, first seed.</summary>
    public required TrainingSettings Training { get; init; }

    /// <summary>The optimizers to compare.</summary>
    public required IReadOnlyList<Candidate> Candidates { get; init; }

    /// <summary>Number of seeds. The first is used for the learning rate search; the others repeat the best rate.</summary>
    [Range(1, 1000)]
    public int Seeds { get; init; } = 1;

    /// <summary>Enables <see cref="Pruning"/> of learning rates.</summary>
    public bool Prunes { get; init; } = true;

    /// <summary>The settings of one run.</summary>
    public TrainingSettings Of(Candidate candidate, double rate, ulong seed) =>
        Training with { Seed = seed, Optimizer = candidate.Optimizer with { LearningRate = rate } };

    /// <summary>The settings that determine results, as JSON.</summary>
    public string ToJson() => SettingsWriter.Write(this with { Training = Training with { Threads = 0 } }).ToJsonString(SettingsWriter.Indented);

    /// <summary>Throws if the settings are invalid.</summary>
    /// <exception cref="UserException">Names the setting and the remedy.</exception>
    public void Check()
    {
        Ranges.Check(this);
        Training.Check();
        if (Training.Steps < 1)
            throw UserException.NamingSettings($"{nameof(Training.Steps):setting} {Training.Steps}: a comparison needs at least one");
        if (Training.EvalBatches == 0 || Training.Validation == 0)
            throw UserException.NamingSettings($"a comparison uses the validation loss; {nameof(Training.EvalBatches):setting} and {nameof(Training.Validation):setting} must not be 0");
    }
}
