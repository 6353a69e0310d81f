using System.CommandLine;
using ILGpuOptim.Compute;
using Spectre.Console;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>devices</c>: lists the devices.</summary>
internal static class DevicesCommand
{
    public static Command Create()
    {
        Option<bool> json = CommonOptions.Json();
        var command = new Command("devices", "List the compute devices of this machine, with the reason if one is not usable.") { json };
        command.SetAction(result =>
        {
            IReadOnlyList<DeviceInfo> devices = Devices.List();
            if (result.GetValue(json))
            {
                CommonOptions.PrintJson(devices.Select(device => new
                {
                    device.Name,
                    device.Description,
                    device.MemoryBytes,
                    Limits = device.Limits.ToDictionary(limit => limit.Name, limit => limit.Value),
                    device.Problem,
                }));
                return;
            }

            var table = new Table().AddColumns("device", "description", "memory");
            foreach (DeviceInfo device in devices)
            {
                string limits = string.Join(", ", device.Limits.Select(limit => $"{limit.Name} {limit.Value}"));
                string description = string.Join(Environment.NewLine, new[] { device.Description, limits, device.Problem is null ? "" : $"not usable: {device.Problem}" }.Where(line => line.Length > 0));
                table.AddRow(device.Problem is null ? device.Name : $"({device.Name})", Markup.Escape(description), device.MemoryBytes == 0 ? "" : $"{device.MemoryBytes / 1e9:F1} GB");
            }

            AnsiConsole.Write(table);
        });
        return command;
    }
}
