using System.Diagnostics;
using ILGpuOptim.Cli.Commands;
using ILGpuOptim.Lab;
using ILGpuOptim.Training;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace ILGpuOptim.Cli;

/// <summary>Shows the progress of a comparison: a live table on a terminal, plain lines elsewhere, JSON lines for machines.</summary>
internal abstract class ComparisonProgress
{
    protected ComparisonProgress(OptimizerComparison comparison)
    {
        Comparison = comparison;
        comparison.Begun = (candidate, run, training, target) =>
        {
            Begun(candidate, run, training, target);
            foreach (string note in training.Notes.Select(note => $"{candidate.Candidate.Label}: {note}").Where(notes.Add))
                Noted(note);
            training.Stepped = result =>
            {
                if (result.Spike is null)
                    Stepped(candidate, run, result);
            };
        };
        comparison.Advanced = Advanced;
        comparison.Pruned = Pruned;
    }

    private readonly HashSet<string> notes = [];

    protected OptimizerComparison Comparison { get; }

    /// <summary>The way of showing that suits the output.</summary>
    public static ComparisonProgress For(OptimizerComparison comparison, bool json) =>
        json ? new JsonProgress(comparison) : Console.IsOutputRedirected || !AnsiConsole.Profile.Capabilities.Interactive ? new PlainProgress(comparison) : new LiveProgress(comparison);

    /// <summary>Runs a comparison while showing it, then lets the results be written and shows them.</summary>
    public virtual bool Run(Func<bool> compare, Action write)
    {
        bool finished = compare();
        write();
        End(finished);
        return finished;
    }

    protected abstract void Begun(OptimizerComparison.ComparedCandidate candidate, ComparedRun run, TrainingRun training, long target);

    /// <summary>Prints a note on a setting that was reduced, once for each optimizer. A live table has no room for it before the end.</summary>
    protected virtual void Noted(string note)
    {
    }

    protected abstract void Stepped(OptimizerComparison.ComparedCandidate candidate, ComparedRun run, StepResult result);

    protected abstract void Advanced(OptimizerComparison.ComparedCandidate candidate, ComparedRun run);

    protected abstract void Pruned(OptimizerComparison.ComparedCandidate candidate, ComparedRun run);

    protected virtual void End(bool finished)
    {
        var table = new Table().Border(TableBorder.Rounded);
        foreach (ComparisonTables.Column<ComparisonRow> column in ComparisonTables.Columns)
            table.AddColumn(new TableColumn(column.Heading) { Alignment = column.Name == "optimizer" ? Justify.Left : Justify.Right });
        foreach (ComparisonRow row in ComparisonTables.Rows(Comparison))
            table.AddRow(ComparisonTables.Columns.Select(column => (IRenderable)new Text(column.Text(row))));
        AnsiConsole.Write(table);
        Tell(finished);
    }

    protected void Tell(bool finished) => Console.WriteLine(string.Concat(notes.Select(note => $"note       {note}{Environment.NewLine}")) + (finished
        ? $"done       {Path.Combine(Comparison.Folder, ComparisonReport.FileName)}{Environment.NewLine}curves     {Path.Combine(Comparison.Folder, ComparisonReport.CurvesFile)}"
        : "stopped    the state is saved; the same command continues it"));

    private sealed class PlainProgress(OptimizerComparison comparison) : ComparisonProgress(comparison)
    {
        private readonly Stopwatch clock = Stopwatch.StartNew();
        private double nextLine;

        protected override void Begun(OptimizerComparison.ComparedCandidate candidate, ComparedRun run, TrainingRun training, long target) =>
            Console.WriteLine($"{Name(candidate, run)}  {(training.Trainer.StepNumber > 0 ? $"resumes at step {training.Trainer.StepNumber}" : "starts")}, until step {target} of {run.Steps}; {training.Trainer.Optimizer.StateBytes:N0} bytes of state");

        protected override void Stepped(OptimizerComparison.ComparedCandidate candidate, ComparedRun run, StepResult result)
        {
            // At most a line every ten seconds.
            if (clock.Elapsed.TotalSeconds < nextLine)
                return;
            nextLine = clock.Elapsed.TotalSeconds + 10;
            Console.WriteLine($"{Name(candidate, run)}  step {result.Step,6}/{run.Steps}  loss {result.Loss:F4}  {result.Duration.TotalMilliseconds:F1} ms");
        }

        protected override void Advanced(OptimizerComparison.ComparedCandidate candidate, ComparedRun run) => Console.WriteLine(run.Divergence is { } why
            ? $"{Name(candidate, run)}  diverged: {why}"
            : $"{Name(candidate, run)}  step {run.Step,6}/{run.Steps}  validation loss {run.ValidationLoss:F4}");

        protected override void Pruned(OptimizerComparison.ComparedCandidate candidate, ComparedRun run) =>
            Console.WriteLine($"{Name(candidate, run)}  pruned at step {run.Step}");

        /// <summary>The table as Markdown: files have no width.</summary>
        protected override void End(bool finished)
        {
            Console.WriteLine();
            Console.WriteLine(ComparisonTables.Markdown(ComparisonTables.Columns, ComparisonTables.Rows(Comparison)));
            Tell(finished);
        }

        private static string Name(OptimizerComparison.ComparedCandidate candidate, ComparedRun run) => $"{candidate.Candidate.Label,-12} lr {run.Rate,-7:R} seed {run.Seed}";
    }

    private sealed class JsonProgress(OptimizerComparison comparison) : ComparisonProgress(comparison)
    {
        protected override void Begun(OptimizerComparison.ComparedCandidate candidate, ComparedRun run, TrainingRun training, long target) => CommonOptions.PrintJson(new
        {
            Event = "begin",
            Optimizer = candidate.Candidate.Label,
            Lr = run.Rate,
            run.Seed,
            Step = training.Trainer.StepNumber,
            Target = target,
            training.Trainer.Optimizer.StateBytes,
        });

        protected override void Noted(string note) => CommonOptions.PrintJson(new { Event = "note", Note = note });

        protected override void Stepped(OptimizerComparison.ComparedCandidate candidate, ComparedRun run, StepResult result) =>
            CommonOptions.PrintJson(new { Event = "step", Optimizer = candidate.Candidate.Label, Lr = run.Rate, run.Seed, result.Step, result.Loss, Ms = result.Duration.TotalMilliseconds });

        protected override void Advanced(OptimizerComparison.ComparedCandidate candidate, ComparedRun run) => Print("reached", candidate, run);

        protected override void Pruned(OptimizerComparison.ComparedCandidate candidate, ComparedRun run) => Print("pruned", candidate, run);

        protected override void End(bool finished) =>
            CommonOptions.PrintJson(new { Event = "end", Finished = finished, Comparison.Folder, Rows = ComparisonTables.Rows(Comparison) });

        private static void Print(string what, OptimizerComparison.ComparedCandidate candidate, ComparedRun run) => CommonOptions.PrintJson(new
        {
            Event = run.Divergence is null ? what : "diverged",
            Optimizer = candidate.Candidate.Label,
            Lr = run.Rate,
            run.Seed,
            run.Step,
            ValLoss = double.IsFinite(run.ValidationLoss) ? run.ValidationLoss : (double?)null,
            Reason = run.Divergence,
        });
    }

    private sealed class LiveProgress(OptimizerComparison comparison) : ComparisonProgress(comparison)
    {
        private readonly Stopwatch clock = Stopwatch.StartNew();
        private LiveDisplayContext? display;
        private OptimizerComparison.ComparedCandidate? now;
        private string activity = "";
        private double nextUpdate;

        public override bool Run(Func<bool> compare, Action write)
        {
            bool finished = AnsiConsole.Live(Table()).Start(context =>
            {
                display = context;
                bool whole = compare();
                now = null;
                context.UpdateTarget(Table());
                return whole;
            });
            write();
            End(finished);
            return finished;
        }

        protected override void Begun(OptimizerComparison.ComparedCandidate candidate, ComparedRun run, TrainingRun training, long target) => now = candidate;

        protected override void Stepped(OptimizerComparison.ComparedCandidate candidate, ComparedRun run, StepResult result)
        {
            if (clock.Elapsed.TotalSeconds < nextUpdate)
                return;
            nextUpdate = clock.Elapsed.TotalSeconds + 0.25;
            activity = $"lr {run.Rate:R} seed {run.Seed}: step {result.Step}/{run.Steps}, loss {result.Loss:F3}, {result.Duration.TotalMilliseconds:F0} ms";
            display!.UpdateTarget(Table());
        }

        protected override void Advanced(OptimizerComparison.ComparedCandidate candidate, ComparedRun run) => display!.UpdateTarget(Table());

        protected override void Pruned(OptimizerComparison.ComparedCandidate candidate, ComparedRun run) => display!.UpdateTarget(Table());

        private Table Table()
        {
            var table = new Table().Border(TableBorder.Rounded).AddColumns("optimizer", "lr: validation loss", "state", "now");
            foreach (OptimizerComparison.ComparedCandidate candidate in Comparison.Candidates)
            {
                ComparisonRow row = ComparisonRow.Of(candidate);
                table.AddRow(
                    new Text(candidate.Candidate.Label),
                    new Text(string.Join("\n", candidate.Runs.Where(run => run.Step > 0 || run.Divergence is not null).Select(Describe))),
                    new Text(row.StateBytes is { } bytes ? $"{bytes / 1e6:F2} MB" : ""),
                    new Text(candidate == now ? activity : row.Outcome == "unfinished" ? "" : row.Outcome));
            }

            return table;
        }

        private static string Describe(ComparedRun run) => run.Status switch
        {
            RunStatus.Diverged => $"{run.Rate:R}: diverged",
            RunStatus.Pruned => $"{run.Rate:R}: {run.ValidationLoss:F3}, pruned at {run.Step}",
            RunStatus.Finished => $"{run.Rate:R}: {run.ValidationLoss:F4} (seed {run.Seed})",
            _ => $"{run.Rate:R}: {run.ValidationLoss:F3} at {run.Step}",
        };
    }
}
