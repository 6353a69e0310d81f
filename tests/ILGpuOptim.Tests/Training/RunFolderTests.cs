using System.Text.Json.Nodes;
using ILGpuOptim.Compute;
using ILGpuOptim.Data;
using ILGpuOptim.Data.Tokenization;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Training;

/// <summary>What a run folder holds cannot be lost or mixed, and its readers do not disturb it.</summary>
public sealed class RunFolderTests : IDisposable
{
    private static readonly TrainingSettings Tiny = Presets.Find("tiny") with { Layers = 1, Heads = 1, HiddenSize = 8, Block = 8, Batch = 2, Steps = 6, EvalInterval = 2, EvalBatches = 1, CheckpointInterval = 2, Keep = 1, Warmup = 1 };

    private readonly TemporaryFolder folder = new();
    private readonly CpuDevice device = new(1);

    public void Dispose()
    {
        device.Dispose();
        folder.Dispose();
    }

    private string Run => folder["run"];

    private string Metrics => Path.Combine(Run, TrainingRun.MetricsFile);

    private string[] Steps => [.. TrainingRun.Checkpoints(Run).Select(item => Path.GetFileName(item.Path))];

    private void Train(int steps)
    {
        using TrainingRun run = TrainingRun.Begin(Run, Tiny with { Steps = steps }, device);
        Assert.True(run.Train(TestContext.Current.CancellationToken));
    }

    private void Resume(int steps)
    {
        using TrainingRun run = TrainingRun.Resume(Run, _ => device, settings => settings with { Steps = steps });
        Assert.True(run.Train(TestContext.Current.CancellationToken));
    }

    [Fact]
    public void TheSecondProcessInAFolderIsRefused()
    {
        using (TrainingRun run = TrainingRun.Begin(Run, Tiny, device))
        {
            Assert.Contains($"another process ({Environment.ProcessId})", Assert.Throws<UserException>(() => TrainingRun.Resume(Run, _ => device)).Message);
            Assert.Contains("there is a run already", Assert.Throws<UserException>(() => TrainingRun.Begin(Run, Tiny, device)).Message);
            Assert.True(run.Train(TestContext.Current.CancellationToken));
        }

        Resume(8);
    }

    [Theory]
    [InlineData("loss.svg")]
    [InlineData("metrics.jsonl")]
    [InlineData("checkpoints")]
    public void ANewRunNeedsAFolderOfItsOwn(string entry)
    {
        Directory.CreateDirectory(Run);
        File.WriteAllText(Path.Combine(Run, entry), "precious");
        Assert.Contains(entry, Assert.Throws<UserException>(() => TrainingRun.Begin(Run, Tiny, device)).Message);
        Assert.Equal([Path.Combine(Run, entry)], Directory.GetFileSystemEntries(Run));
    }

    [Theory]
    [InlineData("lock", "precious")]
    [InlineData("lock.pid", "precious")]
    public void FilesOfTheLocksNamesThatAreOthersStay(string name, string contents)
    {
        Directory.CreateDirectory(Run);
        File.WriteAllText(Path.Combine(Run, name), contents);
        Assert.Contains(name, Assert.Throws<UserException>(() => TrainingRun.Begin(Run, Tiny, device)).Message);
        Assert.Equal(contents, File.ReadAllText(Path.Combine(Run, name)));
    }

    private string TokenizerWithTemplates()
    {
        string bpe = folder["bpe"];
        Directory.CreateDirectory(Path.Combine(bpe, "additional_chat_templates"));
        var trainer = new BytePairTrainer();
        trainer.Add("And God said, Let there be light: and there was light.");
        trainer.Train(270).Save(bpe);
        File.WriteAllText(Path.Combine(bpe, "additional_chat_templates", "tools.jinja"), "tools");
        return bpe;
    }

    /// <summary>A tokenizer may save files in subfolders: they belong to the checkpoint and go with it, but what others put there stays.</summary>
    [Fact]
    public void CheckpointsWithSubfoldersAreRemovedAndReplacedWhole()
    {
        string bpe = TokenizerWithTemplates();
        File.WriteAllText(folder["a.txt"], string.Concat(Enumerable.Repeat("And God said, Let there be light. ", 60)));
        using (TrainingRun run = TrainingRun.Begin(Run, Tiny with { Data = [folder["a.txt"]], Tokenizer = bpe, EvalBatches = 0 }, device))
            Assert.True(run.Train(TestContext.Current.CancellationToken));
        Assert.Equal(["step-0000006"], Steps);
        string last = Path.Combine(Run, "checkpoints", "step-0000006"), template = Path.Combine(last, "additional_chat_templates", "tools.jinja");
        Assert.Equal("tools", File.ReadAllText(template));
        Checkpoint.Open(last);
        File.WriteAllText(template, "changed");
        Assert.Contains("tools.jinja", Assert.Throws<UserException>(() => Checkpoint.Open(last)).Message);
        File.WriteAllText(Path.Combine(last, "additional_chat_templates", "mine.jinja"), "precious");
        Checkpoint.Remove(last);
        Assert.True(File.Exists(Path.Combine(last, "additional_chat_templates", "mine.jinja")));
    }

    [Fact]
    public void PreparedFoldersWithSubfoldersAreReplacedWhole()
    {
        string bpe = TokenizerWithTemplates();
        File.WriteAllText(folder["a.txt"], string.Concat(Enumerable.Repeat("And God said, Let there be light.\n", 2000)));
        for (int i = 0; i < 2; i++)
            new Preparation(Tokenizers.Open(bpe), 0.2, "text", null).Run([folder["a.txt"]], folder["out"]);
        Assert.Equal("tools", File.ReadAllText(folder["out", "additional_chat_templates", "tools.jinja"]));
        using (Dataset.TryOpenTokens([folder["out"]], 0.1))
            File.WriteAllText(folder["out", "additional_chat_templates", "mine.jinja"], "precious");
        Assert.Throws<UserException>(() => new Preparation(Tokenizers.Open(bpe), 0.2, "text", null).Run([folder["a.txt"]], folder["out"]));
        Assert.Equal("precious", File.ReadAllText(folder["out", "additional_chat_templates", "mine.jinja"]));
    }

    [Fact]
    public void ACheckpointThatIsReadOrHoldsMoreThanWasSavedStays()
    {
        Train(2);
        using (ModelSource reader = ModelSource.Open(Run))
        {
            Assert.EndsWith("step-0000002", reader.Folder, StringComparison.Ordinal);
            Resume(6);
            Assert.Contains("step-0000002", Steps);
        }

        File.WriteAllText(Path.Combine(Run, "checkpoints", "step-0000002", "notes.txt"), "precious");
        Resume(8);
        Assert.Contains("step-0000002", Steps);
        File.Delete(Path.Combine(Run, "checkpoints", "step-0000002", "notes.txt"));
        Resume(12);
        Assert.DoesNotContain("step-0000002", Steps);
        Assert.Contains("step-0000012", Steps);
        Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(Run, "checkpoints"), "*partial*"));
    }

    [Theory]
    [InlineData("")]
    [InlineData("garbage")]
    [InlineData("\"../../../../etc/passwd\"")]
    [InlineData("{\"step\":1e400,\"loss\":1}")]
    [InlineData("{\"step\":\"3\",\"loss\":1}")]
    [InlineData("{\"step\":4,\"train_loss\":3.1,[[]]:3.08}")]
    [InlineData("{\"loss\":1}")]
    [InlineData("[[[")]
    [InlineData("null")]
    public void ADamagedLineCostsItselfAlone(string damage)
    {
        Train(6);
        string[] lines = File.ReadAllLines(Metrics);
        RunMetrics whole = RunMetrics.Read(Run);
        File.WriteAllLines(Metrics, [.. lines[..2], damage, .. lines[2..]]);
        Assert.Equal(whole.Steps, RunMetrics.Read(Run).Steps);
        Assert.Equal(whole.Validations, RunMetrics.Read(Run).Validations);
        Resume(8);
        string[] resumed = File.ReadAllLines(Metrics);
        Assert.Equal([.. lines[..2], damage, .. lines[2..]], resumed[..(lines.Length + 1)]);
        Assert.Equal([1, 2, 3, 4, 5, 6, 7, 8], RunMetrics.Read(Run).Steps.Select(item => (int)item.Step));
    }

    [Fact]
    public void ANumberThatIsNoneIsMissing()
    {
        Directory.CreateDirectory(Run);
        File.WriteAllText(Metrics, "{\"step\":1,\"loss\":[1]}\n{\"step\":2,\"train_loss\":1e999,\"val_loss\":4294967295}\n");
        Assert.True(double.IsNaN(Assert.Single(RunMetrics.Read(Run).Steps).Loss));
        Assert.Equal((2L, (double?)null, (double?)4294967295), Assert.Single(RunMetrics.Read(Run).Validations));
    }

    [Fact]
    public void HalfALineAtTheEndGoesAway()
    {
        Train(6);
        string whole = File.ReadAllText(Metrics);
        File.AppendAllText(Metrics, "{\"step\":7,\"loss\":3.0,\"lr\":0.001,\"grad_norm\":1}\n{\"step\":8,\"lo");
        Resume(8);
        Assert.StartsWith(whole + "{\"step\":6,\"began\":", File.ReadAllText(Metrics), StringComparison.Ordinal);
        Assert.Equal([1, 2, 3, 4, 5, 6, 7, 8], RunMetrics.Read(Run).Steps.Select(item => (int)item.Step));
    }

    [Fact]
    public void ReadersSeeAFileThatIsBeingWritten()
    {
        Directory.CreateDirectory(Run);
        using var writer = new MetricsWriter(Run);
        writer.Append(new() { ["step"] = 1, ["loss"] = 2.5 });
        writer.Flush();
        Assert.Equal(2.5, Assert.Single(RunMetrics.Read(Run).Steps).Loss);
    }

    [Theory]
    [InlineData("/dev/zero")]
    [InlineData("../../settings.json")]
    [InlineData("..")]
    [InlineData("")]
    [InlineData("a\\b")]
    [InlineData("checkpoint.json")]
    public void ACheckpointNamesFilesBesideItAlone(string name) => Damage(json => json["files"]![name] = new string('0', 64), "is not the name of a file beside it");

    [Theory]
    [InlineData("files", null)]
    [InlineData("optimizer", null)]
    [InlineData("parameter_steps", null)]
    [InlineData("step", "-1")]
    [InlineData("step", "\"6\"")]
    [InlineData("files", "{}")]
    [InlineData("files", "[]")]
    [InlineData("surprise", "1")]
    public void ADamagedDescriptionIsRefused(string field, string? value) => Damage(json => json[field] = value is null ? null : JsonNode.Parse(value), "checkpoint is damaged");

    [Fact]
    public void AParameterWithoutItsStepsIsRefused() => Damage(json => json["parameter_steps"]!.AsObject().Remove("wte.weight"), "parameter_steps has no wte.weight");

    [Fact]
    public void ADeviceInACheckpointIsNotRead()
    {
        Assert.SkipUnless(File.Exists("/dev/zero"), "needs /dev/zero");
        Train(2);
        string weights = Path.Combine(Run, "checkpoints", Steps[^1], "model.safetensors");
        File.Delete(weights);
        File.CreateSymbolicLink(weights, "/dev/zero");
        Assert.Contains("differs from the one that was saved", Assert.Throws<UserException>(() => TrainingRun.Resume(Run, _ => device)).Message);
    }

    private void Damage(Action<JsonObject> change, string message)
    {
        Train(2);
        string path = Path.Combine(Run, "checkpoints", Steps[^1], Checkpoint.FileName);
        JsonObject json = JsonNode.Parse(File.ReadAllText(path))!.AsObject();
        change(json);
        File.WriteAllText(path, json.ToJsonString());
        string[] before = Directory.GetFileSystemEntries(folder.Path, "*", SearchOption.AllDirectories);
        string text = Assert.Throws<UserException>(() => TrainingRun.Resume(Run, _ => device)).Message;
        Assert.Contains(message, text);
        Assert.DoesNotContain("\n", text);
        Assert.Equal(before.Order(), Directory.GetFileSystemEntries(folder.Path, "*", SearchOption.AllDirectories).Order());
    }

    [Fact]
    public void ACallbackThatCannotWriteSavesFirst()
    {
        using (TrainingRun run = TrainingRun.Begin(Run, Tiny with { Steps = 100, CheckpointInterval = 0 }, device))
        {
            run.Stepped = result => _ = result.Step == 5 ? throw new IOException("the console is closed") : 0;
            Assert.Equal("the console is closed", Assert.Throws<IOException>(() => run.Train(TestContext.Current.CancellationToken)).Message);
        }

        Assert.Equal(["step-0000005"], Steps);
        Assert.Equal([1, 2, 3, 4, 5], RunMetrics.Read(Run).Steps.Select(item => (int)item.Step));
    }

    [Fact]
    public void AFullDiskForTheLossesSavesFirst()
    {
        Assert.SkipUnless(File.Exists("/dev/full"), "needs /dev/full");
        using (TrainingRun run = TrainingRun.Begin(Run, Tiny with { Steps = 100, CheckpointInterval = 0, EvalBatches = 0 }, device))
        {
            File.CreateSymbolicLink(Metrics, "/dev/full");
            Assert.Contains("the losses cannot be written", Assert.Throws<UserException>(() => run.Train(TestContext.Current.CancellationToken)).Message);
        }

        Assert.InRange(Assert.Single(TrainingRun.Checkpoints(Run)).Step, 1, 99);
    }
}
