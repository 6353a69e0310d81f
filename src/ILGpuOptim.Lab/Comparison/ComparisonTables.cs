using System.Globalization;
using ILGpuOptim.Files;

namespace ILGpuOptim.Lab;

/// <summary>A comparison's results as tables: <c>results.csv</c>, <c>results.md</c>, and <c>runs.csv</c> with a line for each run.</summary>
internal static class ComparisonTables
{
    /// <summary>A column of a table.</summary>
    /// <param name="Heading">The heading in Markdown.</param>
    /// <param name="Name">The name in CSV.</param>
    /// <param name="Text">The rounded text in Markdown.</param>
    /// <param name="Value">The full-precision value in CSV; empty if there is none.</param>
    public sealed record Column<T>(string Heading, string Name, Func<T, string> Text, Func<T, string> Value)
    {
        /// <summary>True for measured times, which differ between runs.</summary>
        public bool IsTime { get; init; }
    }

    /// <summary>The table of optimizers, the same in every file.</summary>
    public static IReadOnlyList<Column<ComparisonRow>> Columns { get; } =
    [
        new("optimizer", "optimizer", row => row.Label, row => row.Label),
        new("outcome", "outcome", row => row.Outcome, row => row.Outcome),
        new("best lr", "best_lr", row => Text(row.Rate, "R") + (row.Edge is { } edge ? $" ({edge})" : ""), row => Value(row.Rate)),
        new("seeds", "seeds", row => $"{row.Losses.Count}", row => Value(row.Losses.Count)),
        new("validation loss", "val_loss", row => Text(row.Loss, "F4") + (row.StandardDeviation is { } deviation ? $" ± {Text(deviation, "F4")}" : ""), row => Value(row.Loss)),
        new("perplexity", "perplexity", row => Text(row.Perplexity, "F3"), row => Value(row.Perplexity)),
        new("state", "state_bytes", row => Bytes(row.StateBytes), row => Value(row.StateBytes)),
        new("of AdamW's", "state_fraction", row => Text(row.StateFraction * 100, "F1", " %"), row => Value(row.StateFraction)),
        new("step", "step_ms", row => Text(row.StepMilliseconds, "F1", " ms"), row => Value(row.StepMilliseconds)) { IsTime = true },
        new("optimizer's share", "optimizer_share", row => Text(row.UpdateShare * 100, "F1", " %"), row => Value(row.UpdateShare)) { IsTime = true },
        new("tokens/s", "tokens_per_second", row => Text(row.TokensPerSecond, "N0"), row => Value(row.TokensPerSecond)) { IsTime = true },
    ];

    /// <summary>The table of runs.</summary>
    public static IReadOnlyList<Column<(string Label, ComparedRun Run)>> RunColumns { get; } =
    [
        new("optimizer", "optimizer", item => item.Label, item => item.Label),
        new("lr", "lr", item => Text(item.Run.Rate, "R"), item => Value(item.Run.Rate)),
        new("seed", "seed", item => $"{item.Run.Seed}", item => $"{item.Run.Seed}"),
        new("outcome", "outcome", item => Outcome(item.Run), item => Outcome(item.Run)),
        new("steps", "steps", item => $"{item.Run.Step}", item => $"{item.Run.Step}"),
        new("validation loss", "val_loss", item => Text(item.Run.ValidationLoss, "F4"), item => double.IsFinite(item.Run.ValidationLoss) ? Value(item.Run.ValidationLoss) : ""),
    ];

    /// <summary>The rows of a comparison, the smallest loss first, then those without one.</summary>
    public static IReadOnlyList<ComparisonRow> Rows(OptimizerComparison comparison) =>
        [.. comparison.Candidates.Select(ComparisonRow.Of).OrderBy(row => row.Loss ?? double.PositiveInfinity)];

    /// <summary>All runs in the order of the candidates and their rates.</summary>
    public static IReadOnlyList<(string Label, ComparedRun Run)> Runs(OptimizerComparison comparison) =>
        [.. comparison.Candidates.SelectMany(candidate => candidate.Runs.Select(run => (candidate.Candidate.Label, run)))];

    /// <summary>Writes the three files.</summary>
    /// <exception cref="UserException">They cannot be written.</exception>
    public static void Write(OptimizerComparison comparison)
    {
        try
        {
            IReadOnlyList<ComparisonRow> rows = Rows(comparison);
            AtomicFolder.WriteText(Path.Combine(comparison.Folder, "results.csv"), Csv(Columns, rows));
            AtomicFolder.WriteText(Path.Combine(comparison.Folder, "results.md"), Markdown(Columns, rows));
            AtomicFolder.WriteText(Path.Combine(comparison.Folder, "runs.csv"), Csv(RunColumns, Runs(comparison)));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{comparison.Folder}: the results could not be written: {e.Message}; free some space and repeat the command", e);
        }
    }

    /// <summary>Comma-separated values (RFC 4180, but with line feeds).</summary>
    public static string Csv<T>(IReadOnlyList<Column<T>> columns, IEnumerable<T> rows) =>
        string.Concat(rows.Select(row => columns.Select(column => Quoted(column.Value(row)))).Prepend(columns.Select(column => column.Name)).Select(line => string.Join(',', line) + "\n"));

    /// <summary>A table of GitHub's Markdown.</summary>
    public static string Markdown<T>(IReadOnlyList<Column<T>> columns, IEnumerable<T> rows)
    {
        static string Line(IEnumerable<string> cells) => $"| {string.Join(" | ", cells)} |\n";
        return Line(columns.Select(column => column.Heading)) + Line(columns.Select((_, i) => i == 0 ? "---" : "---:"))
            + string.Concat(rows.Select(row => Line(columns.Select(column => column.Text(row).Replace("|", "\\|", StringComparison.Ordinal)))));
    }

    private static string Outcome(ComparedRun run) => run.Status.ToString().ToLowerInvariant();

    internal static string Text(double? number, string format, string unit = "") =>
        number is { } value && double.IsFinite(value) ? value.ToString(format, CultureInfo.InvariantCulture) + unit : "–";

    internal static string Value(double? number) => number?.ToString("R", CultureInfo.InvariantCulture) ?? "";

    internal static string Bytes(long? bytes) => bytes switch
    {
        null => "–",
        >= 1_000_000 => Text(bytes / 1e6, "F2", " MB"),
        >= 10_000 => Text(bytes / 1e3, "F1", " kB"),
        _ => $"{bytes} B",
    };

    private static string Quoted(string text) => text.AsSpan().ContainsAny(",\"\r\n") ? $"\"{text.Replace("\"", "\"\"", StringComparison.Ordinal)}\"" : text;
}
