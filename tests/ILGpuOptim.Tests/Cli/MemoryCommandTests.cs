using System.Globalization;
using System.Text.Json.Nodes;
using ILGpuOptim.Data;

namespace ILGpuOptim.Tests.Cli;

/// <summary><c>memory</c> predicts what <c>train</c> with the same flags predicts.</summary>
public sealed class MemoryCommandTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("--preset tiny")]
    [InlineData("--model qwen3-0.6b --layers 1 --heads 4 --hidden-size 32 --tokenizer byte --block 16 --batch 2")]
    [InlineData("--model gpt2-124m --layers 1 --heads 2 --hidden-size 16 --data text --block 16 --batch 2")]
    [InlineData("--model bert-base --layers 1 --heads 2 --hidden-size 16 --data text --block 16 --batch 2 --dropout 0")]
    [InlineData("--preset bert-tiny --data tokens.bin")]
    [InlineData("--preset t5-tiny --tokenizer byte")]
    [InlineData("--preset t5-tiny --data tokens.bin --documents --pad")]
    [InlineData("--from {gpt2-tiny} --data tokens.bin --batch 2 --lora-rank 2")]
    [InlineData("--from {gpt2-tiny} --data tokens.bin --batch 2 --lora-rank 2 --dora --rslora")]
    public void ThePredictionIsThatOfTraining(string flags)
    {
        File.WriteAllText(folder["text"], DefaultCorpus.Text[..5000]);
        TokenFile.Write(folder["tokens.bin"], [.. Enumerable.Range(0, 2000).Select(i => i * i % 101)]);
        string[] arguments = [.. flags.Replace("{gpt2-tiny}", Goldens.Folder("models", "gpt2-tiny"), StringComparison.Ordinal).Split(' ')];
        string memory = Run(["memory", .. arguments, "--json"]), training = Run(["train", .. arguments, "--steps", "1", "--eval-batches", "0", "--out", "run"]);
        double total = (double)JsonNode.Parse(memory)!["total"]!;
        Assert.Contains(string.Create(CultureInfo.InvariantCulture, $"memory     {total / 1e6:F1} MB predicted"), training, StringComparison.Ordinal);
        Assert.Equal(memory, Run(["memory", "--resume", "run", "--json"]));
    }

    /// <summary>The state is divided among the ranks. That the plan of a rank is exact is tested with the ranks.</summary>
    [Fact]
    public void EachRankHasAPlan()
    {
        string[] flags = ["--preset", "tiny", "--optimizer", "adamw"];
        var alone = (JsonObject)JsonNode.Parse(Run(["memory", .. flags, "--json"]))!;
        JsonNode four = JsonNode.Parse(Run(["memory", .. flags, "--ranks", "4", "--json"]))!, eight = JsonNode.Parse(Run(["memory", .. flags, "--ranks", "4", "--shards", "8", "--json"]))!;
        JsonArray ranks = four["ranks"]!.AsArray(), waiting = eight["ranks"]!.AsArray();
        Assert.Equal(4, ranks.Count);
        Assert.Equal((long)alone["state"]!, ranks.Sum(rank => (long)rank!["state"]!));
        Assert.All(ranks, rank => Assert.Equal((long)alone["gradients"]!, (long)rank!["gradients"]!));
        Assert.All(waiting, rank => Assert.InRange((long)rank!["gradients"]!, 1.9 * (long)alone["gradients"]!, 2.5 * (long)alone["gradients"]!));
        string text = Run(["memory", .. flags, "--ranks", "4"]);
        Assert.Contains("ranks        4, with 1 of 4 shards each", text, StringComparison.Ordinal);
        Assert.Contains($"all ranks together {ranks.Sum(rank => (long)rank!["total"]!) / 1e9:F4} GB", text, StringComparison.Ordinal);
        Outcome three = Tool.Run(folder.Path, ["memory", .. flags, "--ranks", "3"]);
        Assert.NotEqual(0, three.Code);
        Assert.Contains("--shards 4: 3 ranks cannot share them equally", three.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("dion:rank=1000")]
    [InlineData("galore:rank=1000")]
    public void ARankAboveTheMatrixIsNoted(string optimizer) => Assert.Contains(
        "note: rank 1000 exceeds the short side of 8 matrices, such as h.0.attn.c_attn.weight; it is reduced to 32", Tool.Run(folder.Path, ["memory", "--preset", "tiny", "--optimizer", optimizer]).Error, StringComparison.Ordinal);

    private string Run(string[] arguments)
    {
        Outcome outcome = Tool.Run(folder.Path, arguments);
        Assert.True(outcome.Code == 0, outcome.Error);
        return outcome.Output;
    }
}
