namespace ILGpuOptim.Lab;

/// <summary>The results of a comparison for one optimizer.</summary>
/// <param name="Label">The candidate.</param>
/// <param name="Outcome">finished, unfinished or diverged.</param>
/// <param name="Rate">The learning rate with the smallest validation loss; null when none finished.</param>
/// <param name="Edge">"lowest" or "highest" if the best rate is at that end of the grid, where a wider grid may be better; null otherwise.</param>
/// <param name="Losses">The validation losses of the best rate, in nats a token, one for each seed.</param>
/// <param name="StateBytes">Bytes of optimizer state.</param>
/// <param name="AdamWBytes">Bytes that AdamW keeps for the same parameters in 32 bits.</param>
/// <param name="StepMilliseconds">The median time of a step over all runs.</param>
/// <param name="UpdateMilliseconds">The median time of the optimizer within it.</param>
/// <param name="TokensPerStep">Tokens of a step.</param>
internal sealed record ComparisonRow(
    string Label,
    string Outcome,
    double? Rate,
    string? Edge,
    IReadOnlyList<double> Losses,
    long? StateBytes,
    long? AdamWBytes,
    double? StepMilliseconds,
    double? UpdateMilliseconds,
    long? TokensPerStep)
{
    /// <summary>The mean validation loss over the seeds, in nats a token.</summary>
    public double? Loss => Losses.Count > 0 ? Losses.Average() : null;

    /// <summary>The sample standard deviation over the seeds; null for fewer than two.</summary>
    public double? StandardDeviation => Losses.Count > 1 ? Math.Sqrt(Losses.Sum(loss => (loss - Loss!.Value) * (loss - Loss.Value)) / (Losses.Count - 1)) : null;

    /// <summary>The exponential of the mean loss.</summary>
    public double? Perplexity => Loss is { } loss ? Math.Exp(loss) : null;

    /// <summary>The state as a fraction of AdamW's.</summary>
    public double? StateFraction => (double?)StateBytes / AdamWBytes;

    /// <summary>The optimizer's fraction of the step's time.</summary>
    public double? UpdateShare => UpdateMilliseconds / StepMilliseconds;

    /// <summary>Training throughput in tokens per second.</summary>
    public double? TokensPerSecond => TokensPerStep / StepMilliseconds * 1000;

    /// <summary>Sums up the runs of a candidate.</summary>
    public static ComparisonRow Of(OptimizerComparison.ComparedCandidate candidate)
    {
        ComparedRun[] runs = [.. candidate.Runs];
        ComparedRun.RunFacts? facts = runs.Select(run => run.Facts).FirstOrDefault(item => item is not null);
        IReadOnlyList<double> rates = candidate.Candidate.Rates;
        double? best = candidate.Best?.Rate;
        bool unfinished = runs.Any(run => run.Status == RunStatus.Unfinished);
        return new ComparisonRow(
            candidate.Candidate.Label,
            unfinished ? "unfinished" : candidate.Best is null || candidate.Repeats.Any(run => run.Status == RunStatus.Diverged) ? "diverged" : "finished",
            best,
            rates.Count < 2 || best is null ? null : best == rates[0] ? "lowest" : best == rates[^1] ? "highest" : null,
            candidate.Best is null ? [] : [.. candidate.Repeats.Prepend(candidate.Best).Where(run => run.Status == RunStatus.Finished).Select(run => run.ValidationLoss)],
            facts?.StateBytes,
            8 * facts?.Parameters,
            Median(runs.SelectMany(run => run.Times).Select(time => time.Milliseconds)),
            Median(runs.SelectMany(run => run.Times).Select(time => time.Update)),
            facts?.TokensPerStep);
    }

    internal static double? Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return sorted.Length == 0 ? null : (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }
}
