using System.Text.Json;
using ILGpuOptim.Training;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Lab;

/// <summary>Everything that determines a comparison's results.</summary>
public sealed record ComparisonSettings
{
    /// <summary>What all runs share: model, data, batches, schedule, the first seed.</summary>
    public required TrainingSettings Training { get; init; }

    /// <summary>Who takes part.</summary>
    public required IReadOnlyList<Candidate> Candidates { get; init; }

    /// <summary>How many seeds; the first searches the learning rate, the others repeat the best one.</summary>
    [Range(1, 1000)]
    public int Seeds { get; init; } = 1;

    /// <summary>Whether hopeless learning rates are given up early, as <see cref="Pruning"/> says.</summary>
    public bool Prunes { get; init; } = true;

    /// <summary>The settings of one run.</summary>
    public TrainingSettings Of(Candidate candidate, double rate, ulong seed) =>
        Training with { Seed = seed, Optimizer = candidate.Optimizer with { LearningRate = rate } };

    /// <summary>The settings as JSON, without what does not change results.</summary>
    public string ToJson() => JsonSerializer.Serialize(this with { Training = Training with { Threads = 0 } }, TrainingSettings.Options);

    /// <summary>Fails on settings that cannot be compared.</summary>
    /// <exception cref="UserException">With the setting and what to do.</exception>
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
