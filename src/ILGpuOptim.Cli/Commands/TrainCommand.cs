using System.CommandLine;
using ILGpuOptim.Cli.Watching;
using ILGpuOptim.Compute;
using ILGpuOptim.Distributed;
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
        var ranked = new RankedTraining();
        foreach (Option flag in ranked.Flags)
            command.Options.Add(flag);
        command.SetAction(result =>
        {
            using MpiCommunicator? communicator = ranked.Join(result);
            return communicator is null ? Run(options, watch, trace.Read(result), result, null)
                : RankedTraining.Run(communicator, () => communicator.Rank == 0 ? Run(options, watch, trace.Read(result), result, communicator) : Run(options, result, communicator));
        });
        return command;
    }

    private static int Run(TrainOptions options, WatchCommand watch, StepTrace? trace, ParseResult result, Communicator? communicator)
    {
        bool json = result.GetValue(options.Json);
        using var signals = new StopSignals();
        Device? device = null;
        try
        {
            using WatchServer? server = watch.Start(result);
            using TrainingRun run = options.Open(result, settings => device = Open(settings, trace, communicator), communicator);
            trace?.Follow(run);
            server?.Folders = [run.Folder];
            TrainingProgress progress = TrainingProgress.For(run, json);
            progress.Begin();
            signals.Saves = true;
            bool finished = progress.Run(() => run.Train(signals.Token));
            signals.Saves = false;
            Metrics.Plot(run);
            if (finished)
                SampleAtTheEnd(run);

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

    /// <summary>Another rank than the first: it trains, and leaves files and output to that one.</summary>
    private static int Run(TrainOptions options, ParseResult result, Communicator communicator)
    {
        using var signals = new StopSignals { Announces = false };
        Device? device = null;
        try
        {
            using TrainingRun run = options.Open(result, settings => device = Open(settings, null, communicator), communicator);
            signals.Saves = true;
            if (!run.Train(signals.Token))
                return 130;
            SampleAtTheEnd(run);
            return 0;
        }
        finally
        {
            device?.Dispose();
        }
    }

    /// <summary>The run is saved, so its adapters can be merged as on loading. Other ranks take part if weights for evaluation are divided among them.</summary>
    private static void SampleAtTheEnd(TrainingRun run)
    {
        if (!run.Trainer.Model.KeepsAdapters)
            run.MergeAdapters();
        run.Sample();
    }

    private static Device Open(TrainingSettings settings, StepTrace? trace, Communicator? communicator)
    {
        return trace is null ? Open() : trace.Wrap(settings, Open);

        Device Open() => communicator is not null ? RankedTraining.Open(settings, communicator) : CommonOptions.Open(settings.Device, settings.Threads);
    }
}
