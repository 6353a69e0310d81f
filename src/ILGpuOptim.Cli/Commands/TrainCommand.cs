using System.CommandLine;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Generation;
using ILGpuOptim.Training;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>train</c>: trains a model, or resumes a run.</summary>
internal static class TrainCommand
{
    public static Command Create()
    {
        var options = new TrainOptions();
        var command = new Command("train", "Train a model. Without arguments: a small GPT-2 on the embedded King James Bible, in about two minutes.");
        foreach (Option option in options.All)
            command.Options.Add(option);
        command.SetAction(result => Run(options, result));
        return command;
    }

    private static int Run(TrainOptions options, ParseResult result)
    {
        bool json = result.GetValue(options.Json);
        using var signals = new StopSignals();
        Device? device = null;
        try
        {
            using TrainingRun run = options.Open(result, settings => device = CommonOptions.Open(settings.Device, settings.Threads));
            TrainingProgress progress = TrainingProgress.For(run, json);
            progress.Begin();
            signals.Saves = true;
            bool finished = progress.Run(() => run.Train(signals.Token));
            signals.Saves = false;
            Metrics.Plot(run.Folder, $"{run.Settings.Preset}, {run.Settings.Optimizer.Name}");
            progress.End(finished, finished ? Sample(run) : null);
            return finished ? 0 : 130;
        }
        finally
        {
            device?.Dispose();
        }
    }

    private static string? Sample(TrainingRun run)
    {
        if (run.Data.Tokenizer is not { } tokenizer || !run.Trainer.Model.WritesText || run.Trainer.Model.HasEncoder)
            return null;

        // The run is saved, so its adapters can be merged as on loading.
        run.Trainer.Model.MergeAdapters();
        int[] prompt = run.Data.Training.Slice(0, 1).ToArray();
        var generator = new TextGenerator(run.Trainer.Model, run.Trainer.Device);
        int[] ids = [.. prompt, .. generator.Continue(prompt, 300, new SamplingOptions { Seed = run.Settings.Seed })];
        return tokenizer.Decode(ids);
    }
}
