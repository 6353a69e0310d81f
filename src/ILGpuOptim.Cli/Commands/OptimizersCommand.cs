using System.CommandLine;
using System.Globalization;
using ILGpuOptim.Optim;
using Spectre.Console;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>optimizers</c>: lists the optimizers, or the options of one.</summary>
internal static class OptimizersCommand
{
    public static Command Create()
    {
        var name = new Argument<string?>("optimizer") { Description = "list the options of this optimizer", Arity = ArgumentArity.ZeroOrOne };
        Option<bool> json = CommonOptions.Json();
        var command = new Command("optimizers", "List the optimizers, or the options of one.") { name, json };
        command.SetAction(result =>
        {
            OptimizerEntry[] entries = result.GetValue(name) is { } chosen ? [Registry.Find(chosen)] : [.. Registry.Entries];
            if (result.GetValue(json))
            {
                CommonOptions.PrintJson(entries.Select(entry => new
                {
                    entry.Name,
                    entry.Summary,
                    entry.Defaults.LearningRate,
                    entry.Warmup,
                    entry.KeepsRate,
                    Options = entry.Options.Select(option => new { option.Name, option.Default, option.ValidValues, option.Description }),
                }));
                return;
            }

            if (result.GetValue(name) is null)
            {
                var list = new Table().AddColumns("optimizer", "learning rate", "method");
                foreach (OptimizerEntry entry in entries)
                    list.AddRow(entry.Name, Number(entry.Defaults.LearningRate), Markup.Escape(entry.Summary));
                AnsiConsole.Write(list);
                var parts = new Table().AddColumns("part", "as in adamw+cautious, for every optimizer");
                foreach (Part part in Registry.Parts)
                    parts.AddRow(part.Name, Markup.Escape(part.Summary));
                AnsiConsole.Write(parts);
                return;
            }

            Console.WriteLine($"{entries[0].Name}: {entries[0].Summary}");
            Console.WriteLine($"Recommended: learning rate {Number(entries[0].Defaults.LearningRate)}, warm-up of {entries[0].Warmup} steps, at most a tenth of the run{(entries[0].KeepsRate ? ", then a constant rate" : "")}.");
            if (entries[0].Options.Count == 0)
            {
                Console.WriteLine("It has no options of its own.");
                return;
            }

            var table = new Table().AddColumns("option", "default", "values", "meaning");
            foreach (OptimizerOption option in entries[0].Options)
                table.AddRow(option.Name, option.Default ?? "off", Markup.Escape(option.ValidValues), Markup.Escape(option.Description));
            AnsiConsole.Write(table);
        });
        return command;
    }

    private static string Number(double value) => value.ToString(CultureInfo.InvariantCulture);
}
