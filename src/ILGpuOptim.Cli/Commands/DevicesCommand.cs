using System.CommandLine;
using ILGpuOptim.Compute;
using Spectre.Console;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>devices</c>: what can compute here.</summary>
internal static class DevicesCommand
{
    public static Command Create()
    {
        Option<bool> json = CommonOptions.Json();
        var command = new Command("devices", "List what can compute here.") { json };
        command.SetAction(result =>
        {
            using var cpu = new CpuDevice();
            using var reference = new ReferenceDevice();
            Device[] devices = [cpu, reference];
            if (result.GetValue(json))
            {
                CommonOptions.PrintJson(devices.Select(device => new { device.Name, device.Description, device.AvailableBytes }));
                return;
            }

            var table = new Table().AddColumns("device", "what it is", "free memory");
            foreach (Device device in devices)
                table.AddRow(device.Name, Markup.Escape(device.Description), $"{device.AvailableBytes / 1e9:F1} GB");
            AnsiConsole.Write(table);
        });
        return command;
    }
}
