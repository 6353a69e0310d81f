using System.Text.Json;

namespace ILGpuOptim.Tests.Cli;

/// <summary>The command <c>eval</c> with several models and tasks.</summary>
public sealed class EvalTests : IDisposable
{
    private static readonly string Questions = Goldens.Folder("tasks", "questions.bin"), Gpt2 = Goldens.Folder("models", "gpt2-tiny"), Other = Goldens.Folder("models", "gpt2-tiny", ".");

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void SeveralModelsGiveOneTable()
    {
        Outcome outcome = Tool.Run(folder.Path, ["eval", Gpt2, Other, "--task", Questions, "--predictions", "p.jsonl"]);
        Assert.Equal(0, outcome.Code);
        string[] lines = outcome.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(4, lines.Length);
        Assert.Equal("| source | questions acc | questions acc_norm |", lines[0]);
        Assert.Contains("| 0.2750 ± 0.0715 | 0.3000 ± 0.0734 |", lines[2], StringComparison.Ordinal);
        Assert.StartsWith($"| {Other} |", lines[3], StringComparison.Ordinal);
        Assert.Contains("3 contexts of questions are longer than the model's 32 positions", outcome.Error, StringComparison.Ordinal);
        Assert.Equal(80, File.ReadLines(folder["p.jsonl"]).Count());
    }

    /// <summary>A model that cannot be measured is named; the others are measured.</summary>
    [Fact]
    public void OneOfSeveralModelsMayFail()
    {
        Outcome outcome = Tool.Run(folder.Path, ["eval", "missing", Gpt2, Goldens.Folder("models", "bert-tiny"), "--task", Questions, "--json"]);
        Assert.Equal(1, outcome.Code);
        JsonElement[] lines = [.. outcome.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonDocument.Parse(line).RootElement)];
        Assert.Contains("missing", lines[0].GetProperty("error").GetString(), StringComparison.Ordinal);
        JsonElement task = lines[1].GetProperty("tasks")[0];
        Assert.Equal(("questions", "llm.c", 40, "acc", 0.275, "tokens"), (
            task.GetProperty("task").GetString(), task.GetProperty("format").GetString(), task.GetProperty("questions").GetInt32(), task.GetProperty("metric").GetString(),
            task.GetProperty("score").GetDouble(), task.GetProperty("norm").GetString()));
        Assert.Contains("causal", lines[2].GetProperty("error").GetString(), StringComparison.Ordinal);
        Assert.Contains("error: missing: ", outcome.Error, StringComparison.Ordinal);
        Assert.Contains("bert-tiny: BERT does not give probabilities", outcome.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void MistakesNameTheirFlags()
    {
        File.WriteAllText(folder["t.jsonl"], """{"goal": "a", "sol1": "b", "sol2": "c", "label": 1}""");
        string Refused(params string[] arguments)
        {
            Outcome outcome = Tool.Run(folder.Path, ["eval", Gpt2, .. arguments]);
            Assert.Equal(1, outcome.Code);
            return outcome.Error;
        }

        Assert.Contains("--format pika: there is no such format; did you mean piqa?", Refused("--task", "t.jsonl", "--format", "pika"), StringComparison.Ordinal);
        Assert.Contains("--shots and --shots-from belong together", Refused("--task", "t.jsonl", "--shots", "2"), StringComparison.Ordinal);
        Assert.Contains("--task", Refused("--format", "piqa"), StringComparison.Ordinal);
        Assert.Contains("--task", Refused(), StringComparison.Ordinal);
        Assert.Contains("--norm", Refused("--task", Questions, "--norm", "bytes"), StringComparison.Ordinal);
    }
}
