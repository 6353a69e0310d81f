using System.CommandLine;
using System.Text.Json;
using ILGpuOptim.Compute;
using ILGpuOptim.Training;

namespace ILGpuOptim.Cli.Commands;

/// <summary>Options that several commands have, and what they mean.</summary>
internal static class CommonOptions
{
    public static Option<string?> Device() => new("--device") { Description = "where to compute: cpu, cuda, opencl (or cuda:1 for the second), auto (a GPU if there is one), or reference (slow, for checking)" };

    public static Option<int?> Threads() => Flag.Of<int?>("--threads", "threads of the cpu; 0 means one for each core", SettingPath.RangeOf(nameof(Training.TrainingSettings.Threads)));

    public static Option<bool> Json() => new("--json") { Description = "print JSON for machines" };

    /// <summary>Opens a device by name.</summary>
    public static Device Open(string? name, int? threads)
    {
        name = (name ?? "cpu").ToLowerInvariant();
        string kind = name.Split(':')[0];
        return Devices.Kinds.Contains(kind)
            ? Devices.Open(name, threads ?? 0)
            : throw new UserException($"there is no device \"{name}\"{Nearest.Question(kind, Devices.Kinds)} There are {string.Join(", ", Devices.Kinds)}");
    }

    public static readonly JsonSerializerOptions JsonLines = new() { PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower };

    /// <summary>One JSON object on a line of its own.</summary>
    public static void PrintJson(object value)
    {
        Console.Out.WriteLine(JsonSerializer.Serialize(value, JsonLines));
        Console.Out.Flush();
    }

    /// <summary>Says which tensors of a model's file are not used.</summary>
    public static void NoteUnused(Models.LanguageModel model, string folder)
    {
        if (model.UnusedTensors.Count > 0)
            Console.Error.WriteLine($"note: {folder} has tensors of other heads ({string.Join(", ", model.UnusedTensors.Take(3))}{(model.UnusedTensors.Count > 3 ? $" and {model.UnusedTensors.Count - 3} more" : "")}), which are not used and not written back");
    }
}
