using System.Diagnostics;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Models;
using ILGpuOptim.Training;

namespace ILGpuOptim.Lab;

/// <summary>The extent of a study at all its batch sizes: runs and tokens, at least and at most.</summary>
/// <param name="FewestRuns">Runs if every search stays within its grid and the baseline's starting values are best.</param>
/// <param name="MostRuns">Runs if every search tries everything that the protocol allows.</param>
/// <param name="FewestTokens">Tokens of the fewest runs.</param>
/// <param name="MostTokens">Tokens of the most runs.</param>
internal sealed record ProtocolPlan(long FewestRuns, long MostRuns, double FewestTokens, double MostTokens)
{
    private const int TrialUpdates = 5;

    /// <summary>Counts the runs of a study.</summary>
    public static ProtocolPlan Of(ProtocolStudy study)
    {
        // Axes share the point at which each has its best value.
        static long Points(IReadOnlyList<SearchAxis> axes, Func<SearchAxis, int> values) => axes.Sum(axis => (long)values(axis)) - axes.Count + 1;
        long fewest = study.Optimizers.Sum(optimizer => Points(optimizer.Search, axis => axis.Grid.Count));
        long most = study.Optimizers.Select((optimizer, i) => (i == 0 && optimizer.Search.Count > 1 ? study.Passes : 1) * Points(optimizer.Search, axis => axis.Grid.Count + axis.Further.Count)).Sum();
        double ends = study.Seeds.Count * (study.Optimizers.Count + study.Multiples.Sum());
        long endRuns = study.Seeds.Count * (study.Optimizers.Count + study.Multiples.Count);
        int batches = study.Batches.Count;
        return new ProtocolPlan(batches * (fewest + endRuns), batches * (most + endRuns), batches * study.Tokens * (fewest + ends), batches * study.Tokens * (most + ends));
    }

    /// <summary>Trains the baseline for a few updates of one batch; returns the median seconds for a token.</summary>
    public static double SecondsPerToken(ProtocolStudy study, Device device)
    {
        TrainingSettings settings = study.Of(study.Optimizers[0], new Dictionary<string, double> { ["lr"] = study.Optimizers[0].Search.First(axis => axis.Name == "lr").Start }, study.Batches[0], 1, study.TuningSeed);
        settings = (settings with { Accumulate = 1 }).Filled();
        using Dataset data = TrainingRun.LoadData(settings);
        using LanguageModel model = TrainedModel.Create(TrainedModel.Configuration(settings, data), settings, device);
        using var trainer = new Trainer(device, model, data, settings);
        var seconds = new List<double>();
        for (int i = 0; i < TrialUpdates; i++)
        {
            long start = Stopwatch.GetTimestamp();
            trainer.Step();
            trainer.Settle();
            seconds.Add(Stopwatch.GetElapsedTime(start).TotalSeconds);
        }

        return ComparisonRow.Median(seconds)!.Value / trainer.TokensPerStep;
    }
}
