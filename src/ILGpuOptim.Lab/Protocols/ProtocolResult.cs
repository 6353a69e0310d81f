namespace ILGpuOptim.Lab;

/// <summary>The results of a study at one batch size, complete or so far.</summary>
internal sealed class ProtocolResult(ProtocolStudy study, int batch)
{
    /// <summary>An optimizer with its runs.</summary>
    /// <param name="Optimizer">The optimizer.</param>
    /// <param name="Searched">The settings searched.</param>
    /// <param name="IsSettled">False if the last pass over them still changed one.</param>
    /// <param name="Taken">The settings taken from the baseline.</param>
    public sealed record OptimizerResult(ProtocolOptimizer Optimizer, IReadOnlyList<CoordinateSearch.Searched> Searched, bool IsSettled, IReadOnlyDictionary<string, double> Taken)
    {
        /// <summary>The runs with the best settings for each multiple of the tokens, in the order of the seeds.</summary>
        public Dictionary<double, List<ProtocolRun>> Runs { get; } = [];

        /// <summary>The runs with all tokens.</summary>
        public IReadOnlyList<ProtocolRun> Ends => Runs.GetValueOrDefault(1) ?? [];

        /// <summary>The mean loss; null before all seeds have ended, infinite if one diverged.</summary>
        public double? Loss(int seeds, double multiple = 1) => Runs.GetValueOrDefault(multiple) is { } runs && runs.Count == seeds ? runs.Average(run => run.Loss) : null;
    }

    /// <summary>The study.</summary>
    public ProtocolStudy Study { get; } = study;

    /// <summary>Tokens of an update.</summary>
    public int Batch { get; } = batch;

    /// <summary>The optimizers so far, the baseline first.</summary>
    public List<OptimizerResult> Optimizers { get; } = [];

    /// <summary>The baseline's mean loss for each multiple of the tokens.</summary>
    public IEnumerable<(double Multiple, double Loss)> Curve =>
        from multiple in Study.Multiples.Append(1)
        let loss = Optimizers[0].Loss(Study.Seeds.Count, multiple)
        where loss is { } value && double.IsFinite(value)
        select (multiple, loss.Value);

    /// <summary>The paired test of an optimizer's losses against the baseline's; null before all have ended, or if one diverged.</summary>
    public PairedTest? Test(OptimizerResult optimizer)
    {
        if (optimizer == Optimizers[0] || optimizer.Ends.Count != Study.Seeds.Count || Optimizers[0].Ends.Count != Study.Seeds.Count)
            return null;
        double[] differences = [.. optimizer.Ends.Zip(Optimizers[0].Ends, (run, other) => run.Loss - other.Loss)];
        return differences.All(double.IsFinite) ? PairedTest.Of(differences) : null;
    }

    /// <summary>The probabilities of all tests, with Holm's correction for their number.</summary>
    public IReadOnlyDictionary<OptimizerResult, double> Corrected()
    {
        (OptimizerResult Optimizer, double P)[] tests = [.. Optimizers.Select(optimizer => (optimizer, Test(optimizer)?.P)).Where(item => item.P is not null).Select(item => (item.optimizer, item.P!.Value))];
        return tests.Zip(PairedTest.Holm([.. tests.Select(test => test.P)]), (test, p) => (test.Optimizer, p)).ToDictionary();
    }
}
