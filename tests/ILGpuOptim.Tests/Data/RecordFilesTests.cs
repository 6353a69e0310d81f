using ILGpuOptim.Data;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Data;

/// <summary>Files of records are not read as plain text, whose syntax would be trained on.</summary>
public sealed class RecordFilesTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Theory]
    [InlineData("a.jsonl", "{\"text\": \"In the beginning\"}\n", "JSON lines")]
    [InlineData("a.jsonl", "{\"conversations\": [{\"from\": \"human\", \"value\": \"hi\"}]}\n", "JSON lines")]
    [InlineData("a.ndjson", "{\"instruction\": \"do\", \"output\": \"done\"}\n", "JSON lines")]
    [InlineData("a.jsonl", "{\"messages\": ", "JSON lines")]
    [InlineData("a.jsonl.gz", "x", "JSON lines")]
    [InlineData("a.json", "[{\"messages\": []}]", "JSON is not plain text")]
    [InlineData("A.JSON", "{}", "JSON is not plain text")]
    [InlineData("a.csv", "text\nhello\n", "a table")]
    [InlineData("a.tsv", "text\tlabel\nhello\t1\n", "a table")]
    [InlineData("a.parquet", "PAR1", "Parquet")]
    [InlineData("a.txt.gz", "x", "packed")]
    public void TheyAreRefusedWhereTextIsRead(string name, string contents, string word)
    {
        File.WriteAllText(folder[name], contents);
        string message = Assert.Throws<UserException>(() => TextSource.Read(folder[name])).Message;
        Assert.StartsWith(folder[name] + ": ", message, StringComparison.Ordinal);
        Assert.Contains(word, message, StringComparison.Ordinal);
        Assert.Contains("prepare", message, StringComparison.Ordinal);
        Assert.Throws<UserException>(() => TrainingRun.LoadData(new TrainingSettings { Data = [folder[name]] }));
    }

    [Theory]
    [InlineData("a.json")]
    [InlineData("a.csv")]
    public void PreparationReadsNoneAsText(string name)
    {
        File.WriteAllText(folder[name], "text\nhello\n");
        Assert.Contains(".jsonl", Assert.Throws<UserException>(() => new DocumentSource().Read(folder[name]).ToList()).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("more.jsonl", true, false)]
    [InlineData("more/more.PARQUET", true, false)]
    [InlineData("more.txt.gz", true, false)]
    [InlineData("more.csv", true, true)]
    [InlineData("more.txt.zst", true, true)]
    [InlineData("LICENSE", false, false)]
    [InlineData("tokenizer.json", false, false)]
    public void AFolderIsNotReadInPart(string name, bool textRefuses, bool preparationRefuses)
    {
        File.WriteAllText(folder["a.txt"], "In the beginning\n");
        Directory.CreateDirectory(Path.GetDirectoryName(folder[name])!);
        File.WriteAllText(folder[name], "{}");
        AssertRefusal(textRefuses, () => TextSource.Read(folder.Path));
        AssertRefusal(preparationRefuses, () => DocumentSource.Files([folder.Path]));

        void AssertRefusal(bool refuses, Action read)
        {
            Exception? error = Record.Exception(read);
            if (refuses)
                Assert.StartsWith(folder[name] + ": of a folder, ", Assert.IsType<UserException>(error).Message, StringComparison.Ordinal);
            else
                Assert.Null(error);
        }
    }
}
