using System.Text.Json.Nodes;
using ILGpuOptim.Data;

namespace ILGpuOptim.Tests.Cli;

/// <summary>Models of others at the command line: what fits is used, and everything else is one clear line.</summary>
public sealed class ForeignModelTests : IDisposable
{
    private static readonly string TinyModel = Goldens.Folder("models", "gpt2-tiny");

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void ATrainedLlamaIsExportedAndImported()
    {
        Succeed("train", "--preset", "llama-tiny", "--steps", "2", "--eval-batches", "0", "--out", folder["run"]);
        Succeed("export", folder["run"], "--out", folder["model.bin"]);
        Succeed("import", folder["model.bin"], "--out", folder["back"]);
    }

    [Fact]
    public void BlocksAreCutToThePositionsOfTheModel()
    {
        TokenFile.Write(folder["tokens.bin"], [.. Enumerable.Range(0, 2000).Select(i => i * i % 101)]);
        (string _, string error) = Succeed("train", "--from", TinyModel, "--data", folder["tokens.bin"], "--steps", "2", "--eval-batches", "1", "--batch", "2", "--out", folder["run"]);
        Assert.Contains("blocks of 64 tokens are cut to 32", error, StringComparison.Ordinal);
        Assert.Equal(32, (int)JsonNode.Parse(File.ReadAllText(folder["run/settings.json"]))!["block"]!);
        Succeed("train", "--resume", folder["run"], "--steps", "3");
    }

    [Fact]
    public void AChosenTokenizerIsUsedIfItFits()
    {
        Assert.Contains("it has 256 ids, but the model of", Refused("train", "--from", TinyModel, "--block", "32", "--tokenizer", "byte", "--out", folder["run"]), StringComparison.Ordinal);
        Assert.Contains("--tokenizer char", Refused("train", "--from", TinyModel, "--tokenizer", "char", "--out", folder["run"]), StringComparison.Ordinal);
        Assert.Contains("name one with --tokenizer", Refused("train", "--from", TinyModel, "--block", "32", "--out", folder["run"]), StringComparison.Ordinal);
        Succeed("train", "--preset", "tiny", "--tokenizer", "byte", "--steps", "1", "--eval-batches", "0", "--out", folder["bytes"]);
        Directory.CreateDirectory(folder["model"]);
        foreach (string file in (string[])["config.json", "model.safetensors"])
            File.Copy(Path.Combine(Directory.GetDirectories(folder["bytes/checkpoints"]).Single(), file), Path.Combine(folder["model"], file));
        Succeed("train", "--from", folder["model"], "--tokenizer", "byte", "--steps", "1", "--eval-batches", "0", "--out", folder["again"]);
        Assert.Contains("\"byte\"", File.ReadAllText(Path.Combine(Directory.GetDirectories(folder["again/checkpoints"]).Single(), Tokenizers.FileName)), StringComparison.Ordinal);
    }

    [Fact]
    public void AConfigurationHasMemoryButNoText()
    {
        Directory.CreateDirectory(folder["models"]);
        File.Copy(Path.Combine(TinyModel, "config.json"), folder["models/small.json"]);
        Succeed("memory", "--model", "small");
        Succeed("memory", "--model", "models/small");
        Succeed("memory", "models/small", "--batch", "2");
        Succeed("memory", "--model", TinyModel);
        foreach (string command in (string[])["sample", "eval"])
            Assert.Contains("a configuration without weights", Refused(command, "models/small"), StringComparison.Ordinal);
        Assert.Contains("a model of llm.c", Refused("sample", Goldens.Folder("foreign", "llmc-checkpoint.bin")), StringComparison.Ordinal);
        Assert.Contains("a model of llm.c", Refused("import", Goldens.Folder("foreign", "llmc-checkpoint.bin"), "--out", folder["out"]), StringComparison.Ordinal);
    }

    [Fact]
    public void SettingsOfGenerationThatAreNotAppliedAreNamed()
    {
        Directory.CreateDirectory(folder["model"]);
        foreach (string file in Directory.GetFiles(TinyModel))
            File.Copy(file, Path.Combine(folder["model"], Path.GetFileName(file)));
        File.WriteAllText(folder["model/generation_config.json"], """{"temperature": 0.6, "eos_token_id": 2}""");
        Assert.Contains("temperature = 0.6", Succeed("sample", folder["model"], "--prompt-ids", "1", "--tokens", "1").Error, StringComparison.Ordinal);
        File.WriteAllText(folder["model/generation_config.json"], """{"eos_token_id": "2"}""");
        Assert.Contains("eos_token_id is \"2\"", Refused("sample", folder["model"], "--prompt-ids", "1", "--tokens", "1"), StringComparison.Ordinal);
    }

    private (string Output, string Error) Succeed(params string[] arguments)
    {
        (int code, string output, string error) = Tool.Run(folder.Path, arguments);
        Assert.True(code == 0, error);
        return (output, error);
    }

    /// <summary>The message of a refused command: one line.</summary>
    private string Refused(params string[] arguments)
    {
        (int code, _, string error) = Tool.Run(folder.Path, arguments);
        Assert.Equal(1, code);
        Assert.StartsWith("error: ", error, StringComparison.Ordinal);
        Assert.Equal(1, error.Count(character => character == '\n'));
        return error;
    }
}
