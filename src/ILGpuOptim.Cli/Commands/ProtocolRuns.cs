using System.CommandLine;
using System.Diagnostics;
using ILGpuOptim.Cli.Watching;
using ILGpuOptim.Compute;
using ILGpuOptim.Files;
using ILGpuOptim.Lab;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>compare --protocol</c>: runs a comparison that a file states.</summary>
internal static class ProtocolRuns
{
    private static readonly string[] Flags = ["--protocol", "--dry-run", "--out", "--device", "--threads", "--json", "--watch", "--watch-port"];

    /// <summary>Runs or plans a protocol; returns the exit code.</summary>
    public static int Run(string file, bool isDry, TrainOptions train, ParseResult result, Option<string> output, Func<WatchServer?> watch)
    {
        if (result.CommandResult.Command.Options.FirstOrDefault(option => !Flags.Contains(option.Name) && result.GetResult(option) is { Implicit: false }) is { } other)
            throw new UserException($"{other.Name}: the protocol {file} states all settings; leave it out, or change the protocol");
        var protocol = ComparisonProtocol.Load(file);
        bool json = result.GetValue(train.Json);
        using var signals = new StopSignals();
        string device = result.GetValue((Option<string?>)train.ByPath["Device"]) ?? protocol.Studies[0].Training.Device;
        int threads = result.GetValue((Option<int?>)train.ByPath["Threads"]) ?? 0;
        using Device opened = CommonOptions.Open(device, threads);
        foreach (ProtocolStudy study in protocol.Studies)
            ProtocolComparison.Check(study);
        if (isDry)
            return Plan(protocol, opened, json);
        using WatchServer? server = watch();
        using var comparison = ProtocolComparison.Open(result.GetValue(output)!, protocol);
        server?.Folders = [comparison.Folder];
        Report(comparison, json, signals);
        bool finished = comparison.Run(opened, threads, signals.Token);
        ProtocolTables.Write(comparison, finished);
        foreach (ProtocolResult study in comparison.Results)
            AtomicFolder.WriteText(Path.Combine(comparison.Folder, $"curves-{study.Study.Name}-{study.Batch}.svg"), Charts.Document(ComparisonCharts.BySteps(study)));
        if (json)
            CommonOptions.PrintJson(new { Event = "end", Finished = finished, comparison.Folder });
        else
            Console.WriteLine($"{Environment.NewLine}{ProtocolTables.Markdown(comparison.Results, finished)}{(finished ? "done      " : "stopped   ")} {Path.Combine(comparison.Folder, "results.md")}");
        return finished ? 0 : 130;
    }

    private static void Report(ProtocolComparison comparison, bool json, StopSignals signals)
    {
        var clock = Stopwatch.StartNew();
        double next = 0;
        comparison.Begun = (name, run) =>
        {
            signals.Saves = true;
            if (json)
                CommonOptions.PrintJson(new { Event = "begin", Run = name, Step = run.Trainer.StepNumber, run.Settings.Steps });
            run.Stepped += step =>
            {
                // At most a line every ten seconds.
                if (json || clock.Elapsed.TotalSeconds < next)
                    return;
                next = clock.Elapsed.TotalSeconds + 10;
                Console.WriteLine($"{name}  step {step.Step}/{run.Settings.Steps}  loss {step.Loss:F4}  {step.Duration.TotalMilliseconds:F0} ms");
            };
        };
        comparison.Ended = (name, loss) =>
        {
            signals.Saves = false;
            if (json)
                CommonOptions.PrintJson(new { Event = "reached", Run = name, ValLoss = double.IsFinite(loss) ? loss : (double?)null });
            else
                Console.WriteLine($"{name}  {(double.IsFinite(loss) ? $"validation loss {loss:F4}" : "diverged")}");
        };
    }

    private static int Plan(ComparisonProtocol protocol, Device device, bool json)
    {
        double fewest = 0, most = 0;
        foreach (ProtocolStudy study in protocol.Studies)
        {
            var plan = ProtocolPlan.Of(study);
            double seconds = ProtocolPlan.SecondsPerToken(study, device);
            (double Fewest, double Most) hours = (plan.FewestTokens * seconds / 3600, plan.MostTokens * seconds / 3600);
            (fewest, most) = (fewest + hours.Fewest, most + hours.Most);
            if (json)
                CommonOptions.PrintJson(new { Event = "plan", Study = study.Name, plan.FewestRuns, plan.MostRuns, plan.FewestTokens, plan.MostTokens, FewestHours = hours.Fewest, MostHours = hours.Most });
            else
                Console.WriteLine($"{study.Name}: {plan.FewestRuns:N0} to {plan.MostRuns:N0} runs, {plan.FewestTokens / 1e6:N0} to {plan.MostTokens / 1e6:N0} million tokens, {hours.Fewest:G3} to {hours.Most:G3} hours on {device.Description}");
        }

        if (!json)
            Console.WriteLine($"all: {fewest:G3} to {most:G3} hours, from trial updates of each study's baseline; validations and slower optimizers come on top");
        return 0;
    }
}
