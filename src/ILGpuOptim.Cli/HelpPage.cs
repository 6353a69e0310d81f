using System.Collections;
using System.CommandLine;
using System.CommandLine.Help;
using System.CommandLine.Invocation;
using System.Globalization;
using System.Text;
using ILGpuOptim.Cli.Commands;
using ILGpuOptim.Training;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Cli;

/// <summary><c>--help</c>: the usage, arguments and flags of a command, with valid values and defaults. The flags of <c>train</c> are in groups.</summary>
internal sealed class HelpPage : SynchronousCommandLineAction
{
    private const int LabelWidth = 34, MaxWidth = 120;

    /// <summary>The first flag of each group; flags that follow it belong to the group too.</summary>
    private static readonly Dictionary<string, string> Groups = new(StringComparer.Ordinal)
    {
        ["--optimizers"] = "Comparison",
        ["--preset"] = "Run",
        ["--data"] = "Data",
        ["--model"] = "Model",
        ["--from"] = "Fine-tuning",
        ["--layers"] = "Model",
        ["--batch"] = "Batches",
        ["--optimizer"] = "Optimizer",
        ["--lr-for"] = "Optimizer",
        ["--schedule"] = "Learning rate and updates",
        ["--eval-interval"] = "Validation and checkpoints",
        ["--device"] = "Device and output",
        ["--measured-steps"] = "Profile",
    };

    /// <summary>The paths of settings by the flags of training.</summary>
    private static readonly Dictionary<string, string> Paths = new TrainOptions().ByPath.ToDictionary(item => item.Value.Name, item => item.Key);

    public override bool ClearsParseErrors => true;

    /// <summary>Replaces the help of a command line.</summary>
    public static void Install(RootCommand root)
    {
        foreach (HelpOption option in root.Options.OfType<HelpOption>())
            option.Action = new HelpPage();
    }

    public override int Invoke(ParseResult parseResult)
    {
        parseResult.InvocationConfiguration.Output.Write(Text(parseResult.CommandResult.Command, Console.IsOutputRedirected ? MaxWidth : Math.Clamp(Console.WindowWidth - 1, 60, MaxWidth)));
        return 0;
    }

    /// <summary>The help of a command.</summary>
    internal static string Text(Command command, int width)
    {
        var page = new StringBuilder();
        Wrap(page, command.Description ?? "", "", width);
        string arguments = string.Concat(command.Arguments.Where(argument => !argument.Hidden).Select(argument => argument.Arity.MinimumNumberOfValues == 0 ? $" [{Label(argument)}]" : $" {Label(argument)}"));
        page.AppendLine().AppendLine("Usage:").AppendLine(CultureInfo.InvariantCulture, $"  {PathOf(command)}{arguments}{(command.Subcommands.Count > 0 ? " COMMAND" : "")} [flags]");
        Section(page, "Arguments", command.Arguments.Where(argument => !argument.Hidden).Select(argument => (Label(argument), argument.Description ?? "")), width);
        Section(page, "Commands", command.Subcommands.Where(item => !item.Hidden).Select(item => (item.Name, item.Description ?? "")), width);
        bool trains = command.Options.Any(option => option.Name == "--preset");
        List<(string Group, List<(string, string)> Rows)> groups = [];
        string current = "Flags";
        foreach (Option option in command.Options.Where(option => !option.Hidden && option is not HelpOption))
        {
            current = trains ? Groups.GetValueOrDefault(option.Name, current) : current;
            if (groups.All(group => group.Group != current))
                groups.Add((current, []));
            groups.First(group => group.Group == current).Rows.Add((Label(option), Describe(option, trains)));
        }

        if (groups.Count == 0)
            groups.Add((current, []));
        groups[^1].Rows.Add(("--help", "show this page"));
        foreach ((string group, List<(string, string)> rows) in groups)
            Section(page, group, rows, width);
        if (trains)
            page.AppendLine().AppendLine("Defaults of settings are those of --preset default; other presets change some of them.");
        if (command.Subcommands.Count > 0)
            page.AppendLine().AppendLine(CultureInfo.InvariantCulture, $"{PathOf(command)} COMMAND --help shows the flags of a command.");
        return page.ToString();
    }

    private static string PathOf(Command command) => command.Parents.OfType<Command>().FirstOrDefault() is { } parent ? $"{PathOf(parent)} {command.Name}" : "ilgpuoptim";

    private static void Section(StringBuilder page, string heading, IEnumerable<(string Label, string Description)> rows, int width)
    {
        (string Label, string Description)[] all = [.. rows];
        if (all.Length == 0)
            return;
        page.AppendLine().Append(heading).AppendLine(":");
        int column = Math.Min(LabelWidth, all.Max(row => row.Label.Length) + 4);
        foreach ((string label, string description) in all)
        {
            bool fits = label.Length + 4 <= column;
            page.Append("  ").Append(fits ? label.PadRight(column - 2) : label);
            if (!fits)
                page.AppendLine().Append(' ', column);
            Wrap(page, description, new string(' ', column), width);
        }
    }

    /// <summary>Appends a text in lines of at most the width; lines after the first are indented.</summary>
    private static void Wrap(StringBuilder page, string text, string indent, int width)
    {
        int used = indent.Length;
        foreach (string word in text.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            if (used > indent.Length && used + 1 + word.Length > width)
            {
                page.AppendLine().Append(indent);
                used = indent.Length;
            }
            else if (used > indent.Length)
            {
                page.Append(' ');
                used++;
            }

            page.Append(word);
            used += word.Length;
        }

        page.AppendLine();
    }

    private static string Label(Argument argument) => argument.Arity.MaximumNumberOfValues > 1 ? $"<{argument.Name}>…" : $"<{argument.Name}>";

    private static string Label(Option option)
    {
        Type type = option.ValueType, single = type.IsArray ? type.GetElementType()! : Nullable.GetUnderlyingType(type) ?? type;
        if (option.Arity.MaximumNumberOfValues == 0 || type == typeof(bool))
            return option.Name;
        if (single == typeof(bool))
            return $"{option.Name} [true|false]";
        string value = option.HelpName ?? (single.IsEnum ? string.Join('|', Enum.GetNames(single).Select(Values.NameOf)) : Values.IsNumber(single) ? "number" : option.Name switch
        {
            "--out" or "--resume" or "--from" or "--config" or "--trace" => "path",
            "--data" => "paths",
            "--device" or "--preset" or "--optimizer" or "--model" or "--tokenizer" => "name",
            _ => "text",
        });
        return $"{option.Name} <{value}>{(type.IsArray && value != "paths" ? "…" : "")}";
    }

    private static string Describe(Option option, bool trains)
    {
        string description = option.Description ?? "", required = option.Required ? " [required]" : "";
        object? value = trains && Paths.TryGetValue(option.Name, out string? path) ? SettingOf(path) : option.HasDefaultValue ? option.GetDefaultValue() : null;
        string? text = value switch
        {
            null or false => null,
            true => "true",
            string words => words,
            Enum member => Values.NameOf(member.ToString()),
            IEnumerable items => string.Join(' ', items.Cast<object>()),
            IFormattable number => number.ToString(null, CultureInfo.InvariantCulture),
            _ => null,
        };
        return $"{description}{required}{(string.IsNullOrEmpty(text) || description.Contains("default:", StringComparison.Ordinal) ? "" : $" [default: {text}]")}";
    }

    /// <summary>The value of a setting in the default preset; null where it depends on the optimizer or is not a single value.</summary>
    private static object? SettingOf(string path)
    {
        object? value = Presets.Find("default");
        foreach (string name in path.Split('.'))
        {
            if (value?.GetType().GetProperty(name) is not { } property)
                return null;
            value = property.GetValue(value);
        }

        return value is string or bool or Enum || (value is not null && Values.IsNumber(value.GetType())) ? value : null;
    }
}
