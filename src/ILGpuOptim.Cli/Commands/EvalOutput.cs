using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using ILGpuOptim.Lab;
using ILGpuOptim.Tasks;
using ILGpuOptim.Training;
using Spectre.Console;

namespace ILGpuOptim.Cli.Commands;

/// <summary>The results of a model.</summary>
/// <param name="Source">The run, checkpoint or folder.</param>
/// <param name="Loss">The loss; null if it was not measured.</param>
/// <param name="Tasks">The results of the tasks, in their order; empty after an error.</param>
internal sealed record EvaluatedSource(string Source, EvaluationResult? Loss, IReadOnlyList<TaskResult> Tasks)
{
    /// <summary>The reason why it was not measured.</summary>
    public string? Error { get; init; }
}

/// <summary>Prints results: those of one model as lines and a row for each task, those of several as one table.</summary>
internal sealed class EvalOutput(IReadOnlyList<EvaluationTask> tasks, bool json, bool hasSeveral)
{
    private readonly List<EvaluatedSource> sources = [];

    /// <summary>Prints the progress of a task on standard error, at most every ten seconds.</summary>
    public static Action<int, int> Progress(EvaluationTask task)
    {
        var clock = Stopwatch.StartNew();
        return (done, all) =>
        {
            if (clock.Elapsed.TotalSeconds < 10)
                return;
            clock.Restart();
            Console.Error.WriteLine($"{task.Name}: {done:N0} of {all:N0} {(task.Kind == TaskKind.Generation ? "answers" : "continuations")}");
        };
    }

    /// <summary>The predictions of all models as JSON lines.</summary>
    public static string Predictions(IEnumerable<EvaluatedSource> sources) => string.Concat(sources.SelectMany(source => source.Tasks.SelectMany(result => result.Predictions.Select(item =>
        JsonSerializer.Serialize(new
        {
            source.Source,
            Task = result.Task.Name,
            Record = item.Place,
            LogProbabilities = item.LogProbabilities.Select(Finite),
            item.Lengths,
            item.Prediction,
            item.NormalizedPrediction,
            item.Text,
            Answer = result.Task.Kind == TaskKind.Choice ? item.Answer : (int?)null,
            Correct = item.IsCorrect,
        }, CommonOptions.JsonLines) + "\n"))));

    /// <summary>Takes the results of a model.</summary>
    public void Add(EvaluatedSource source)
    {
        sources.Add(source);
        if (json)
            PrintJson(source);
    }

    /// <summary>Prints what needs all results.</summary>
    public void Finish()
    {
        if (json)
            return;
        if (hasSeveral)
        {
            Print(SourceColumns(), sources);
            return;
        }

        if (sources[0].Loss is { } loss)
            PrintLoss(loss);
        if (sources[0].Tasks.Count > 0)
            Print(TaskColumns, sources[0].Tasks);
    }

    private static void PrintLoss(EvaluationResult loss)
    {
        Console.WriteLine($"tokens         {loss.Tokens:N0}");
        Console.WriteLine($"loss           {loss.Loss:F4} nats per token");
        Console.WriteLine($"perplexity     {loss.Perplexity:F4}");
        if (loss.BitsPerByte is { } bits)
            Console.WriteLine($"bits per byte  {bits:F4}");
        if (loss.Accuracy is { } accuracy)
            Console.WriteLine($"accuracy       {accuracy:P2} of the masked tokens");
    }

    private static void PrintJson(EvaluatedSource source)
    {
        if (source.Error is { } error)
        {
            CommonOptions.PrintJson(new { source.Source, Error = error });
            return;
        }

        CommonOptions.PrintJson(new
        {
            source.Source,
            source.Loss?.Tokens,
            Loss = Finite(source.Loss?.Loss),
            Perplexity = Finite(source.Loss?.Perplexity),
            BitsPerByte = Finite(source.Loss?.BitsPerByte),
            source.Loss?.Accuracy,
            Tasks = source.Tasks.Select(item => new
            {
                Task = item.Task.Name,
                item.Task.Format,
                Questions = item.Predictions.Count,
                Metric = MetricOf(item.Task),
                Score = item.Accuracy.Mean,
                Stderr = item.Accuracy.StandardError,
                AccNorm = item.NormalizedAccuracy?.Mean,
                AccNormStderr = item.NormalizedAccuracy?.StandardError,
                Norm = item.Norm?.ToString().ToLowerInvariant(),
                Perplexity = Finite(item.Perplexity),
                item.Cut,
            }),
        });
    }

    private static string MetricOf(EvaluationTask task) => task.Kind == TaskKind.Generation ? "exact_match" : "acc";

    private static readonly ComparisonTables.Column<TaskResult>[] TaskColumns =
    [
        Column<TaskResult>("task", item => item.Task.Name),
        Column<TaskResult>("format", item => item.Task.Format),
        Column<TaskResult>("questions", item => Number(item.Predictions.Count, "N0")),
        Column<TaskResult>("metric", item => MetricOf(item.Task)),
        Column<TaskResult>("score ± standard error", item => Text(item.Accuracy)),
        Column<TaskResult>("acc_norm", item => Text(item.NormalizedAccuracy)),
        Column<TaskResult>("length in", item => item.Norm?.ToString().ToLowerInvariant() ?? "–"),
        Column<TaskResult>("perplexity", item => Number(item.Perplexity, "F4")),
    ];

    /// <summary>The columns of several models; those without any value are left out.</summary>
    private IReadOnlyList<ComparisonTables.Column<EvaluatedSource>> SourceColumns()
    {
        List<ComparisonTables.Column<EvaluatedSource>> columns = [Column<EvaluatedSource>("source", source => source.Source)];
        void Add(string heading, Func<EvaluatedSource, string> text)
        {
            if (sources.Any(source => text(source) != "–"))
                columns.Add(Column(heading, text));
        }

        Add("loss", source => Number(source.Loss?.Loss, "F4"));
        Add("perplexity", source => Number(source.Loss?.Perplexity, "F4"));
        Add("bits/byte", source => Number(source.Loss?.BitsPerByte, "F4"));
        Add("accuracy of masked tokens", source => Number(source.Loss?.Accuracy, "F4"));
        for (int i = 0; i < tasks.Count; i++)
        {
            int task = i;
            Add($"{tasks[i].Name} {MetricOf(tasks[i])}", source => Text(source.Tasks.ElementAtOrDefault(task)?.Accuracy));
            Add($"{tasks[i].Name} acc_norm", source => Text(source.Tasks.ElementAtOrDefault(task)?.NormalizedAccuracy));
            Add($"{tasks[i].Name} perplexity", source => Number(source.Tasks.ElementAtOrDefault(task)?.Perplexity, "F4"));
        }

        Add("error", source => source.Error is null ? "–" : "not measured");
        return columns;
    }

    private static void Print<T>(IReadOnlyList<ComparisonTables.Column<T>> columns, IReadOnlyList<T> rows)
    {
        if (Console.IsOutputRedirected || !AnsiConsole.Profile.Capabilities.Interactive)
        {
            Console.Write(ComparisonTables.Markdown(columns, rows));
            return;
        }

        var table = new Table().Border(TableBorder.Rounded);
        foreach (ComparisonTables.Column<T> column in columns)
            table.AddColumn(new TableColumn(new Text(column.Heading)) { Alignment = column == columns[0] ? Justify.Left : Justify.Right });
        foreach (T row in rows)
            table.AddRow(columns.Select(column => new Text(column.Text(row))));
        AnsiConsole.Write(table);
    }

    private static ComparisonTables.Column<T> Column<T>(string heading, Func<T, string> text) => new(heading, heading, text, text);

    private static string Text(Score? score) => score is null ? "–" : Number(score.Mean, "F4") + (score.StandardError is { } error ? $" ± {Number(error, "F4")}" : "");

    private static string Number(double? value, string format) => value?.ToString(format, CultureInfo.InvariantCulture) ?? "–";

    private static double? Finite(double? value) => value is { } number && double.IsFinite(number) ? number : null;

    private static double? Finite(double value) => Finite((double?)value);
}
