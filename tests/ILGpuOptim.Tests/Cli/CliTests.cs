using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;
using ILGpuOptim.Tests.Training;
using static ILGpuOptim.Tests.Cli.Tool;

namespace ILGpuOptim.Tests.Cli;

/// <summary>The tool as a user meets it: its own process, its output, its exit codes.</summary>
public class CliTests
{
    private static readonly string TinyModel = Goldens.Folder("models", "gpt2-tiny");

    [Fact]
    public void TrainsSamplesEvaluatesAndTells()
    {
        using var folder = new TemporaryFolder();
        string run = Path.Combine(folder.Path, "run");
        Outcome trained = Run("train", "--preset", "tiny", "--steps", "20", "--eval-interval", "10", "--out", run);
        Assert.Equal(0, trained.Code);
        Assert.Contains("validation loss", trained.Output, StringComparison.Ordinal);
        Assert.Contains("<svg", File.ReadAllText(Path.Combine(run, "loss.svg")), StringComparison.Ordinal);
        Assert.Equal(0, Run("sample", run, "--prompt", "And", "--tokens", "8").Code);
        Assert.Contains("perplexity", Run("eval", run).Output, StringComparison.Ordinal);
        Assert.Contains("20 of 20 steps are saved", Run("info", run).Output, StringComparison.Ordinal);
        Assert.Contains("cpu", Run("devices").Output, StringComparison.Ordinal);
        foreach (string[] command in (string[][])[["sample", run, "--tokens", "4", "--json"], ["eval", run, "--json"], ["info", run, "--json"], ["devices", "--json"]])
            Assert.NotEqual(JsonValueKind.Undefined, JsonDocument.Parse(Run(command).Output).RootElement.ValueKind);
        string copy = Path.Combine(folder.Path, "copy");
        Outcome repeated = Run("train", "--config", Path.Combine(run, "settings.json"), "--out", copy, "--json");
        Assert.All(repeated.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries), line => JsonDocument.Parse(line));
        Assert.Equal(MetricLines.Losses(run), MetricLines.Losses(copy));
    }

    [Fact]
    public void AT5TrainsAnswersAndIsEvaluated()
    {
        using var folder = new TemporaryFolder();
        string run = folder["run"];
        Outcome trained = Run("train", "--preset", "t5-tiny", "--steps", "20", "--eval-interval", "10", "--masked-fraction", "0.3", "--mean-span", "2", "--out", run);
        Assert.Equal((0, ""), (trained.Code, trained.Error));
        Assert.Contains("T5, 2 layers", trained.Output, StringComparison.Ordinal);
        Assert.Matches("accuracy .*of the masked tokens", Run("eval", run).Output);
        Outcome answer = Run("sample", run, "--prompt", "In the <extra_id_0> God", "--tokens", "8", "--temperature", "0", "--json");
        Assert.Equal((0, ""), (answer.Code, answer.Error));
        JsonElement json = JsonDocument.Parse(answer.Output).RootElement;
        int[] sentinels = [.. JsonDocument.Parse(File.ReadAllText(Path.Combine(run, "checkpoints", "step-0000020", "config.json"))).RootElement.GetProperty("sentinel_token_ids").EnumerateArray().Select(id => id.GetInt32())];
        int[] prompt = [.. json.GetProperty("prompt_ids").EnumerateArray().Select(id => id.GetInt32())];
        Assert.Equal((13, sentinels[0]), (prompt.Length, prompt[7]));
        Outcome ids = Run("sample", run, "--prompt-ids", string.Join(',', prompt), "--tokens", "8", "--temperature", "0");
        Assert.Equal(json.GetProperty("text").GetString(), ids.Output.TrimEnd('\r', '\n'));
        Assert.Contains("give --prompt, with <extra_id_0>", Run("sample", run).Error, StringComparison.Ordinal);

        // A run that goes on, and another that begins with its weights.
        Assert.Equal(0, Run("train", "--resume", run, "--steps", "25").Code);
        Outcome tuned = Run("train", "--from", run, "--block", "32", "--steps", "3", "--out", folder["tuned"]);
        Assert.Equal((0, ""), (tuned.Code, tuned.Error));
        Outcome packed = Run("train", "--from", run, "--block", "32", "--documents", "--out", folder["packed"]);
        Assert.Contains("add --pad", packed.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--eval-batches")]
    [InlineData("--validation")]
    public void TrainsWithoutValidation(string option)
    {
        using var folder = new TemporaryFolder();
        string run = folder["run"];
        Outcome trained = Run("train", "--preset", "tiny", "--steps", "10", "--checkpoint-interval", "5", option, "0", "--out", run);
        Assert.Equal(0, trained.Code);
        foreach (string output in (string[])[trained.Output, Run("train", "--resume", run).Output, Run("info", run).Output])
            Assert.DoesNotMatch("NaN|Infinity|∞|best", output);
        Assert.DoesNotContain(">validation<", File.ReadAllText(Path.Combine(run, "loss.svg")), StringComparison.Ordinal);
        Assert.Equal(["step-0000005", "step-0000010"], Directory.EnumerateDirectories(Path.Combine(run, "checkpoints")).Select(path => Path.GetFileName(path)).Order());
        JsonElement[] validations = [.. JsonDocument.Parse(Run("info", run, "--json").Output).RootElement.GetProperty("validations").EnumerateArray()];
        Assert.Equal(option == "--validation" ? 2 : 0, validations.Length);
        Assert.All(validations, line => Assert.Equal((JsonValueKind.Number, JsonValueKind.Null), (line.GetProperty("train_loss").ValueKind, line.GetProperty("val_loss").ValueKind)));
    }

    [Fact]
    public void TheBestLossIsThatOfTheWholeRun()
    {
        using var folder = new TemporaryFolder();
        Outcome trained = Run("train", "--preset", "tiny", "--steps", "10", "--eval-batches", "1", "--out", folder["run"]);
        string Best(string output) => Regex.Match(output, "best validation loss ([0-9.]+)").Value;
        Assert.NotEqual("", Best(trained.Output));
        Assert.Equal(Best(trained.Output), Best(Run("train", "--resume", folder["run"]).Output));
    }

    [Fact]
    public void SamplesFromIdsInJson()
    {
        Outcome outcome = Run("sample", TinyModel, "--prompt-ids", "1,2,3", "--prompt-ids", "4", "--count", "2", "--tokens", "5", "--temperature", "0", "--json");
        Assert.Equal(0, outcome.Code);
        JsonElement[] samples = [.. outcome.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => JsonDocument.Parse(line).RootElement)];
        Assert.Equal(4, samples.Length);
        Assert.Equal([1, 2, 3], samples[1].GetProperty("prompt_ids").EnumerateArray().Select(id => id.GetInt32()));
        Assert.Equal(samples[2].GetProperty("ids").ToString(), samples[3].GetProperty("ids").ToString());
        Assert.All(samples, sample => Assert.All(sample.GetProperty("log_probabilities").EnumerateArray(), value => Assert.True(value.GetDouble() < 0)));
        Assert.StartsWith("1,2,3,", Run("sample", TinyModel, "--prompt-ids", "1,2,3", "--tokens", "2").Output, StringComparison.Ordinal);
    }

    [Fact]
    public void ChecksAnOptimizerAndListsItsKernels()
    {
        Outcome check = Run("check", "lion");
        Assert.Equal(0, check.Code);
        Assert.Matches(@"[0-9]+ passed, 0 failed, [0-9]+ skipped", check.Output);
        Assert.Contains("| lion | `exp_avg` 768×2304 | 7,077,888 |", check.Output, StringComparison.Ordinal);
        Assert.StartsWith(
            "// lion: 1 kernel, for a matrix of 768 × 2304 and a vector of 2304, as PTX for sm_80\n// kernel 1 of 1: GpuMapKernels.Map of MoveRule1<Lion.Direction>, groups of ",
            Run("kernels", "lion").Output.ReplaceLineEndings("\n"), StringComparison.Ordinal);
    }

    [Fact]
    public void CheckpointsOfLlama2CComeAndGo()
    {
        using var folder = new TemporaryFolder();
        using (var device = new CpuDevice(1))
        {
            var config = new LlamaConfig { VocabularySize = 9, HiddenSize = 8, IntermediateSize = 5, Layers = 1, Heads = 2, ContextLength = 16, NormEpsilon = 1e-5f };
            using var model = new Transformer(config, new Initializer(device, 1));
            Llama2CFile.Export(model, folder["model.bin"]);
        }

        JsonElement imported = JsonDocument.Parse(Run("import", folder["model.bin"], "--out", folder["model"], "--json").Output).RootElement;
        Assert.Equal(folder["model"], imported.GetProperty("folder").GetString());
        Assert.InRange(imported.GetProperty("parameters").GetInt64(), 1, new FileInfo(folder["model.bin"]).Length / 4);
        JsonElement exported = JsonDocument.Parse(Run("export", folder["model"], "--out", folder["again.bin"], "--json").Output).RootElement;
        Assert.Equal("llama2c", exported.GetProperty("format").GetString());
        Assert.Equal(new FileInfo(folder["again.bin"]).Length, exported.GetProperty("files")[0].GetProperty("bytes").GetInt64());
        Assert.Equal(File.ReadAllBytes(folder["model.bin"]), File.ReadAllBytes(folder["again.bin"]));
        Assert.StartsWith("1,", Run("sample", folder["model"], "--prompt-ids", "1", "--tokens", "3").Output, StringComparison.Ordinal);
        Assert.Contains("exists already", Run("import", folder["model.bin"], "--out", folder["model"]).Error, StringComparison.Ordinal);

        // The weights begin with the embeddings.
        byte[] bytes = File.ReadAllBytes(folder["model.bin"]);
        BitConverter.TryWriteBytes(bytes.AsSpan(28 + 4 * 11), float.NaN);
        File.WriteAllBytes(folder["nan.bin"], bytes);
        var result = Run("import", folder["nan.bin"], "--out", folder["nan"]);
        Assert.Equal(0, result.Code);
        Assert.Contains($"note: {folder["nan.bin"]}: model.embed_tokens.weight: 1 of 72 weights are NaN or infinite", result.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void Verifies()
    {
        Outcome model = Run("verify", "model", Goldens.Folder("models", "gpt2-tiny"));
        Assert.Equal(0, model.Code);
        Assert.Contains("40 of 40", model.Output, StringComparison.Ordinal);
        Assert.NotEqual(0, Run("verify", "optimizers", Goldens.Folder("models")).Code);
        Outcome optimizers = Run("verify", "optimizers", Goldens.Folder("optimizers"), "--device", "reference");
        Assert.Equal(0, optimizers.Code);
        Assert.Contains("38 of 38 within their bounds on reference", optimizers.Output, StringComparison.Ordinal);
    }

    public static TheoryData<string, string[]> Mistakes => new()
    {
        { "no such file", ["train", "--data", "nowhere.txt"] },
        { "is empty", ["train", "--data", "EMPTY"] },
        { "not text", ["train", "--data", "BINARY"] },
        { "too few for a block of 64", ["train", "--data", "SHORT"] },
        { "did you mean adamw", ["train", "--optimizer", "adamww"] },
        { "came has no rank; leave it out, or use dion, galore, fira, apollo, apollo-mini", ["train", "--optimizer", "came", "--rank", "2"] },
        { "adamw has no limiter_ignores_zero", ["train", "--optimizer-option", "limiter_ignores_zero=true"] },
        { "--optimizer-option rnk=2: \"rnk\" is not a setting of an optimizer; did you mean rank", ["train", "--optimizer-option", "rnk=2"] },
        { "beta1 is given twice, by --optimizer-option; give it once", ["train", "--optimizer-option", "beta1=0.5", "beta1=0.6"] },
        { "beta1 is given twice, by --optimizer-option and --beta1; give it once", ["memory", "--beta1", "0.5", "--optimizer-option", "beta1=0.5"] },
        { "weight_decay is given twice, by --optimizer and --weight-decay; give it once", ["lr-find", "--weight-decay", "0", "--optimizer", "adamw:weight-decay=0.1"] },
        { "adamw:beta1=1: beta1 1: it must be a number of at least 0 and below 1", ["train", "--optimizer", "adamw:beta1=1"] },
        { "adamw has no rank", ["profile", "--optimizer", "adamw:rank=2"] },
        { "lion+cautious:beta1=2: beta1 2: it must be", ["check", "lion+cautious:beta1=2"] },
        { "adamw:lr=0.1: the learning rate is no option; set --lr", ["train", "--optimizer", "adamw:lr=0.1"] },
        { "--optimizer-option learning-rate=0.1: the learning rate is no option; set --lr", ["train", "--optimizer-option", "learning-rate=0.1"] },
        { "--optimizers: adamw:beta1=0.5 and adamw:beta1=.5 are the same; leave one out", ["compare", "--optimizers", "adamw:beta1=0.5,adamw:beta1=.5"] },
        { "lion has no rank", ["kernels", "lion:rank=2"] },
        { "--optimizers: 5 is no optimizer; numbers are written as 0.001 or 1e-3, without commas", ["compare", "--optimizers", "adamw:beta1=0,5"] },
        { "galore:rank=0: rank 0: it must be a whole number from 1", ["train", "--optimizer", "galore:rank=0"] },
        { "--alpha 1e39: it must be a number of at least 0 in single precision, in which this is Infinity", ["train", "--optimizer", "ademamix", "--alpha", "1e39"] },
        { "channel scaling needs the short side", ["train", "--optimizer", "apollo", "--optimizer-option", "rank=4", "projection_type=right"] },
        { "came:rank=2: came has no rank", ["compare", "--optimizers", "came:rank=2"] },
        { "--masked-fraction 0.3: GPT-2 predicts each next token", ["train", "--masked-fraction", "0.3"] },
        { "--mean-span 4: GPT-2 does not predict spans", ["memory", "--mean-span", "4"] },
        { "--mean-span 4: BERT does not predict spans", ["train", "--preset", "bert-tiny", "--mean-span", "4"] },
        { "--final-rate 0.5: a constant schedule has no final rate", ["train", "--schedule", "constant", "--final-rate", "0.5"] },
        { "adamw, came have no rank; leave it out, or use dion, galore", ["compare", "--optimizers", "adamw,came", "--rank", "4"] },
        { "adamw has no low_rank; leave it out, or use muon", ["compare", "--optimizers", "adamw", "--low-rank", "h.*"] },
        { "there is no flag --masked-fraction; see ilgpuoptim sample --help", ["sample", TinyModel, "--masked-fraction", "0.3"] },
        { "did you mean shakespeare-char", ["train", "--preset", "shakespear-char"] },
        { "did you mean cpu", ["train", "--device", "cp"] },
        { "use 4 or 8", ["train", "--heads", "5"] },
        { "cannot be written", ["train", "--out", "EMPTY"] },
        { "use a smaller --batch", ["train", "--hidden-size", "32768", "--layers", "64"] },
        { "no run to resume", ["train", "--resume", "nowhere"] },
        { "--batch 0: it must be a whole number from 1 to", ["train", "--batch", "0"] },
        { "no such folder", ["sample", "nowhere"] },
        { "did you mean came", ["compare", "--optimizers", "adamw,cam"] },
        { "did you mean came", ["check", "cam"] },
        { "--lr fast: it must be a number above 0", ["compare", "--lr", "1e-3,fast"] },
        { "not empty and holds no comparison", ["compare", "--out", "."] },
        { "--lr: the protocol claims.json states all settings", ["compare", "--protocol", "claims.json", "--lr", "1e-3"] },
        { "--dry-run needs --protocol", ["compare", "--dry-run"] },
        { "no run in this folder", ["info", "nowhere"] },
        { "--prompt-ids 1,2,3", ["sample", TinyModel, "--prompt", "text"] },
        { "--prompt-ids 1,2,3", ["sample", TinyModel] },
        { "is not a token id", ["sample", TinyModel, "--prompt-ids", "1,x"] },
        { "vocabulary ends at", ["sample", TinyModel, "--prompt-ids", "1,999999"] },
        { "--top-p 2: it must be a number from 0 to 1", ["sample", TinyModel, "--prompt-ids", "1", "--top-p", "2"] },
        { "--count 0", ["sample", TinyModel, "--prompt-ids", "1", "--count", "0"] },
        { "the file is empty", ["import", "EMPTY", "--out", "model"] },
        { "--nesterov= has no value", ["train", "--preset", "tiny", "--optimizer", "sgd", "--nesterov=", "--steps", "1"] },
        { "--steps= has no value", ["train", "--steps=", "--preset", "tiny"] },
        { "head_size = 7 does not divide", ["train", "--preset", "llama-tiny", "--optimizer", "adam-mini", "--head-size", "7", "--steps", "1"] },
        { "there is no such file", ["import", "nowhere.bin", "--out", "model"] },
        { "this model is a GPT-2", ["export", TinyModel, "--out", "model.bin"] },
        { "the extension \".x\" names no format", ["export", TinyModel, "--out", "model.x"] },
        { "only --format gguf has types", ["export", TinyModel, "--out", "model.onnx", "--type", "f16"] },
        { "settings.json", ["memory", "--resume", "nowhere"] },
        { "needs a tokenizer", ["sample", TinyModel, "--prompt-ids", "1", "--stop", "x"] },
    };

    [Theory]
    [MemberData(nameof(Mistakes))]
    public void AMistakeGetsOneClearLine(string message, string[] arguments)
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(Path.Combine(folder.Path, "EMPTY"), "");
        File.WriteAllBytes(Path.Combine(folder.Path, "BINARY"), [65, 0, 66]);
        File.WriteAllText(Path.Combine(folder.Path, "SHORT"), "too short");
        Outcome outcome = Run(folder.Path, [.. arguments.Select(argument => argument.All(char.IsUpper) ? Path.Combine(folder.Path, argument) : argument)]);
        Assert.NotEqual(0, outcome.Code);
        string line = Assert.Single(outcome.Error.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.StartsWith("error: ", line, StringComparison.Ordinal);
        Assert.Contains(message, line, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", outcome.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void AnUnknownFlagIsRefused() => Assert.NotEqual(0, Run("train", "--stepz", "3").Code);

    [Theory]
    [InlineData("INT")]
    [InlineData("TERM")]
    [InlineData("HUP")]
    public void ASignalSavesFirst(string signal)
    {
        SkipUnlessHeard(signal);
        using var folder = new TemporaryFolder();
        string run = Path.Combine(folder.Path, "run");
        using Process process = Start(folder.Path, ["train", "--preset", "tiny", "--steps", "100000", "--checkpoint-interval", "0", "--out", run, "--json"]);
        while (process.StandardOutput.ReadLine() is { } line && !line.Contains("\"step\":20,", StringComparison.Ordinal))
        {
        }

        Send(signal, process);
        process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.Equal(130, process.ExitCode);
        Assert.Single(Directory.EnumerateDirectories(Path.Combine(run, "checkpoints")));
    }

    [Fact]
    public void AnInterruptEndsALongStepBetweenItsBatches()
    {
        SkipUnlessHeard("INT");
        using var folder = new TemporaryFolder();
        using Process process = Start(folder.Path, ["train", "--preset", "tiny", "--accumulate", "1000000000", "--out", "run", "--json"]);
        while (process.StandardOutput.ReadLine() is { } line && !line.Contains("\"step\":0,", StringComparison.Ordinal))
        {
        }

        Thread.Sleep(500);
        Send("INT", process);
        AssertInterrupted(process);
    }

    [Fact]
    public void ASecondInterruptEndsALongValidation()
    {
        SkipUnlessHeard("INT");
        using var folder = new TemporaryFolder();
        using Process process = Start(folder.Path, ["train", "--preset", "tiny", "--eval-batches", "1000000", "--out", "run"]);
        while (process.StandardOutput.ReadLine() is { } line && !line.StartsWith("optimizer", StringComparison.Ordinal))
        {
        }

        Thread.Sleep(1500);
        Send("INT", process);
        Assert.StartsWith("stopping after this step", process.StandardError.ReadLine(), StringComparison.Ordinal);
        Send("INT", process);
        AssertInterrupted(process);
    }

    private static void SkipUnlessHeard(string signal)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "signals are sent by kill");
        Assert.SkipWhen(Ignores(signal switch { "HUP" => 1, "INT" => 2, _ => 15 }), "this process was started to ignore this signal, as shells start what runs in the background, and so are its children");
    }

    private static void Send(string signal, Process process)
    {
        using Process kill = Process.Start("kill", [$"-{signal}", $"{process.Id}"]);
        kill.WaitForExit();
    }

    private static void AssertInterrupted(Process process)
    {
        bool ended = process.WaitForExit(60_000);
        if (!ended)
            process.Kill();
        Assert.True(ended);
        Assert.Equal(130, process.ExitCode);
    }

    [Fact]
    public void ResumingTellsWhatItCannotChange()
    {
        using var folder = new TemporaryFolder();
        Assert.Equal(0, Run(folder.Path, ["train", "--preset", "tiny", "--steps", "1", "--out", "run"]).Code);
        string settings = File.ReadAllText(folder["run/settings.json"]);
        Assert.Contains("leave out --tokenizer", Run(folder.Path, ["train", "--resume", "run", "--steps", "2", "--tokenizer", "byte"]).Error, StringComparison.Ordinal);
        Assert.Contains("leave out --from", Run(folder.Path, ["train", "--resume", "run", "--steps", "2", "--from", TinyModel]).Error, StringComparison.Ordinal);
        Assert.Equal(settings, File.ReadAllText(folder["run/settings.json"]));
        Assert.Equal(Run("memory", "--preset", "tiny").Output, Run(folder.Path, ["memory", "--resume", "run"]).Output);
    }

    /// <summary>The run that trained last, not the one that was made last; only runs directly below runs/.</summary>
    [Fact]
    public void LastIsTheRunThatTrainedLast()
    {
        using var folder = new TemporaryFolder();
        Assert.Contains("there is no run below", Run(folder.Path, ["train", "--resume", "last"]).Error, StringComparison.Ordinal);
        foreach (string name in (string[])["runs/a", "runs/b", "other"])
            Assert.Equal(0, Run(folder.Path, ["train", "--preset", "tiny", "--steps", "2", "--eval-batches", "0", "--out", name]).Code);
        File.SetLastWriteTimeUtc(folder["runs/a/metrics.jsonl"], DateTime.UtcNow.AddMinutes(1));
        Assert.Contains("step      3/3", Run(folder.Path, ["train", "--resume", "last", "--steps", "3"]).Output, StringComparison.Ordinal);
        Assert.Equal((3, 2), (ILGpuOptim.Training.RunMetrics.Read(folder["runs/a"]).Steps.Count, ILGpuOptim.Training.RunMetrics.Read(folder["runs/b"]).Steps.Count));
        Assert.Contains("no run to resume", Run(folder.Path, ["train", "--resume", "./last"]).Error, StringComparison.Ordinal);
    }

    /// <summary>Linux tells which signals a process ignores as bits of a number in base sixteen.</summary>
    private static bool Ignores(int signal) => OperatingSystem.IsLinux() && File.ReadLines("/proc/self/status")
        .Where(line => line.StartsWith("SigIgn:", StringComparison.Ordinal))
        .Any(line => (ulong.Parse(line["SigIgn:".Length..], NumberStyles.HexNumber | NumberStyles.AllowLeadingWhite, CultureInfo.InvariantCulture) & (1UL << (signal - 1))) != 0);
}
