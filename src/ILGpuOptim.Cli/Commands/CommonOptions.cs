using System.CommandLine;
using System.Text.Json;
using ILGpuOptim.Compute;
using ILGpuOptim.Training;

namespace ILGpuOptim.Cli.Commands;

/// <summary>Options and output shared by several commands.</summary>
internal static class CommonOptions
{
    public const string DeviceHelp = "device: cpu, cuda or opencl (cuda:1 is the second), auto (a GPU if there is one), or reference (slow, for verification)";

    public static Option<string?> Device() => new("--device") { Description = DeviceHelp };

    public static Option<int?> Threads() => Flag.Of<int?>("--threads", "CPU threads; 0: one per core", SettingPath.RangeOf(nameof(Training.TrainingSettings.Threads)));

    public static Option<WeightChoice> Weights() => Flag.Of("--weights", "weights of a checkpoint made with train --ema: ema, the average, or raw; default: the average where there is one", WeightChoice.Default);

    public static Option<bool> Json() => new("--json") { Description = "print JSON" };

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

    /// <summary>Prints an object as one line of JSON.</summary>
    public static void PrintJson(object value)
    {
        Console.Out.WriteLine(JsonSerializer.Serialize(value, JsonLines));
        Console.Out.Flush();
    }

    /// <summary>Prints the notes of a plan.</summary>
    public static void Note(MemoryPlan plan)
    {
        foreach (string note in plan.Notes)
            Console.Error.WriteLine($"note: {note}");
    }

    /// <summary>Prints notes on a loaded model: tensors that are not used, and a head that is not tied although config.json says so.</summary>
    public static void NoteUnused(Models.LanguageModel model, string folder)
    {
        string config = Path.Combine(Models.ModelFiles.ConfigFolder(folder), Models.ModelFiles.Config);
        if (!model.Config.TieWordEmbeddings && Models.ModelConfig.Load(config).TieWordEmbeddings)
            Console.Error.WriteLine($"note: {config} has tie_word_embeddings = true, but {model.Config.HeadTensor} differs from {model.Config.TokenTensor} in the weights; the head is used as it is, untied");
        if (model.UnusedTensors.Count > 0)
            Console.Error.WriteLine($"note: {folder} has tensors of other heads ({string.Join(", ", model.UnusedTensors.Take(3))}{(model.UnusedTensors.Count > 3 ? $" and {model.UnusedTensors.Count - 3} more" : "")}), which are neither used nor saved");
    }
}
