using System.CommandLine;
using System.CommandLine.Completions;
using ILGpuOptim.Compute;
using ILGpuOptim.Data.Tokenization;
using ILGpuOptim.Models;
using ILGpuOptim.Ops;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Cli;

/// <summary>The values that a shell completes: names of optimizers, devices, presets, models and tokenizers, and members of enumerations.</summary>
internal static class ValueCompletions
{
    private static IEnumerable<string> Optimizers => Registry.Entries.Select(entry => entry.Name);

    /// <summary>Adds the values to all flags and arguments of a command and of its subcommands.</summary>
    public static void AddTo(Command command)
    {
        foreach (Option option in command.Options)
            Replace(option.CompletionSources, option.Name, option.ValueType);
        foreach (Argument argument in command.Arguments)
            Replace(argument.CompletionSources, argument.Name, argument.ValueType);
        foreach (Command child in command.Subcommands)
            AddTo(child);
    }

    private static void Replace(List<Func<CompletionContext, IEnumerable<CompletionItem>>> sources, string name, Type type)
    {
        type = Nullable.GetUnderlyingType(type) ?? type;
        Func<IEnumerable<string>>? values = name switch
        {
            "--optimizer" or "--optimizers" => () => Optimizers,
            "names" => () => [.. Optimizers, .. FunctionRegistry.Entries.Select(entry => entry.Name), "all", "optimizers", "functions"],
            "optimizer" => () => [.. Optimizers, "models", "all"],
            "--preset" => () => Presets.Names.Select(preset => preset.Name),
            "--model" or "model" => () => KnownModels.Names,
            "--device" => () => Devices.Kinds,
            "--tokenizer" or "tokenizer" => () => ["char", "byte", .. TokenizerFiles.Encodings],
            "--target" => () => ["ptx", "opencl", "cpu"],
            _ when type.IsEnum => () => Enum.GetNames(type).Select(Values.NameOf),
            _ => null,
        };
        if (values is null)
            return;
        sources.Clear();
        sources.Add(_ => values());
    }
}
