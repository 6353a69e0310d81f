using System.CommandLine;
using ILGpuOptim.Compute;
using ILGpuOptim.Lab;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>verify</c>: compares results with those of reference implementations.</summary>
internal static class VerifyCommand
{
    public static Command Create()
    {
        var command = new Command("verify", "Compare results with recorded ones of reference implementations.");
        command.Subcommands.Add(Create("model", "Folder with config.json, model.safetensors, expected.safetensors and expected.json.", ModelVerification.Run));
        command.Subcommands.Add(Create("optimizers", "Folder with index.json and a safetensors file per case.", OptimizerVerification.Run));
        return command;
    }

    private static Command Create(string name, string description, Func<string, Device, IReadOnlyList<Check>> run)
    {
        var folder = new Argument<string>("folder") { Description = description };
        Option<string?> device = CommonOptions.Device();
        Option<int?> threads = CommonOptions.Threads();
        Option<bool> json = CommonOptions.Json();
        var command = new Command(name, description) { folder, device, threads, json };
        command.SetAction(result =>
        {
            using Device target = CommonOptions.Open(result.GetValue(device), result.GetValue(threads));
            IReadOnlyList<Check> checks = run(result.GetRequiredValue(folder), target);
            int failed = checks.Count(check => !check.Passes);
            foreach (Check check in checks)
            {
                if (result.GetValue(json))
                    CommonOptions.PrintJson(new { check.Name, Error = double.IsFinite(check.Error) ? check.Error : (double?)null, check.Bound, check.Passes, check.Note });
                else
                    Console.WriteLine($"{(check.Passes ? "pass" : "MISS")}  {check.Name,-44} {check.Error:E2} of {check.Bound:E0}{(check.Note is null ? "" : "  " + check.Note)}");
            }

            if (!result.GetValue(json))
                Console.WriteLine($"{checks.Count - failed} of {checks.Count} within their bounds on {target.Name}");
            return failed == 0 && checks.Count > 0 ? 0 : 1;
        });
        return command;
    }
}
