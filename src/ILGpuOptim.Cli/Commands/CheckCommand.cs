using System.CommandLine;
using ILGpuOptim.Optim;
using ILGpuOptim.Verification;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>check</c>: what any optimizer must hold, and its row of the state table.</summary>
internal static class CheckCommand
{
    public static Command Create()
    {
        var optimizer = new Argument<string[]>("optimizers") { Description = "their names, as for train, or \"all\"", Arity = ArgumentArity.OneOrMore };
        Option<bool> json = CommonOptions.Json();
        var command = new Command("check", "Check optimizers against double precision on every device here, and that they resume exactly, allocate what they declare, and more; print their state.")
        {
            optimizer, json,
        };
        command.SetAction(result =>
        {
            string[] names = result.GetRequiredValue(optimizer);
            OptimizerEntry[] entries = names is ["all"] ? [.. Registry.Entries] : [.. names.Select(Registry.Find)];
            int failed = 0;
            foreach (OptimizerEntry entry in entries)
                failed += Check(entry, result.GetValue(json));
            if (!result.GetValue(json))
            {
                Console.WriteLine(StateTable.Header);
                foreach (OptimizerEntry entry in entries)
                    Console.WriteLine(StateTable.Row(entry));
            }

            return failed == 0 ? 0 : 1;
        });
        return command;
    }

    /// <summary>Prints each check as it is made; returns how many failed.</summary>
    private static int Check(OptimizerEntry entry, bool json)
    {
        int passed = 0, skipped = 0, failed = 0;
        if (!json)
            Console.WriteLine($"{entry.Name}: {entry.Summary}");
        foreach (Check check in OptimizerChecks.All(entry))
        {
            string word = check.Passes ? "pass" : check.IsSkipped ? "skip" : "MISS";
            _ = check.Passes ? passed++ : check.IsSkipped ? skipped++ : failed++;
            if (json)
                CommonOptions.PrintJson(new { Optimizer = entry.Name, check.Name, check.Passes, check.IsSkipped, Error = double.IsFinite(check.Error) ? check.Error : (double?)null, check.Bound, check.Note });
            else
                Console.WriteLine($"{word}  {check.Name,-52} {(check.IsSkipped || check.Bound == 0 ? "" : $"{check.Error:G2} of {check.Bound}"),-14} {check.Note}".TrimEnd());
        }

        if (!json)
            Console.WriteLine($"{passed} passed, {failed} failed, {skipped} skipped{Environment.NewLine}");
        return failed;
    }
}
