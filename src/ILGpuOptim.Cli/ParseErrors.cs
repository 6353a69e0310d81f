using System.CommandLine;
using System.CommandLine.Parsing;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Cli;

/// <summary>Converts errors of the command-line parser to one line.</summary>
internal static class ParseErrors
{
    /// <summary>The first error, with a reference to the command's help; null if there is none.</summary>
    public static string? FirstOf(ParseResult result)
    {
        if (result.Errors.Count == 0 || result.Action is { ClearsParseErrors: true })
            return null;
        string help = $"see {string.Join(' ', Path(result.CommandResult).Reverse())} --help";
        if (result.CommandResult.Command.Subcommands.Count > 0)
        {
            string[] names = [.. result.CommandResult.Command.Subcommands.Select(command => command.Name)];
            return result.UnmatchedTokens.Count > 0
                ? $"there is no command \"{result.UnmatchedTokens[0]}\"{Suggestion(result.UnmatchedTokens[0], names)} {help}"
                : $"a command is missing; there are {string.Join(", ", names)}; {help}";
        }

        // An unknown token is the cause of the errors after it.
        if (result.UnmatchedTokens.Count > 0)
        {
            string token = result.UnmatchedTokens[0];
            return token.StartsWith('-')
                ? $"there is no flag {token}{Suggestion(token, result.CommandResult.Command.Options.Select(option => option.Name))} {help}"
                : $"\"{token}\" is neither the value of a flag nor an argument of the command; {help}";
        }

        return $"{Text(result.Errors[0])}; {help}";
    }

    private static string Suggestion(string name, IEnumerable<string> candidates) => Nearest.Question(name, candidates) is var question && question == "." ? ";" : question;

    private static string Text(ParseError error)
    {
        string message = error.Message.TrimEnd('.');
        if (!message.Contains("System.", StringComparison.Ordinal))
            return message;
        (string name, Type type) = error.SymbolResult switch
        {
            OptionResult option => (option.Option.Name, option.Option.ValueType),
            ArgumentResult { Parent: OptionResult option } => (option.Option.Name, option.Option.ValueType),
            ArgumentResult argument => (argument.Argument.Name, argument.Argument.ValueType),
            _ => ("", typeof(string)),
        };
        return $"{name} {string.Join(' ', error.SymbolResult?.Tokens.Select(token => token.Value) ?? [])}: it must be {Values.Describe(type)}";
    }

    private static IEnumerable<string> Path(CommandResult command)
    {
        yield return command.Command is RootCommand ? "ilgpuoptim" : command.Command.Name;
        if (command.Parent is CommandResult parent)
        {
            foreach (string name in Path(parent))
                yield return name;
        }
    }
}
