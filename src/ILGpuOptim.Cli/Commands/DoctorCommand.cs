using System.CommandLine;
using ILGpuOptim.Compute;
using ILGpuOptim.Lab;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>doctor</c>: verifies every device.</summary>
internal static class DoctorCommand
{
    public static Command Create()
    {
        Option<bool> json = CommonOptions.Json();
        var command = new Command("doctor", "Verify every device on small problems against the reference device.") { json };
        command.SetAction(result =>
        {
            bool healthy = true;
            foreach (DeviceInfo info in Devices.List())
            {
                IReadOnlyList<Check> checks = [];
                string? problem = info.Problem;
                try
                {
                    if (problem is null)
                    {
                        using Device device = Devices.Open(info.Name);
                        checks = DeviceVerification.Run(device);
                    }
                }
                catch (Exception e) when (Devices.Explain(e) is not null)
                {
                    problem = Devices.Explain(e);
                }

                healthy &= info.Problem is not null || (problem is null && checks.All(check => check.Passes));
                if (result.GetValue(json))
                {
                    CommonOptions.PrintJson(new { info.Name, info.Description, Problem = problem, Checks = checks.Select(check => new { check.Name, check.Passes, Error = double.IsFinite(check.Error) ? check.Error : (double?)null }) });
                    continue;
                }

                Console.WriteLine($"{info.Name,-10} {info.Description}");
                foreach ((string name, string value) in info.Limits)
                    Console.WriteLine($"           {name}: {value}");
                foreach (Check check in checks)
                    Console.WriteLine($"           {(check.Passes ? "pass" : "MISS")}  {check.Name}: {check.Error:E1} of {check.Bound:E0}");
                if (problem is not null)
                    Console.WriteLine($"           not usable: {problem}");
            }

            return healthy ? 0 : 1;
        });
        return command;
    }
}
