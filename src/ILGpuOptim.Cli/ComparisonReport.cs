using System.Globalization;
using System.Net;
using System.Runtime.InteropServices;
using ILGpuOptim.Compute;
using ILGpuOptim.Files;
using ILGpuOptim.Lab;
using ILGpuOptim.Training;
using OxyPlot;

namespace ILGpuOptim.Cli;

/// <summary>A comparison as one HTML file that needs nothing else: tables, charts, settings.</summary>
internal static class ComparisonReport
{
    /// <summary>The page.</summary>
    public const string FileName = "report.html";

    /// <summary>The chart of losses by itself.</summary>
    public const string CurvesFile = "curves.svg";

    private const string Style = """
        :root { color-scheme: light dark; --ink: #1c1e21; --paper: #fff; --grid: #d9dce0; --soft: #5f6670; --band: #f4f6f8; --bad: #c03028; }
        @media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --paper: #15181b; --grid: #3a4047; --soft: #a0a8b0; --band: #1e2327; --bad: #f08070; } }
        * { box-sizing: border-box; }
        body { margin: 0 auto; padding: 1rem; max-width: 62rem; color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, sans-serif; }
        h1 { font-size: 1.5rem; margin: .5rem 0; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; break-after: avoid; }
        p { margin: .4rem 0; } .soft { color: var(--soft); font-size: .9rem; }
        figure { margin: 0; break-inside: avoid; } figcaption { color: var(--soft); font-size: .9rem; }
        svg { display: block; width: 100%; height: auto; }
        .wide { overflow-x: auto; }
        table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .82rem; width: 100%; }
        th, td { padding: .3rem .4rem; text-align: right; border-bottom: 1px solid var(--grid); vertical-align: bottom; }
        td { white-space: nowrap; } td:first-child { white-space: normal; overflow-wrap: anywhere; min-width: 9.5rem; max-width: 14rem; }
        th { color: var(--soft); font-weight: 600; line-height: 1.2; } th:first-child, td:first-child { text-align: left; }
        tr { break-inside: avoid; } tr.diverged td { color: var(--bad); } tr.best td { font-weight: 600; }
        dl { display: grid; grid-template-columns: max-content 1fr; gap: .2rem 1rem; margin: .4rem 0; font-size: .9rem; } dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
        pre { overflow-x: auto; padding: .8rem; background: var(--band); border-radius: .4rem; font-size: .8rem; }
        summary { cursor: pointer; }
        .summary td:nth-child(3) { white-space: normal; }
        @media (max-width: 62rem) { table { font-size: .7rem; } th, td { padding: .25rem .15rem; } td:first-child { min-width: 6rem; } }
        @page { size: A4; margin: 15mm; }
        @media print {
          :root { font-size: 12px; color-scheme: light; --ink: #000; --paper: #fff; --grid: #ccc; --soft: #444; --band: #fff; --bad: #a00; }
          body { max-width: none; padding: 0; font-size: 10pt; } table { font-size: 7.5pt; } th, td { padding: 2pt 3pt; } .wide, pre { overflow: visible; }
          pre { white-space: pre-wrap; font-size: 7pt; padding: 0; columns: 2; } h2 { margin-top: 12pt; } details::details-content { content-visibility: visible; height: auto; }
        }
        """;

    /// <summary>Writes the page and the chart of losses beside it.</summary>
    /// <param name="comparison">The comparison.</param>
    /// <param name="device">The device of its runs.</param>
    /// <param name="command">The command that made it; null where there is none.</param>
    /// <exception cref="UserException">They cannot be written.</exception>
    public static void Write(OptimizerComparison comparison, Device device, string? command = null)
    {
        try
        {
            AtomicFolder.WriteText(Path.Combine(comparison.Folder, FileName), Page(comparison, device, command));
            AtomicFolder.WriteText(Path.Combine(comparison.Folder, CurvesFile), Charts.Document(ComparisonCharts.BySteps(comparison)));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{comparison.Folder}: the report could not be written: {e.Message}; free some space and repeat the command", e);
        }
    }

    private static string Page(OptimizerComparison comparison, Device device, string? command)
    {
        IReadOnlyList<ComparisonRow> rows = ComparisonTables.Rows(comparison);
        TrainingSettings training = comparison.Settings.Training;
        ComparedRun.RunFacts? facts = comparison.Candidates.SelectMany(candidate => candidate.Runs).Select(run => run.Facts).FirstOrDefault(item => item is not null);
        string data = training.Data.Count == 0 ? "the embedded King James text" : string.Join(", ", training.Data.Select(path => Path.GetFileName(path)));
        bool hasGrid = comparison.Candidates.Any(candidate => candidate.Grid.Count > 1);
        return $"""
            <!DOCTYPE html>
            <html lang="en">
            <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <title>{Text($"Optimizers compared: {string.Join(", ", comparison.Candidates.Select(candidate => candidate.Candidate.Label))}")}</title>
            <style>
            {Style}
            </style>
            </head>
            <body>
            <h1>Optimizers compared</h1>
            <p>{Text(facts?.Model ?? "A model")}, {facts?.Parameters.ToString("N0", CultureInfo.InvariantCulture)} trained parameters, on {Text(data)}:
            {training.Steps} steps of {training.Batch * training.Accumulate} × {training.Block} tokens, the same initial parameters and batches for each optimizer{Seeds(comparison.Settings)}.</p>
            <div class="wide summary">{Table(ComparisonTables.Columns, rows, row => row.Outcome == "diverged" ? "diverged" : row == rows[0] ? "best" : "")}</div>
            <p class="soft">Validation loss in nats per token, over the same {training.EvalBatches} {(training.EvalBatches == 1 ? "batch" : "batches")} for all; perplexity is e to its mean. State: bytes of the optimizer's state, and their fraction of AdamW's 8 bytes per parameter.
            Step: median time of a step, with the optimizer's share of it.{(hasGrid ? " A best rate marked lowest or highest is at an end of its grid; a wider grid may give a better one." : "")} {Diverged(comparison)}</p>
            {Chart("Loss by step", "steps", ComparisonCharts.BySteps(comparison), "Best learning rate of each, first seed: validation with marks; training, smoothed, thin.")}
            {Chart("Loss by time", "seconds", ComparisonCharts.BySeconds(comparison), "Time of training steps only, including any slowdown by other programs.")}
            {Chart("Loss by size of the state", "state", ComparisonCharts.ByState(comparison), $"Final validation loss, mean of the seeds, over the optimizer's state.{Spread(comparison.Settings)}")}
            {(hasGrid ? Chart("Sensitivity to the learning rate", "rates", ComparisonCharts.ByRate(comparison), $"Lines join the rates of an optimizer that ran to the end, with the first seed. Hollow marks: pruned or unfinished, at the loss of the last step. Crosses at the top: diverged.{Spread(comparison.Settings)}") : "")}
            <h2>Every run</h2>
            <div class="wide">{Table(ComparisonTables.RunColumns, ComparisonTables.Runs(comparison), item => item.Run.Status == RunStatus.Diverged ? "diverged" : "")}</div>
            <p class="soft">{(comparison.Settings.Prunes ? "Pruning: after a quarter and after half of the steps, only the better half of an optimizer's learning rates continues, and those within 2 % of the best." : "Every learning rate ran to the end.")}</p>
            <h2>Settings and machine</h2>
            <dl>{Fact("command", command)}{Fact("version", $"ilgpuoptim {Provenance.Version}")}{Fact("date", DateTimeOffset.Now.ToString("yyyy-MM-dd HH:mm zzz", CultureInfo.InvariantCulture))}{Fact("processor", Provenance.Processor)}{Fact("device", $"{device.Name}: {string.Join("; ", Devices(comparison))}")}{Fact("system", $"{RuntimeInformation.OSDescription}, {RuntimeInformation.FrameworkDescription}")}</dl>
            <details><summary>All settings that are set</summary><pre>{Text(Provenance.WithoutNulls(comparison.Settings.ToJson()))}</pre></details>
            </body>
            </html>

            """;
    }

    private static string Seeds(ComparisonSettings settings) =>
        settings.Seeds == 1 ? $", seed {settings.Training.Seed}" : $"; the learning rate is chosen with seed {settings.Training.Seed} and repeated with the {settings.Seeds - 1} after it";

    private static IEnumerable<string> Devices(OptimizerComparison comparison) =>
        comparison.Candidates.SelectMany(candidate => candidate.Runs).Select(run => run.Facts?.Device).OfType<string>().Distinct();

    private static string Diverged(OptimizerComparison comparison) => string.Join(" ", comparison.Candidates
        .SelectMany(candidate => candidate.Runs.Where(run => run.Divergence is not null)
        .Select(run => Text(string.Create(CultureInfo.InvariantCulture, $"Diverged: {candidate.Candidate.Label} at lr {run.Rate:R}, seed {run.Seed}: {run.Divergence}.")))));

    private static string Spread(ComparisonSettings settings) => settings.Seeds > 1 ? $" Dots and bars at a best rate: each of the {settings.Seeds} seeds, and their span." : "";

    private static string Fact(string name, string? text) => text is null ? "" : $"<dt>{name}</dt><dd>{Text(text)}</dd>";

    private static string Chart(string heading, string id, PlotModel plot, string caption) => $"""
        <h2>{heading}</h2>
        <figure>{Charts.Inline(plot, id, heading)}<figcaption>{caption}</figcaption></figure>
        """;

    private static string Table<T>(IReadOnlyList<ComparisonTables.Column<T>> columns, IReadOnlyList<T> rows, Func<T, string> kind) => $"""
        <table>
        <thead><tr>{string.Concat(columns.Select(column => $"<th>{Text(column.Heading)}</th>"))}</tr></thead>
        <tbody>
        {string.Join("\n", rows.Select(row => $"<tr class=\"{kind(row)}\">{string.Concat(columns.Select(column => $"<td>{Text(column.Text(row))}</td>"))}</tr>"))}
        </tbody>
        </table>
        """;

    private static string Text(string text) => WebUtility.HtmlEncode(Terminal.Escape(text));
}
