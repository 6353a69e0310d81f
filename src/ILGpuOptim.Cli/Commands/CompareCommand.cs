using System.CommandLine;
using System.Reflection;
using ILGpuOptim.Cli.Watching;
using ILGpuOptim.Compute;
using ILGpuOptim.Lab;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>compare</c>: compares optimizers on one model.</summary>
internal static class CompareCommand
{
    public static Command Create()
    {
        var train = new TrainOptions();
        var optimizers = new Option<string[]>("--optimizers")
        {
            Description = "optimizers to compare, separated by commas; name:setting=value changes a setting of one, as in apollo:rank=8",
            AllowMultipleArgumentsPerToken = true,
            DefaultValueFactory = _ => ["adamw,adafactor,came,apollo,apollo-mini"],
        };
        var rates = new Option<string[]>("--lr")
        {
            Description = "learning rates to try, for all (1e-3,3e-3) or for one (came=1e-3,3e-3); default: a third of the rate recommended for the optimizer, that rate, and three times that rate",
            AllowMultipleArgumentsPerToken = true,
        };
        Option<int> seeds = Flag.Of("--seeds", "number of seeds for the best learning rate", 1, typeof(ComparisonSettings).GetProperty(nameof(ComparisonSettings.Seeds))!.GetCustomAttribute<RangeAttribute>());
        var complete = new Option<bool>("--no-pruning") { Description = "train every learning rate to the end; otherwise successive halving stops the worse ones at a quarter and half of the steps" };
        var protocol = new Option<string?>("--protocol") { Description = "JSON file that states the whole comparison: searches, seeds, tests; takes --out, --device, --threads, --dry-run and --json beside it" };
        var dryRun = new Option<bool>("--dry-run") { Description = "with --protocol: print the number of runs, tokens and the estimated time" };
        var output = new Option<string>("--out") { Description = "folder of the comparison; the same command continues a stopped comparison", DefaultValueFactory = _ => Path.Combine("runs", "comparison") };
        var command = new Command("compare", "Train the same model with several optimizers, with the same seed and batches, and write a report as HTML, CSV and Markdown.")
        {
            optimizers, rates, seeds, complete, protocol, dryRun, output,
        };
        foreach (Option option in train.All.Where(option => option.Name is not ("--optimizer" or "--lr" or "--out" or "--resume" or "--allow-data-change" or "--keep")))
            command.Options.Add(option);
        var watch = new WatchCommand();
        foreach (Option flag in watch.Flags)
            command.Options.Add(flag);
        command.SetAction(result => result.GetValue(protocol) is { } file ? ProtocolRuns.Run(file, result.GetValue(dryRun), train, result, output, () => watch.Start(result))
            : result.GetValue(dryRun) ? throw new UserException("--dry-run needs --protocol, the file whose runs it counts; add it, or leave --dry-run out")
            : Run(
                result.GetValue(output)!,
                () => watch.Start(result),
                Settings(train, result, result.GetValue(optimizers)!, result.GetValue(rates) ?? [], result.GetValue(seeds), !result.GetValue(complete)),
                result.GetValue(train.Json),
                Provenance.Command(result)));
        return command;
    }

    /// <summary>A run keeps one checkpoint and validates eight times by default.</summary>
    private static ComparisonSettings Settings(TrainOptions train, ParseResult result, string[] optimizers, string[] rates, int seeds, bool prunes)
    {
        TrainingSettings training = train.SharedSettings(result);
        bool isGiven = result.GetResult("--eval-interval") is { } given && given.Tokens.Count > 0;
        OptimizerSettings flags = train.OptimizerFlags(result);
        IReadOnlyList<Candidate> candidates = Candidate.Parse(optimizers, rates, training.Optimizer, flags.Options);
        if (flags["rank"] is { } rank && candidates.Any(candidate => candidate.Optimizer.Name == "apollo-mini"))
            Console.Error.WriteLine($"note: --rank {rank} is for the other optimizers; apollo-mini has rank 1");
        flags.CheckUsedBy([.. candidates.Select(candidate => Registry.Find(candidate.Optimizer.Name))]);
        return new ComparisonSettings
        {
            Training = training with { Keep = 1, EvalInterval = isGiven ? training.EvalInterval : Math.Max(1, (training.Steps + 7) / 8) },
            Candidates = candidates,
            Seeds = seeds,
            Prunes = prunes,
        };
    }

    private static int Run(string folder, Func<WatchServer?> watch, ComparisonSettings settings, bool json, string command)
    {
        using var signals = new StopSignals();
        using WatchServer? server = watch();
        using Device device = CommonOptions.Open(settings.Training.Device, settings.Training.Threads);
        using OptimizerComparison comparison = OptimizerComparison.Open(folder, settings);
        server?.Folders = [folder];
        ComparisonProgress progress = ComparisonProgress.For(comparison, json);

        // What was trained before a run is open, or after it, is on the disk.
        comparison.Begun += (_, _, _, _) => signals.Saves = true;
        comparison.Advanced += (_, _) => signals.Saves = false;
        bool finished = progress.Run(() => comparison.Run(device, signals.Token), () =>
        {
            ComparisonTables.Write(comparison);
            ComparisonReport.Write(comparison, device, command);
        });
        return finished ? 0 : 130;
    }
}
