using System.CommandLine;
using ILGpuOptim.Lab;
using ILGpuOptim.Ops;
using ILGpuOptim.Optim;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>check</c>: checks optimizers and differentiable functions, and prints optimizer state.</summary>
internal static class CheckCommand
{
    public static Command Create()
    {
        var names = new Argument<string[]>("names") { Description = "optimizers (as in train --optimizer, such as adamw+cautious:beta1=0.8) or functions (as in config.json); \"all\", \"optimizers\" or \"functions\"", Arity = ArgumentArity.OneOrMore };
        Option<bool> json = CommonOptions.Json();
        var command = new Command("check", "Check optimizers (results against double precision on every device, exact resume, memory, …) and print their state; check the values and derivatives of functions.")
        {
            names, json,
        };
        command.SetAction(result =>
        {
            (List<OptimizerLabel> optimizers, List<FunctionEntry> functions) = Find(result.GetRequiredValue(names));
            bool asJson = result.GetValue(json);
            int failed = 0;
            foreach (OptimizerLabel label in optimizers)
            {
                OptimizerEntry entry = Registry.Find(label.Name);
                failed += Print("optimizer", label.ToString(), entry.Summary, OptimizerChecks.All(entry, SettingsOf(label)), asJson);
            }

            foreach (FunctionEntry entry in functions)
                failed += Print("function", entry.Name, entry.Summary, FunctionChecks.All(entry), asJson);
            if (!asJson && optimizers.Count > 0)
            {
                Console.WriteLine(StateTable.Header);
                foreach (OptimizerLabel label in optimizers)
                    Console.WriteLine(StateTable.Row(Registry.Find(label.Name), label));
            }

            return failed == 0 ? 0 : 1;
        });
        return command;
    }

    /// <summary>Finds optimizers and functions by name, optimizers first.</summary>
    /// <exception cref="UserException">There is none of a name.</exception>
    private static (List<OptimizerLabel> Optimizers, List<FunctionEntry> Functions) Find(string[] names)
    {
        List<OptimizerLabel> optimizers = [];
        List<FunctionEntry> functions = [];
        foreach (string name in names)
        {
            if (name is "all" or "optimizers")
                optimizers.AddRange(Registry.Entries.Select(entry => new OptimizerLabel(entry.Name, [])));
            if (name is "all" or "functions")
                functions.AddRange(FunctionRegistry.Entries);
            if (name is "all" or "optimizers" or "functions")
                continue;
            if (name.AsSpan().ContainsAny('+', ':') || Registry.Entries.Any(entry => entry.Name.Equals(name, StringComparison.OrdinalIgnoreCase)))
                optimizers.Add(Named(name));
            else if (FunctionRegistry.Find(name) is { } function)
                functions.Add(function);
            else
                throw new UserException($"there is no optimizer or function \"{name}\"{Nearest.Question(name, [.. Registry.Entries.Select(entry => entry.Name), .. FunctionRegistry.Entries.Select(entry => entry.Name)])}"
                    + $" There are {string.Join(", ", Registry.Entries.Select(entry => entry.Name))}; {string.Join(", ", FunctionRegistry.Entries.Select(entry => entry.Name))}");
        }

        return (optimizers, functions);
    }

    /// <summary>An optimizer, after whose name settings may follow.</summary>
    private static OptimizerLabel Named(string text)
    {
        OptimizerSettings settings = new OptimizerSettings().For(text);
        settings.Check();
        return OptimizerLabel.Parse(text) with { Name = settings.Name };
    }

    /// <summary>The settings of the checks with those of a label.</summary>
    private static OptimizerSettings SettingsOf(OptimizerLabel label) => label.ApplyTo(OptimizerChecks.Settings with { Name = label.Name });

    /// <summary>Prints each check when it is done; returns the number of failures.</summary>
    private static int Print(string kind, string name, string summary, IEnumerable<Check> checks, bool json)
    {
        int passed = 0, skipped = 0, failed = 0;
        if (!json)
            Console.WriteLine($"{name}: {summary}");
        foreach (Check check in checks)
        {
            string word = check.Passes ? "pass" : check.IsSkipped ? "skip" : "MISS";
            _ = check.Passes ? passed++ : check.IsSkipped ? skipped++ : failed++;
            double? error = double.IsFinite(check.Error) ? check.Error : null;
            if (!json)
                Console.WriteLine($"{word}  {check.Name,-52} {(check.IsSkipped || check.Bound == 0 ? "" : $"{check.Error:G2} of {check.Bound:G4}"),-14} {check.Note}".TrimEnd());
            else if (kind == "optimizer")
                CommonOptions.PrintJson(new { Optimizer = name, check.Name, check.Passes, check.IsSkipped, Error = error, check.Bound, check.Note });
            else
                CommonOptions.PrintJson(new { Function = name, check.Name, check.Passes, check.IsSkipped, Error = error, check.Bound, check.Note });
        }

        if (!json)
            Console.WriteLine($"{passed} passed, {failed} failed, {skipped} skipped{Environment.NewLine}");
        return failed;
    }
}
