using System.Globalization;
using System.Text;
using ILGpuOptim.Files;
using Column = ILGpuOptim.Lab.ComparisonTables.Column<(ILGpuOptim.Lab.ProtocolResult Result, ILGpuOptim.Lab.ProtocolResult.OptimizerResult Optimizer)>;

namespace ILGpuOptim.Lab;

/// <summary>A protocol's results as tables: <c>results.md</c>, and <c>results.csv</c> with a line for each optimizer.</summary>
internal static class ProtocolTables
{
    /// <summary>The table of optimizers.</summary>
    private static readonly Column[] Columns =
    [
        new("study", "study", row => row.Result.Study.Name, row => row.Result.Study.Name),
        new("batch", "batch_tokens", row => $"{row.Result.Batch}", row => $"{row.Result.Batch}"),
        new("optimizer", "optimizer", row => row.Optimizer.Optimizer.Candidate.Label, row => row.Optimizer.Optimizer.Candidate.Label),
        new("settings", "settings", row => Settings(row.Optimizer), row => Settings(row.Optimizer)),
        new("seeds", "seeds", row => $"{row.Optimizer.Ends.Count}", row => $"{row.Optimizer.Ends.Count}"),
        new("loss", "val_loss", row => Spread(row.Optimizer.Ends), row => ComparisonTables.Value(Mean(row))),
        new("− baseline, 95 %", "difference", row => Difference(row), row => ComparisonTables.Value(row.Result.Test(row.Optimizer)?.Mean)),
        new("t", "t", row => ComparisonTables.Text(row.Result.Test(row.Optimizer)?.T, "F2"), row => ComparisonTables.Value(row.Result.Test(row.Optimizer)?.T)),
        new("p, Holm", "p_holm", row => P(Corrected(row)), row => ComparisonTables.Value(Corrected(row))),
        new("baseline's tokens", "token_multiple", Tokens, row => ComparisonTables.Value(Equivalent(row)?.Multiple)),
        new("state", "state_bytes", row => ComparisonTables.Bytes(Facts(row)?.StateBytes), row => ComparisonTables.Value(Facts(row)?.StateBytes)),
        new("of AdamW's", "state_fraction", row => ComparisonTables.Text(Fraction(row) * 100, "F1", " %"), row => ComparisonTables.Value(Fraction(row))),
    ];

    private static readonly Column[] TimeColumns =
    [
        new("step", "step_ms", row => ComparisonTables.Text(Milliseconds(row, isUpdate: false), "F1", " ms"), row => ComparisonTables.Value(Milliseconds(row, isUpdate: false))),
        new("optimizer", "update_ms", row => ComparisonTables.Text(Milliseconds(row, isUpdate: true), "F1", " ms"), row => ComparisonTables.Value(Milliseconds(row, isUpdate: true))),
    ];

    /// <summary>Writes the files.</summary>
    /// <exception cref="UserException">They cannot be written.</exception>
    public static void Write(ProtocolComparison comparison, bool finished)
    {
        try
        {
            AtomicFolder.WriteText(Path.Combine(comparison.Folder, "results.md"), Markdown(comparison.Results, finished));
            AtomicFolder.WriteText(Path.Combine(comparison.Folder, "results.csv"), ComparisonTables.Csv([.. Columns, .. TimeColumns], comparison.Results.SelectMany(Rows)));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{comparison.Folder}: the results could not be written: {e.Message}; free some space and repeat the command", e);
        }
    }

    /// <summary>The tables of all results.</summary>
    public static string Markdown(IReadOnlyList<ProtocolResult> results, bool finished)
    {
        var text = new StringBuilder();
        foreach (ProtocolResult result in results.Where(result => result.Optimizers.Count > 0))
        {
            ProtocolStudy study = result.Study;
            text.Append(CultureInfo.InvariantCulture, $"## {study.Name}, updates of {result.Batch:N0} tokens\n\n");
            ComparedRun.RunFacts? facts = result.Optimizers.SelectMany(optimizer => optimizer.Ends).Select(run => run.Run.Facts).FirstOrDefault(item => item is not null);
            if (facts is not null)
                text.Append(CultureInfo.InvariantCulture, $"{facts.Model}; {facts.Parameters:N0} trained parameters, {study.StepsOf(result.Batch, 1):N0} updates, {(long)study.StepsOf(result.Batch, 1) * result.Batch:N0} tokens, seeds {string.Join(", ", study.Seeds)}.\n\n");
            text.Append(ComparisonTables.Markdown<(ProtocolResult, ProtocolResult.OptimizerResult)>([.. Columns.Skip(2), .. study.Times ? TimeColumns : []], Rows(result)));
            text.Append('\n').Append(BaselineCurve(result)).Append("### Search, seed ").Append(study.TuningSeed).Append("\n\n").Append(Search(result));
            if (study.Accuracy && result.Optimizers.Any(optimizer => optimizer.Ends.Count > 0))
                text.Append("### Accuracy for masked tokens\n\n").Append(Accuracy(result));
        }

        return finished ? text.ToString() : $"Unfinished: the same command continues it.\n\n{text}";
    }

    private static IEnumerable<(ProtocolResult, ProtocolResult.OptimizerResult)> Rows(ProtocolResult result) => result.Optimizers.Select(optimizer => (result, optimizer));

    private static string BaselineCurve(ProtocolResult result) => result.Study.Multiples.Count == 0 ? "" :
        $"Losses of {result.Optimizers[0].Optimizer.Candidate.Label} by tokens: {string.Join("; ", result.Study.Multiples.Append(1).Order().Select(multiple => string.Create(CultureInfo.InvariantCulture, $"{multiple} times: {Spread(result.Optimizers[0].Runs.GetValueOrDefault(multiple) ?? [])}")))}.\n\n";

    private static string Search(ProtocolResult result)
    {
        var text = new StringBuilder("| optimizer | setting | losses of the values tried | best |\n| --- | --- | --- | ---: |\n");
        foreach (ProtocolResult.OptimizerResult optimizer in result.Optimizers)
        {
            foreach (CoordinateSearch.Searched item in optimizer.Searched)
            {
                string tried = string.Join(", ", item.Tried.Select(value => string.Create(CultureInfo.InvariantCulture, $"{value.Value}: {(double.IsFinite(value.Loss) ? value.Loss.ToString("F4", CultureInfo.InvariantCulture) : "diverged")}")));
                text.Append(CultureInfo.InvariantCulture, $"| {optimizer.Optimizer.Candidate.Label} | {item.Axis.Name} | {tried} | {item.Best}{(item.Edge is { } edge ? $" ({edge})" : "")} |\n");
            }
        }

        if (result.Optimizers.Any(optimizer => !optimizer.IsSettled))
            text.Append("\nThe last pass over the baseline's settings still changed one of them.\n");
        return text.Append('\n').ToString();
    }

    private static string Accuracy(ProtocolResult result)
    {
        ProtocolResult.OptimizerResult[] shown = [.. result.Optimizers.Where(optimizer => optimizer.Ends.Count > 0)];
        var curves = shown.ToDictionary(optimizer => optimizer, optimizer => optimizer.Ends.Select(run => run.Accuracies).ToArray());
        var text = new StringBuilder($"| step | {string.Join(" | ", shown.Select(optimizer => optimizer.Optimizer.Candidate.Label))} |\n| ---: |{string.Concat(shown.Select(_ => " ---: |"))}\n");
        foreach (long step in curves.Values.SelectMany(runs => runs).SelectMany(run => run.Keys).Distinct().Order())
        {
            IEnumerable<string> cells = shown.Select(optimizer => curves[optimizer].All(run => run.ContainsKey(step))
                ? ComparisonTables.Text(100 * curves[optimizer].Average(run => run[step]), "F2", " %") : "–");
            text.Append(CultureInfo.InvariantCulture, $"| {step} | {string.Join(" | ", cells)} |\n");
        }

        return text.Append('\n').ToString();
    }

    private static string Settings(ProtocolResult.OptimizerResult optimizer) => string.Join(", ",
        optimizer.Searched.Select(item => string.Create(CultureInfo.InvariantCulture, $"{item.Axis.Name} {item.Best}{(item.Edge is { } edge ? $" ({edge})" : "")}"))
        .Concat(optimizer.Taken.Select(item => string.Create(CultureInfo.InvariantCulture, $"{item.Key} {item.Value}"))));

    private static double? Mean((ProtocolResult Result, ProtocolResult.OptimizerResult Optimizer) row) => row.Optimizer.Loss(row.Result.Study.Seeds.Count);

    private static string Spread(IReadOnlyList<ProtocolRun> runs)
    {
        double[] losses = [.. runs.Select(run => run.Loss)];
        if (losses.Length == 0)
            return "–";
        int diverged = losses.Count(loss => !double.IsFinite(loss));
        if (diverged > 0)
            return $"{diverged} of {losses.Length} diverged";
        double mean = losses.Average();
        return ComparisonTables.Text(mean, "F4") + (losses.Length < 2 ? "" : $" ± {ComparisonTables.Text(Math.Sqrt(losses.Sum(loss => (loss - mean) * (loss - mean)) / (losses.Length - 1)), "F4")}");
    }

    private static string Difference((ProtocolResult Result, ProtocolResult.OptimizerResult Optimizer) row) =>
        row.Result.Test(row.Optimizer) is { } test ? $"{ComparisonTables.Text(test.Mean, "+0.0000;-0.0000")} ± {ComparisonTables.Text(test.HalfWidth, "F4")}" : "–";

    private static double? Corrected((ProtocolResult Result, ProtocolResult.OptimizerResult Optimizer) row) =>
        row.Result.Corrected().TryGetValue(row.Optimizer, out double p) ? p : null;

    private static string P(double? p) => p is < 0.0001 ? "< 0.0001" : ComparisonTables.Text(p, "F4");

    private static TokenEquivalent? Equivalent((ProtocolResult Result, ProtocolResult.OptimizerResult Optimizer) row) =>
        row.Optimizer != row.Result.Optimizers[0] && Mean(row) is { } loss && double.IsFinite(loss) ? TokenEquivalent.Of(row.Result.Curve, loss) : null;

    private static string Tokens((ProtocolResult Result, ProtocolResult.OptimizerResult Optimizer) row) =>
        Equivalent(row) is { } tokens ? $"{(tokens.Beyond < 0 ? "< " : tokens.Beyond > 0 ? "> " : "")}{ComparisonTables.Text(tokens.Multiple, "F2")} ×" : "–";

    private static ComparedRun.RunFacts? Facts((ProtocolResult Result, ProtocolResult.OptimizerResult Optimizer) row) => row.Optimizer.Ends.Select(run => run.Run.Facts).FirstOrDefault(item => item is not null);

    private static double? Fraction((ProtocolResult Result, ProtocolResult.OptimizerResult Optimizer) row) => Facts(row) is { } facts ? facts.StateBytes / (8.0 * facts.Parameters) : null;

    private static double? Milliseconds((ProtocolResult Result, ProtocolResult.OptimizerResult Optimizer) row, bool isUpdate) => row.Result.Study.Times
        ? ComparisonRow.Median(row.Optimizer.Ends.SelectMany(run => run.Run.Times).Select(time => isUpdate ? time.Update : time.Milliseconds)) : null;
}
