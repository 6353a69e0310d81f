using System.CommandLine;
using ILGpuOptim.Cli.Watching;
using ILGpuOptim.Compute;
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
        var watch = new WatchCommand();
        foreach (Option flag in watch.Flags)
            command.Options.Add(flag);
        var trace = new TraceFlags();
        foreach (Option flag in trace.All)
            command.Options.Add(flag);
        command.SetAction(result => Run(options, watch, trace.Read(result), result));
        return command;
    }

    private static int Run(TrainOptions options, WatchCommand watch, StepTrace? trace, ParseResult result)
    {
        bool json = result.GetValue(options.Json);
        using var signals = new StopSignals();
        Device? device = null;
        try
        {
            using WatchServer? server = watch.Start(result);
            using TrainingRun run = options.Open(result, settings => device = Open(settings, trace));
            trace?.Follow(run);
            server?.Folders = [run.Folder];
            TrainingProgress progress = TrainingProgress.For(run, json);
            progress.Begin();
            signals.Saves = true;
            bool finished = progress.Run(() => run.Train(signals.Token));
            signals.Saves = false;
            Metrics.Plot(run);
            if (finished)
            {
                // The run is saved, so its adapters can be merged as on loading.
                if (!run.Trainer.Model.KeepsAdapters)
                    run.MergeAdapters();
                run.Sample();
            }

            progress.End(finished);
            if (trace?.Finish() is { } traced)
                Console.Error.WriteLine($"trace      {traced}");
            return finished ? 0 : 130;
        }
        finally
        {
            device?.Dispose();
        }
    }

    private static Device Open(TrainingSettings settings, StepTrace? trace)
    {
        return trace is null ? Open() : trace.Wrap(settings, Open);

        Device Open() => CommonOptions.Open(settings.Device, settings.Threads);
    }
}
