using System.CommandLine;
using ILGpuOptim.Cli;

namespace ILGpuOptim.Tests.Cli;

/// <summary>The pages of <c>--help</c>, and what shells complete.</summary>
public class HelpTests
{
    private static readonly RootCommand Root = CommandLine.Commands();

    public static TheoryData<string> Paths => [.. All(Root).Select(command => string.Join(' ', PathOf(command)))];

    private static IEnumerable<Command> All(Command command) => command.Subcommands.SelectMany(All).Prepend(command);

    private static IEnumerable<string> PathOf(Command command) => command == Root ? [] : [.. PathOf((Command)command.Parents.First()), command.Name];

    private static Command At(string path) => path.Split(' ', StringSplitOptions.RemoveEmptyEntries).Aggregate((Command)Root, (command, name) => command.Subcommands.Single(item => item.Name == name));

    /// <summary>Every flag is listed once, in lines that fit, and no message names a type of .NET.</summary>
    [Theory]
    [MemberData(nameof(Paths))]
    public void EveryFlagIsListedOnce(string path)
    {
        Command command = At(path);
        string[] lines = HelpPage.Text(command, 100).Split(Environment.NewLine);
        foreach (Option option in command.Options.Where(option => !option.Hidden && option.Name != "--help"))
            Assert.Single(lines, line => line == "  " + option.Name || line.StartsWith($"  {option.Name} ", StringComparison.Ordinal));
        Assert.All(lines, line => Assert.True(line.Length <= 100 || !line.Trim().Contains(' ', StringComparison.Ordinal), line));
        Assert.DoesNotContain("System.", string.Concat(lines), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("train", "--steps <number>", "[default: 3000]")]
    [InlineData("train", "--schedule <constant|linear|cosine|wsd>", "default: cosine, or constant")]
    [InlineData("train", "--clip <number>", "[default: 1]")]
    [InlineData("sample", "--temperature <number>", "[default: 0.8]")]
    public void DefaultsAreShown(string command, string flag, string words)
    {
        string page = HelpPage.Text(At(command), 400);
        string rest = page[page.IndexOf("  " + flag, StringComparison.Ordinal)..];
        Assert.Contains(words, rest[..rest.IndexOf("\n  --", StringComparison.Ordinal)], StringComparison.Ordinal);
    }

    [Fact]
    public void FlagsOfTrainAreInGroups()
    {
        string page = HelpPage.Text(At("train"), 120);
        int[] places = [.. new[] { "Run:", "Data:", "Model:", "Fine-tuning:", "Batches:", "Optimizer:", "Learning rate and updates:", "Validation and checkpoints:", "Device and output:" }.Select(heading => page.IndexOf(Environment.NewLine + heading, StringComparison.Ordinal))];
        Assert.All(places, place => Assert.True(place > 0));
        Assert.Equal(places.Order(), places);
    }

    [Theory]
    [InlineData("train --optimizer apo", "apollo", "apollo-mini")]
    [InlineData("train --state-type f", "f32", "fp8", "bf16")]
    [InlineData("train --preset t5", "t5-char", "t5-tiny")]
    [InlineData("train --device cu", "cuda")]
    [InlineData("memory llama-3", "llama-3.2-1b", "llama-350m")]
    [InlineData("completion f", "fish")]
    public void ValuesAreCompleted(string line, params string[] values)
    {
        ParseResult parsed = Root.Parse(line);
        Assert.Equal(values.Order(StringComparer.Ordinal), parsed.GetCompletions(line.Length).Select(item => item.Label).Where(label => !label.StartsWith('-')).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void TheDirectiveOfShellsAnswers()
    {
        Outcome outcome = Tool.Run("[suggest:8]", "train --");
        Assert.Equal(0, outcome.Code);
        Assert.Contains("--optimizer", outcome.Output.Split(Environment.NewLine));
        Assert.Equal("", outcome.Error);
    }

    [Fact]
    public void AnUnknownShellIsRefused() => Assert.Contains("There are bash, zsh, fish, pwsh", Tool.Run("completion", "tcsh").Error, StringComparison.Ordinal);
}
