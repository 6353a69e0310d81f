using System.Diagnostics;
using ILGpuOptim.Data;
using ILGpuOptim.Files;
using ILGpuOptim.Lab;
using ILGpuOptim.Models;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Files;

/// <summary>A pipe or device in place of a file that a folder should hold is refused or counts as empty, and is never opened: reading would wait or never end.</summary>
public sealed class PipesInFoldersTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public PipesInFoldersTests() => Assert.SkipUnless(OperatingSystem.IsLinux(), "pipes are made with Linux's mkfifo");

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("tokenizer.json")]
    [InlineData("chat_template.jinja")]
    [InlineData("tokenizer_config.json")]
    [InlineData("ilgpuoptim-tokenizer.json")]
    public void OfTokenizers(string name)
    {
        File.WriteAllText(folder["tokenizer.json"], """{"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}""");
        Assert.NotNull(Tokenizers.Load(folder.Path));
        foreach (string path in Replace(name))
            Assert.StartsWith($"{path}: the file is empty, or it is a pipe or a device", Assert.Throws<UserException>(() => Tokenizers.Load(folder.Path)).Message);
    }

    [Theory]
    [InlineData("tokenizer.json")]
    [InlineData("merges.txt")]
    [InlineData("chat_template.jinja")]
    public void PointersOfGitLfsAreRefusedInTokenizersAlike(string name)
    {
        File.WriteAllText(folder["vocab.json"], """{"a": 0}""");
        File.WriteAllText(folder["merges.txt"], "#version: 0.2\n");
        Assert.NotNull(Tokenizers.Load(folder.Path));
        File.WriteAllText(folder[name], "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n");
        Assert.StartsWith($"{folder[name]}: a Git LFS pointer", Assert.Throws<UserException>(() => Tokenizers.Load(folder.Path)).Message);
    }

    [Fact]
    public void OfLlama2CAndRecordedResults()
    {
        foreach (string path in Replace("tokenizer.bin"))
            Assert.Contains("a pipe or a device", Assert.Throws<UserException>(() => Llama2CTokenizer.Import(path, 10, folder.Path)).Message);
        foreach (string path in Replace("model.bin"))
            Assert.Contains("a pipe or a device", Assert.Throws<UserException>(() => Llama2CFile.Import(path, null!)).Message);
        foreach (string path in Replace("index.json"))
            Assert.Contains("a pipe or a device", Assert.Throws<UserException>(() => GoldenCase.ReadIndex(folder.Path)).Message);
        foreach (string path in Replace("expected.json"))
            Assert.Contains("a pipe or a device", Assert.Throws<UserException>(() => new ModelGolden(folder.Path)).Message);
    }

    [Fact]
    public void OfRuns()
    {
        foreach (string path in Replace(TrainingRun.MetricsFile))
        {
            Assert.Empty(RunMetrics.Read(folder.Path).Steps);
            MetricsWriter.Trim(folder.Path, 10);
            Assert.Null(new FileInfo(path).LinkTarget);
        }

        File.WriteAllText(folder[Checkpoint.FileName], """
            {"step": 1, "optimizer": "sgd", "random_stream": 1, "parameter_steps": {}, "files": {"config.json": "1", "model.safetensors": "2", "optimizer.safetensors": "3"}}
            """);
        File.WriteAllText(folder["other.json"], File.ReadAllText(folder[Checkpoint.FileName]));
        foreach (string path in Replace("config.json"))
            Assert.StartsWith($"{path}: the file differs from the one that was saved", Assert.Throws<UserException>(() => Checkpoint.Open(folder.Path)).Message);
        foreach (string path in Replace(Checkpoint.FileName))
            Assert.Contains("a pipe or a device", Assert.Throws<UserException>(() => Checkpoint.Open(folder.Path)).Message);
        File.Delete(folder[Checkpoint.FileName]);
        File.CreateSymbolicLink(folder[Checkpoint.FileName], folder["other.json"]);
        Assert.Contains("config.json: the file differs from the one that was saved", Assert.Throws<UserException>(() => Checkpoint.Open(folder.Path)).Message);
    }

    [Fact]
    public void OfListsOfFiles()
    {
        File.WriteAllText(folder["a.bin"], "text");
        FolderManifest.Write(folder.Path);
        FolderManifest.Check(folder.Path);
        foreach (string path in Replace("a.bin"))
            Assert.Contains("a.bin was changed", Assert.Throws<UserException>(() => FolderManifest.Check(folder.Path)).Message);
        foreach (string path in Replace(FolderManifest.FileName))
            Assert.Contains("a pipe or a device", Assert.Throws<UserException>(() => FolderManifest.Check(folder.Path)).Message);
    }

    /// <summary>Puts a pipe, then a link to a device in place of a file.</summary>
    private IEnumerable<string> Replace(string name)
    {
        string path = folder[name];
        File.Delete(path);
        using (Process made = Process.Start("mkfifo", path))
            made.WaitForExit();
        yield return path;
        File.Delete(path);
        File.CreateSymbolicLink(path, "/dev/zero");
        yield return path;
    }
}
