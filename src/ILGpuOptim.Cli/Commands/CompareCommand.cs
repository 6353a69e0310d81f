using System.CommandLine;
using System.Reflection;
using ILGpuOptim.Compute;
using ILGpuOptim.Lab;
using ILGpuOptim.Training;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>compare</c>: one model, several optimizers, one report.</summary>
internal static class CompareCommand
{
    public static Command Create()
    {
        var train = new TrainOptions();
        var optimizers = new Option<string[]>("--optimizers")
        {
            Description = "who takes part, with commas between; name:setting=value changes a setting for one, as in apollo:rank=8",
            AllowMultipleArgumentsPerToken = true,
            DefaultValueFactory = _ => ["adamw,adafactor,came,apollo,apollo-mini"],
        };
        var rates = new Option<string[]>("--lr")
        {
            Description = "learning rates to try, for all (1e-3,3e-3) or for one (came=1e-3,3e-3); by default " + string.Join(", ", Candidate.DefaultRates),
            AllowMultipleArgumentsPerToken = true,
        };
        Option<int> seeds = Flag.Of("--seeds", "repeats of the best learning rate, each with the next seed", 1, typeof(ComparisonSettings).GetProperty(nameof(ComparisonSettings.Seeds))!.GetCustomAttribute<RangeAttribute>());
        var complete = new Option<bool>("--no-pruning") { Description = "run every learning rate to the end; otherwise successive halving gives hopeless ones up at a quarter and half of the steps" };
        var output = new Option<string>("--out") { Description = "the folder of the comparison; the same command goes on where it was stopped", DefaultValueFactory = _ => Path.Combine("runs", "comparison") };
        var command = new Command("compare", "Train the same model with several optimizers, from the same seed on the same batches, and write one HTML report, CSV and Markdown.")
        {
            optimizers, rates, seeds, complete, output,
        };
        foreach (Option option in train.All.Where(option => option.Name is not ("--optimizer" or "--lr" or "--out" or "--resume" or "--allow-data-change" or "--keep")))
            command.Options.Add(option);
        command.SetAction(result => Run(
            result.GetValue(output)!,
            Settings(train, result, result.GetValue(optimizers)!, result.GetValue(rates) ?? [], result.GetValue(seeds), !result.GetValue(complete)),
            result.GetValue(train.Json)));
        return command;
    }

    /// <summary>A run keeps one checkpoint, and validates eight times unless told otherwise.</summary>
    private static ComparisonSettings Settings(TrainOptions train, ParseResult result, string[] optimizers, string[] rates, int seeds, bool prunes)
    {
        TrainingSettings training = train.SharedSettings(result);
        bool tells = result.GetResult("--eval-interval") is { } given && given.Tokens.Count > 0;
        return new ComparisonSettings
        {
            Training = training with { Keep = 1, EvalInterval = tells ? training.EvalInterval : Math.Max(1, (training.Steps + 7) / 8) },
            Candidates = Candidate.Parse(optimizers, rates, training.Optimizer),
            Seeds = seeds,
            Prunes = prunes,
        };
    }

    private static int Run(string folder, ComparisonSettings settings, bool json)
    {
        using var signals = new StopSignals();
        using Device device = CommonOptions.Open(settings.Training.Device, settings.Training.Threads);
        using OptimizerComparison comparison = OptimizerComparison.Open(folder, settings);
        ComparisonProgress progress = ComparisonProgress.For(comparison, json);

        // What was trained before a run is open, or after it, is on the disk.
        comparison.Begun += (_, _, _, _) => signals.Saves = true;
        comparison.Advanced += (_, _) => signals.Saves = false;
        bool finished = progress.Run(() => comparison.Run(device, signals.Token), () =>
        {
            ComparisonTables.Write(comparison);
            ComparisonReport.Write(comparison, device);
        });
        return finished ? 0 : 130;
    }
}
