using System.CommandLine;

namespace ILGpuOptim.Cli.Commands;

/// <summary><c>completion</c>: prints a script with which a shell completes commands, flags and values. The script asks the tool, with the directive <c>[suggest]</c>.</summary>
internal static class CompletionCommand
{
    private const string Bash = """
        # In ~/.bashrc: source <(ilgpuoptim completion bash)
        _ilgpuoptim() {
          local line=${COMP_LINE:0:COMP_POINT} word=${COMP_WORDS[COMP_CWORD]}
          line=${line#"${line%%[![:space:]]*}"}
          line=${line#*[[:space:]]}
          mapfile -t COMPREPLY < <(compgen -W "$(ilgpuoptim "[suggest:${#line}]" "$line" 2>/dev/null)" -- "$word")
        }
        complete -o default -F _ilgpuoptim ilgpuoptim
        """;

    private const string Zsh = """
        # In ~/.zshrc, after compinit: source <(ilgpuoptim completion zsh)
        _ilgpuoptim() {
          local line=${LBUFFER#*[[:space:]]}
          local -a found
          found=(${(f)"$(ilgpuoptim "[suggest:${#line}]" "$line" 2>/dev/null)"})
          compadd -a found || _files
        }
        compdef _ilgpuoptim ilgpuoptim
        """;

    private const string Fish = """
        # ilgpuoptim completion fish > ~/.config/fish/completions/ilgpuoptim.fish
        function __ilgpuoptim
            set -l line (commandline -cp | string replace -r '^\s*\S+\s?' '')
            ilgpuoptim "[suggest:"(string length -- "$line")"]" "$line" 2>/dev/null
        end
        complete -c ilgpuoptim -a '(__ilgpuoptim)'
        """;

    private const string PowerShell = """
        # In $PROFILE: ilgpuoptim completion pwsh | Out-String | Invoke-Expression
        Register-ArgumentCompleter -Native -CommandName ilgpuoptim -ScriptBlock {
            param($word, $ast, $position)
            $all = $ast.ToString().PadRight($position - $ast.Extent.StartOffset)
            $line = $all.Substring(0, $position - $ast.Extent.StartOffset) -replace '^\s*\S+\s?', ''
            ilgpuoptim "[suggest:$($line.Length)]" "$line" | Where-Object { $_ -like "$word*" } |
                ForEach-Object { [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_) }
        }
        """;

    private static readonly Dictionary<string, string> Scripts = new() { ["bash"] = Bash, ["zsh"] = Zsh, ["fish"] = Fish, ["pwsh"] = PowerShell };

    public static Command Create()
    {
        var shell = new Argument<string>("shell") { Description = string.Join(", ", Scripts.Keys) };
        shell.CompletionSources.Add([.. Scripts.Keys]);
        var command = new Command("completion", "Print the script with which a shell completes commands, flags and values; its first line says where to put it.") { shell };
        command.SetAction(result =>
        {
            string name = result.GetRequiredValue(shell);
            Console.WriteLine(Scripts.GetValueOrDefault(name) ?? throw new UserException($"there is no script for \"{name}\"{Nearest.Question(name, Scripts.Keys)} There are {string.Join(", ", Scripts.Keys)}"));
        });
        return command;
    }
}
