using System.Diagnostics;
using ILGpuOptim.Cli.Commands;
using ILGpuOptim.Data;
using ILGpuOptim.Training;
using Spectre.Console;

namespace ILGpuOptim.Cli;

/// <summary>Shows the progress of training: a progress bar on a terminal, otherwise plain lines, or JSON lines.</summary>
internal abstract class TrainingProgress(TrainingRun run)
{
    private readonly Stopwatch clock = new();
    private long firstStep;
    private double nextPlot;

    protected TrainingRun Training { get; } = run;

    /// <summary>Chooses the display for the output.</summary>
    public static TrainingProgress For(TrainingRun run, bool json) =>
        json ? new JsonProgress(run) : Console.IsOutputRedirected || !AnsiConsole.Profile.Capabilities.Interactive ? new PlainProgress(run) : new LiveProgress(run);

    /// <summary>Prints a summary of the run.</summary>
    public virtual void Begin()
    {
        TrainingSettings s = Training.Settings;
        Line($"run        {Training.Folder}");
        Line($"device     {Training.Trainer.Device.Name}: {Training.Trainer.Device.Description}");
        Line($"data       {Training.Data.Source}: {Training.Data.Training.Length:N0} tokens to train on, {Training.Data.Validation.Length:N0} to validate with, vocabulary of {Training.Data.VocabularySize:N0}");
        if (s.Documents)
            Line($"documents  {Training.Data.TrainingDocuments!.Count:N0} to train on, {Training.Data.ValidationDocuments!.Count:N0} to validate with, {(s.Pad ? $"each padded to {s.Block} tokens or cut" : "packed")}");
        Line($"steps      {s.Steps:N0} of {Training.Trainer.TokensPerStep:N0} tokens: {Training.Trainer.EpochsAfter(s.Steps):F2} epochs{(s.Sampling == Sampling.Random ? ", at random positions" : "")}");
        Line($"model      {Training.Trainer.Model.Config.Summary}, block {s.Block}: {Training.Trainer.Model.ParameterCount:N0} parameters");
        Line($"optimizer  {s.Optimizer.Name}, lr {s.Optimizer.Rate}, {Training.Trainer.Optimizer.StateBytes / 1e6:F2} MB of state");
        foreach (var group in Training.Trainer.Groups)
            Line($"           {group.Parameters.Count} tensors, {group.Parameters.Sum(p => p.Length):N0} parameters: {group.Description}");
        if (s.Ema > 0)
            Line($"average    of the weights, decay {s.Ema}: validations and samples use it");
        foreach (string note in Training.Notes)
            Line($"note       {note}");
        if (Training.Trainer.StepNumber > 0)
            Line($"resumed    after step {Training.Trainer.StepNumber}");
    }

    /// <summary>Runs training with progress output.</summary>
    public virtual bool Run(Func<bool> train)
    {
        firstStep = Training.Trainer.StepNumber;
        Training.Stepped += result => (result.Spike is null ? (Action<StepResult>)Stepped : Skipped)(result);
        Training.Validated = (step, training, validation) =>
        {
            Validated(step, training, validation);
            Plot();
        };
        Training.Sampled = Sampled;
        clock.Restart();
        return train();
    }

    /// <summary>Draws the losses so far, at most every ten seconds.</summary>
    private void Plot()
    {
        if (clock.Elapsed.TotalSeconds < nextPlot)
            return;
        Metrics.Plot(Training);
        nextPlot = clock.Elapsed.TotalSeconds + 10;
    }

    /// <summary>Prints the result.</summary>
    public virtual void End(bool finished)
    {
        Line($"memory     {Training.Plan.Total / 1e6:F1} MB predicted, {Training.Trainer.Device.Pool.PeakBytes / 1e6:F1} MB peak on {Training.Trainer.Device.Name}");
        double? best = RunMetrics.Read(Training.Folder).Validations.Min(item => item.Validation);
        Line(finished
            ? $"done       {Training.Trainer.StepNumber} steps in {clock.Elapsed.TotalSeconds:F1} s{(best is null ? "" : $", best validation loss {best:F4}")}; loss.svg and checkpoints are in {Training.Folder}"
            : $"stopped    after step {Training.Trainer.StepNumber}; the state is saved, continue with --resume {Training.Folder}");
    }

    protected abstract void Stepped(StepResult result);

    protected virtual void Skipped(StepResult result) => Line($"step {result.Step,6}  skipped: {result.Spike} ({result.Spike!.Skipped} skipped so far)");

    protected abstract void Validated(long step, double training, double validation);

    protected virtual void Sampled(long step, string text) => Line($"{Environment.NewLine}{text}{Environment.NewLine}");

    protected virtual void Line(string text) => Console.WriteLine(text);

    protected double TokensPerSecond(long step) => (step - firstStep) * Training.Trainer.TokensPerStep / Math.Max(1e-9, clock.Elapsed.TotalSeconds);

    protected TimeSpan Left(long step) => step > firstStep ? clock.Elapsed / (step - firstStep) * (Training.Settings.Steps - step) : TimeSpan.Zero;

    /// <summary>The accuracy and the margin of pairs of answers; empty for other data.</summary>
    private static string Preferences(PreferenceMetrics? metrics) => metrics is null ? "" : $"  accuracy {metrics.Accuracy:F3}  margin {metrics.Margin:F3}";

    private bool Validates => Training.Data.Validation.Length > 0;

    protected static double MemoryMegabytes => Environment.WorkingSet / 1e6;

    private sealed class PlainProgress(TrainingRun run) : TrainingProgress(run)
    {
        private double nextLine;

        protected override void Stepped(StepResult result)
        {
            // At most one line per second.
            if (clock.Elapsed.TotalSeconds < nextLine && result.Step < Training.Settings.Steps)
                return;
            nextLine = clock.Elapsed.TotalSeconds + 1;
            Line($"step {result.Step,6}/{Training.Settings.Steps}  epoch {result.Epoch:F2}  loss {result.Loss:F4}{Preferences(result.Preferences)}  lr {result.LearningRate:E2}  {TokensPerSecond(result.Step),8:N0} tokens/s  {MemoryMegabytes:F0} MB  ETA {Left(result.Step):m\\:ss}");
        }

        protected override void Validated(long step, double training, double validation) =>
            Line($"step {step,6}  train loss {training:F4}{(Validates ? $"  validation loss {validation:F4}{Preferences(Training.Preferences)}" : "")}");
    }

    private sealed class JsonProgress(TrainingRun run) : TrainingProgress(run)
    {
        private string? lastSample;

        public override void Begin() => CommonOptions.PrintJson(new
        {
            Event = "begin",
            Training.Folder,
            Training.Trainer.Model.ParameterCount,
            Training.Trainer.Optimizer.StateBytes,
            Training.Trainer.StepNumber,
            Training.Notes,
        });

        public override void End(bool finished) =>
            CommonOptions.PrintJson(new { Event = "end", Finished = finished, Step = Training.Trainer.StepNumber, Sample = lastSample, Seconds = clock.Elapsed.TotalSeconds });

        protected override void Stepped(StepResult result) =>
            CommonOptions.PrintJson(new { Event = "step", result.Step, result.Epoch, result.Loss, Lr = result.LearningRate, GradNorm = result.GradientNorm, RewardMargin = result.Preferences?.Margin, RewardAccuracy = result.Preferences?.Accuracy });

        protected override void Skipped(StepResult result) =>
            CommonOptions.PrintJson(new { Event = "skipped", result.Step, Reason = $"{result.Spike}", result.Spike!.Skipped });

        protected override void Sampled(long step, string text)
        {
            lastSample = text;
            CommonOptions.PrintJson(new { Event = "sample", Step = step, Text = text });
        }

        protected override void Validated(long step, double training, double validation) => CommonOptions.PrintJson(new
        {
            Event = "validation",
            Step = step,
            TrainLoss = double.IsFinite(training) ? training : (double?)null,
            ValLoss = double.IsFinite(validation) ? validation : (double?)null,
            RewardMargin = Training.Preferences?.Margin,
            RewardAccuracy = Training.Preferences?.Accuracy,
        });
    }

    private sealed class LiveProgress(TrainingRun run) : TrainingProgress(run)
    {
        private ProgressTask? task;
        private double nextUpdate;

        public override bool Run(Func<bool> train) => AnsiConsole.Progress()
            .Columns(new ProgressBarColumn { Width = 30 }, new PercentageColumn(), new TaskDescriptionColumn { Alignment = Justify.Left })
            .Start(context =>
            {
                task = context.AddTask("starting", maxValue: Math.Max(1, Training.Settings.Steps));
                task.Value = Training.Trainer.StepNumber;
                return base.Run(train);
            });

        protected override void Stepped(StepResult result)
        {
            task!.Value = result.Step;
            if (clock.Elapsed.TotalSeconds < nextUpdate)
                return;
            nextUpdate = clock.Elapsed.TotalSeconds + 0.2;
            task.Description = $"step {result.Step} epoch {result.Epoch:F2} loss [bold]{result.Loss:F4}[/] lr {result.LearningRate:E2} {TokensPerSecond(result.Step):N0} tok/s {MemoryMegabytes:F0} MB ETA {Left(result.Step):m\\:ss}";
        }

        protected override void Validated(long step, double training, double validation) =>
            AnsiConsole.MarkupLine($"step {step,6}  train loss {training:F4}{(Validates ? $"  validation loss [bold]{validation:F4}[/]{Preferences(Training.Preferences)}" : "")}");

        protected override void Line(string text) => AnsiConsole.WriteLine(text);
    }
}
