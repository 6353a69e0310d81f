using System.CommandLine;
using System.Text.Json;
using ILGpuOptim.Models;
using ILGpuOptim.Training;
using Spectre.Console;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>info RUN</c>: shows the settings and progress of a run.</summary>
internal static class InfoCommand
{
    public static Command Create()
    {
        var run = new Argument<string>("run") { Description = "run folder" };
        Option<bool> json = CommonOptions.Json();
        var command = new Command("info", "Show a run's settings, progress and checkpoints.") { run, json };
        command.SetAction(result =>
        {
            string folder = result.GetRequiredValue(run), file = Path.Combine(folder, TrainingRun.SettingsFile);
            if (!File.Exists(file))
                throw new UserException($"{folder}: there is no run in this folder ({TrainingRun.SettingsFile} is missing)");
            TrainingSettings settings = TrainingSettings.LoadRun(file);
            RunRecord record = RunRecord.Load(file);
            (long Step, string Path)[] checkpoints = [.. TrainingRun.Checkpoints(folder)];
            IReadOnlyList<(long Step, double? Training, double? Validation)> losses = RunMetrics.Read(folder).Validations;
            if (result.GetValue(json))
            {
                CommonOptions.PrintJson(new
                {
                    Settings = JsonSerializer.Deserialize<JsonElement>(settings.ToJson()),
                    record.History,
                    Checkpoints = checkpoints.Select(item => item.Path),
                    Validations = losses.Select(item => new { item.Step, TrainLoss = item.Training, ValLoss = item.Validation }),
                });
                return;
            }

            AnsiConsole.MarkupLineInterpolated($"[bold]{Terminal.Line(folder)}[/]  preset {Terminal.Line(settings.Preset)}, {settings.Optimizer.Name}, {Model(settings, checkpoints.Length > 0 ? folder : null)}block {settings.Block}, sampling {settings.Sampling.ToString().ToLowerInvariant()}");
            AnsiConsole.MarkupLineInterpolated($"data: {(settings.Data.Count == 0 ? "embedded corpus" : Terminal.Line(string.Join(", ", settings.Data)))}");
            foreach (SettingsChange change in record.History)
                AnsiConsole.MarkupLineInterpolated($"changed at step {change.Step}: {Terminal.Line(string.Join("; ", change.Changes))}");
            var table = new Table().AddColumns("step", "train loss", "validation loss");
            foreach ((long step, double? training, double? validation) in losses.TakeLast(12))
                table.AddRow($"{step}", $"{training:F4}", $"{validation:F4}");
            if (losses.Count > 0)
                AnsiConsole.Write(table);
            foreach ((long step, string path) in checkpoints)
            {
                // A run in training may have just removed it.
                if (Checkpoint.BytesOf(path) is { } bytes)
                    AnsiConsole.MarkupLineInterpolated($"checkpoint at step {step}: {Terminal.Line(path)} ({bytes / 1e6:F1} MB)");
            }

            AnsiConsole.MarkupLineInterpolated($"{(checkpoints.Length > 0 ? checkpoints[^1].Step : 0)} of {settings.Steps} steps are saved");
        });
        return command;
    }

    /// <summary>A summary of the model of a run's newest checkpoint, or of the settings if there is none.</summary>
    private static string Model(TrainingSettings settings, string? run)
    {
        using ModelSource? newest = run is null ? null : ModelSource.Open(run);
        return (newest is null ? settings.Model : ModelConfig.Load(Path.Combine(ModelFiles.ConfigFolder(newest.Folder), ModelFiles.Config))) is { } config ? config.Summary + ", " : "";
    }
}
