using ILGpuOptim.Data;

namespace ILGpuOptim.Tests.Data;

public sealed class DatasetTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    private string Write(string name, params byte[] bytes)
    {
        string path = folder[name];
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllBytes(path, bytes);
        return path;
    }

    [Theory]
    [InlineData(100, 0.1, 90)]
    [InlineData(7, 0.1, 6)]
    [InlineData(1, 0.1, 0)]
    [InlineData(10, 0, 10)]
    public void TheLastPartValidates(int length, double fraction, int training)
    {
        using var data = Dataset.FromTokens(TokenSequence.From([.. Enumerable.Range(0, length)]), length, null, fraction, "test");
        Assert.Equal(Enumerable.Range(0, training), data.Training.ToArray());
        Assert.Equal(Enumerable.Range(training, length - training), data.Validation.ToArray());
    }

    [Theory]
    [InlineData(1)]
    [InlineData(-0.1)]
    [InlineData(double.NaN)]
    public void SenselessFractionsAreRefused(double fraction) =>
        Assert.Throws<UserException>(() => Dataset.FromText("abc", new ByteTokenizer(), fraction, "test"));

    [Fact]
    public void TooLittleTextGivesTheNumbers()
    {
        var data = Dataset.FromText("Hello, world", new ByteTokenizer(), 0.25, "hello.txt");
        data.CheckBlock(2);
        Assert.Equal("hello.txt: 3 tokens to validate with are too few for a block of 3; give more text, a smaller --block or a larger --validation",
            Assert.Throws<UserException>(() => data.CheckBlock(3)).InFlags());
        Assert.StartsWith("hello.txt: 9 tokens to train on are too few for a block of 9", Assert.Throws<UserException>(() => data.CheckBlock(9)).Message);
    }

    [Fact]
    public void OpensTokenFilesInARowAndSplitsThem()
    {
        TokenFile.Write(folder["a.bin"], [1, 2, 3]);
        TokenFile.Write(folder["b.bin"], [70000], TokenFormat.LlmCWide);
        using Dataset data = Dataset.TryOpenTokens([folder["a.bin"], folder["b.bin"]], 0.5)!;
        Assert.Equal([1, 2], data.Training.ToArray());
        Assert.Equal([3, 70000], data.Validation.ToArray());
        Assert.Equal(70001, data.VocabularySize);
    }

    [Fact]
    public void OpensAFolderWithTrainingAndValidationFiles()
    {
        Assert.Null(Dataset.TryOpenTokens([folder.Path], 0.1));
        TokenFile.Write(folder["fine_train_000002.bin"], [3], TokenFormat.LlmC);
        TokenFile.Write(folder["fine_train_000001.bin"], [1, 2], TokenFormat.LlmC);
        Assert.Contains("no *val*.bin", Assert.Throws<UserException>(() => Dataset.TryOpenTokens([folder.Path], 0.1)).Message);
        TokenFile.Write(folder["val.bin"], [9]);
        using Dataset data = Dataset.TryOpenTokens([folder.Path], 0.1)!;
        Assert.Equal([1, 2, 3], data.Training.ToArray());
        Assert.Equal([9], data.Validation.ToArray());
        Assert.Equal(10, data.VocabularySize);
    }

    [Fact]
    public void TextIsNotTokens()
    {
        Assert.Null(Dataset.TryOpenTokens([], 0.1));
        Assert.Null(Dataset.TryOpenTokens(["a.txt", "b.bin"], 0.1));
    }

    [Fact]
    public void ReadsFilesAndFoldersInOrder()
    {
        string one = Write("one.txt", "\ufeffone"u8.ToArray());
        Write("texts/b.md", "two\n"u8.ToArray());
        Write("texts/a/x.TXT", "drei äöü 😀"u8.ToArray());
        Write("texts/aB.txt", "vier\n"u8.ToArray());
        Write("texts/ignored.json", "{}"u8.ToArray());
        Assert.Equal("one\ndrei äöü 😀\nvier\ntwo\n", TextSource.Read(one, folder["texts"]));
    }

    [Fact]
    public void WhatIsNoTextIsNamed()
    {
        Expect(folder["none.txt"], "there is no such file");
        Expect(Write("empty.txt"), "the file is empty");
        Expect(Write("zero.txt", 65, 0, 66), "zero bytes");
        Expect(Write("latin.txt", 0xEF, 0xBB, 0xBF, 65, 0xE4, 66), "byte 4 is not valid UTF-8");
        Expect(Write("cut.txt", 65, 0xC3), "is not valid UTF-8");
        Expect(Directory.CreateDirectory(folder["bare"]).FullName, "no .txt, .md or .text file");
    }

    private static void Expect(string path, string message)
    {
        string error = Assert.Throws<UserException>(() => TextSource.Read(path)).Message;
        Assert.StartsWith(path + ": ", error);
        Assert.Contains(message, error);
    }
}
