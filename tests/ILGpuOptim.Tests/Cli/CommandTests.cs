using System.Text.Json;
using ILGpuOptim.Data;

namespace ILGpuOptim.Tests.Cli;

/// <summary>What <c>merge</c>, <c>tokenizer</c>, <c>compare</c> and <c>doctor</c> write and print.</summary>
public sealed class CommandTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void AMergedModelHasTheProbabilitiesOfItsAdapters()
    {
        string tiny = Goldens.Folder("models", "gpt2-tiny");
        TokenFile.Write(folder["tokens.bin"], [.. Enumerable.Range(0, 2000).Select(i => i * i % 101)]);
        Succeed("train", "--from", tiny, "--data", folder["tokens.bin"], "--block", "32", "--steps", "10", "--eval-batches", "0", "--lora-rank", "2", "--lr", "0.05", "--out", folder["run"]);
        Succeed("merge", folder["run"], folder["merged"]);
        double[] adapted = LogProbabilities(folder["run"]), merged = LogProbabilities(folder["merged"]), before = LogProbabilities(tiny);
        Assert.All(adapted.Zip(merged), pair => Assert.Equal(pair.First, pair.Second, 1e-5));
        Assert.Contains(adapted.Zip(before), pair => Math.Abs(pair.First - pair.Second) > 0.01);
        Assert.DoesNotContain(Directory.GetFiles(folder["merged"]), path => Path.GetFileName(path).Contains("adapter", StringComparison.Ordinal));
        Assert.Contains("it exists already", Tool.Run("merge", folder["run"], folder["merged"]).Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--lora-alpha", "8")]
    [InlineData("--lora-targets", "c_attn")]
    [InlineData("--rslora")]
    [InlineData("--dora")]
    public void SettingsOfAdaptersNeedARank(params string[] flags)
    {
        string error = Tool.Run(["train", "--preset", "tiny", "--steps", "1", .. flags, "--out", folder["run"]]).Error;
        Assert.Contains($"{flags[0]} is a setting of adapters, but there are none; add --lora-rank", error, StringComparison.Ordinal);
        Assert.False(Directory.Exists(folder["run"]));
    }

    [Fact]
    public void ARangeTestSuggestsALearningRate()
    {
        string curve = folder["curves", "came.svg"];
        string printed = Succeed("lr-find", "--optimizer", "came", "--preset", "tiny", "--layers", "1", "--block", "16", "--steps", "40", "--to-lr", "0.3", "--out", curve);
        Assert.Contains("came is recommended with 0.0007", printed, StringComparison.Ordinal);
        Assert.StartsWith("<?xml", File.ReadAllText(curve), StringComparison.Ordinal);
        Assert.Contains("--from-lr 2: it must be below --to-lr 1", Tool.Run("lr-find", "--from-lr", "2").Error, StringComparison.Ordinal);
        Assert.Contains("--steps 5: it must be a whole number from 10", Tool.Run("lr-find", "--steps", "5").Error, StringComparison.Ordinal);
        Assert.NotEqual(0, Tool.Run("lr-find", "--lr", "0.1").Code);
    }

    [Fact]
    public void AQuantizedModelIsMeasuredSampledAndMerged()
    {
        string tiny = Goldens.Folder("models", "gpt2-tiny");
        TokenFile.Write(folder["tokens.bin"], [.. Enumerable.Range(0, 200).Select(i => i * i % 101)]);
        string printed = Succeed("quantize", tiny, "--branch-rank", "4", "--data", folder["tokens.bin"], "--out", folder["small"], "--json");
        JsonElement[] storages = [.. JsonDocument.Parse(printed).RootElement.GetProperty("storages").EnumerateArray()];
        Assert.Equal(["f32", "int4, groups of 64, rounded to the nearest", "int4, groups of 64, branch of rank 4"], storages.Select(storage => storage.GetProperty("weights").GetString()));
        Assert.All(storages, storage => Assert.InRange(storage.GetProperty("perplexity").GetDouble(), 1, 1e4));
        Assert.True(storages[2].GetProperty("bytes").GetInt64() < storages[0].GetProperty("bytes").GetInt64());
        Assert.Contains($"perplexity     {storages[2].GetProperty("perplexity").GetDouble():F4}", Succeed("eval", folder["small"], "--data", folder["tokens.bin"]), StringComparison.Ordinal);
        Succeed("merge", folder["small"], folder["floats"]);
        Assert.All(LogProbabilities(folder["small"]).Zip(LogProbabilities(folder["floats"])), pair => Assert.Equal(pair.First, pair.Second, 1e-4));
        Assert.DoesNotContain("quantization_config", File.ReadAllText(folder["floats", "config.json"]), StringComparison.Ordinal);

        // 16 batches of 4,096 tokens, unless all are asked for: here the rest is another text.
        TokenFile.Write(folder["long.bin"], [.. Enumerable.Range(0, 3 * 65536).Select(i => i < 65536 ? i % 7 : (i % 101) * (i % 101) % 101)]);
        TokenFile.Write(folder["beginning.bin"], [.. Enumerable.Range(0, 65536).Select(i => i % 7)]);
        double Perplexity(string data, string output, params string[] more) => JsonDocument.Parse(Succeed(["quantize", tiny, "--branch-rank", "0", "--data", folder[data], "--out", folder[output], "--json", .. more]))
            .RootElement.GetProperty("storages")[0].GetProperty("perplexity").GetDouble();
        double beginning = Perplexity("beginning.bin", "a");
        Assert.Equal(beginning, Perplexity("long.bin", "b"));
        Assert.NotEqual(beginning, Perplexity("long.bin", "c", "--eval-batches", "0"), 0.1);
        Assert.Contains("--group = 48: groups have 32, 64 or 128 weights", Tool.Run("quantize", tiny, "--group", "48", "--out", folder["other"]).Error, StringComparison.Ordinal);
        Assert.Contains("give --data", Tool.Run("quantize", tiny, "--out", folder["unmeasured"]).Error, StringComparison.Ordinal);
    }

    private static double[] LogProbabilities(string model) =>
        [.. JsonDocument.Parse(Succeed("sample", model, "--prompt-ids", "1,4,9", "--tokens", "5", "--temperature", "0", "--json")).RootElement.GetProperty("log_probabilities").EnumerateArray().Select(value => value.GetDouble())];

    [Fact]
    public void ATrainedTokenizerGivesTextBack()
    {
        const string Text = "the lord said: thé 🎉\n\tthe lord";
        File.WriteAllText(folder["text.txt"], string.Concat(Enumerable.Repeat(Text, 50)));
        Assert.Matches("^[0-9]+ tokens in ", Succeed("tokenizer", "train", "--data", folder["text.txt"], "--vocab", "300", "--out", folder["tokens"]));
        string ids = Succeed("tokenizer", "encode", folder["tokens"], Text).TrimEnd();
        Assert.InRange(ids.Split(',').Length, 2, 20);
        Assert.Equal(ids, Tool.RunWithInput(Text, "tokenizer", "encode", folder["tokens"], "-").Output.TrimEnd());
        Assert.Equal(Text, Succeed("tokenizer", "decode", folder["tokens"], ids).TrimEnd('\r', '\n'));
        Assert.Equal($"{{\"ids\":[{ids}]}}", Succeed("tokenizer", "encode", folder["tokens"], Text, "--json").TrimEnd());
        Assert.Equal(Text, JsonDocument.Parse(Succeed("tokenizer", "decode", folder["tokens"], ids, "--json")).RootElement.GetProperty("text").GetString());
        Assert.Contains("\"x\" is not a token id", Tool.Run("tokenizer", "decode", folder["tokens"], "1,x").Error, StringComparison.Ordinal);
    }

    [Fact]
    public void AComparisonIsReportedAndNotTrainedTwice()
    {
        string[] command = ["compare", "--optimizers", "adamw,sgd", "--lr", "1e-3,1e-2", "--preset", "tiny", "--steps", "8", "--eval-batches", "1", "--out", folder["compared"]];
        Succeed(command);
        string page = File.ReadAllText(folder["compared", "report.html"]), table = File.ReadAllText(folder["compared", "results.md"]);
        string[] results = File.ReadAllLines(folder["compared", "results.csv"]), runs = File.ReadAllLines(folder["compared", "runs.csv"]);
        Assert.Equal((3, 5), (results.Length, runs.Length));
        foreach (string name in (string[])["adamw", "sgd"])
        {
            Assert.Contains($"<td>{name}</td>", page, StringComparison.Ordinal);
            Assert.Contains($"| {name} |", table, StringComparison.Ordinal);
            Assert.Contains(name, File.ReadAllText(folder["compared", "curves.svg"]), StringComparison.Ordinal);
        }

        string[] events = Succeed([.. command, "--json"]).Split('\n', StringSplitOptions.RemoveEmptyEntries);
        Assert.DoesNotContain(events, line => JsonDocument.Parse(line).RootElement.GetProperty("event").GetString() == "step");
        JsonElement end = JsonDocument.Parse(events[^1]).RootElement;
        Assert.True(end.GetProperty("finished").GetBoolean());
        Assert.Equal(2, end.GetProperty("rows").GetArrayLength());
        Assert.Equal(results, File.ReadAllLines(folder["compared", "results.csv"]));
    }

    [Fact]
    public void ThisProcessorPassesEveryCheckOfDevices()
    {
        JsonElement cpu = Assert.Single(Succeed("doctor", "--json").Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonDocument.Parse(line).RootElement), device => device.GetProperty("name").GetString() == "cpu");
        Assert.Equal(JsonValueKind.Null, cpu.GetProperty("problem").ValueKind);
        Assert.NotEmpty(cpu.GetProperty("checks").EnumerateArray());
        Assert.All(cpu.GetProperty("checks").EnumerateArray(), check => Assert.True(check.GetProperty("passes").GetBoolean(), check.ToString()));
        Assert.Contains("pass  ", Succeed("doctor"), StringComparison.Ordinal);
    }

    private static string Succeed(params string[] arguments)
    {
        Outcome outcome = Tool.Run(arguments);
        Assert.True(outcome.Code == 0, outcome.Error);
        return outcome.Output;
    }
}
