using ILGpuOptim.Files;

namespace ILGpuOptim.Tests.Files;

public sealed class AtomicFolderTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    private string Target => folder["step-1"];

    private void WriteVersion(string text) => AtomicFolder.Write(Target, partial =>
    {
        File.WriteAllText(Path.Combine(partial, "a.txt"), text);
        Directory.CreateDirectory(Path.Combine(partial, "inner"));
        File.WriteAllText(Path.Combine(partial, "inner", "b.txt"), text);
    });

    private void ExpectOnly(string text)
    {
        Assert.Equal([Target], Directory.GetFileSystemEntries(folder.Path));
        Assert.Equal(text, File.ReadAllText(Path.Combine(Target, "a.txt")));
        Assert.Equal(text, File.ReadAllText(Path.Combine(Target, "inner", "b.txt")));
    }

    [Fact]
    public void WritesAndReplaces()
    {
        WriteVersion("one");
        ExpectOnly("one");
        WriteVersion("two");
        ExpectOnly("two");
    }

    [Fact]
    public void NothingIsVisibleUntilItIsWhole()
    {
        WriteVersion("one");
        AtomicFolder.Write(Target + Path.DirectorySeparatorChar, partial =>
        {
            Assert.NotEqual(Target, partial);
            Assert.Equal("one", File.ReadAllText(Path.Combine(Target, "a.txt")));
        });
        Assert.Empty(Directory.GetFileSystemEntries(Target));
    }

    [Fact]
    public void AFailureKeepsTheOldFolderAndLeavesNothing()
    {
        WriteVersion("one");
        Assert.Throws<IOException>(() => AtomicFolder.Write(Target, partial =>
        {
            File.WriteAllText(Path.Combine(partial, "a.txt"), "half");
            throw new IOException("No space left on device");
        }));
        ExpectOnly("one");
    }

    [Fact]
    public void LeftoversOfAKilledProcessGoAway()
    {
        WriteVersion("one");
        Directory.CreateDirectory(Target + ".partial-4711");
        File.WriteAllText(Path.Combine(Target + ".partial-4711", "half"), "half");
        AtomicFolder.RemoveLeftovers(Target);
        ExpectOnly("one");
    }

    [Fact]
    public void AFolderMovedAsideComesBack()
    {
        WriteVersion("one");
        Directory.Move(Target, Target + ".partial-old");
        AtomicFolder.RemoveLeftovers(Target);
        ExpectOnly("one");
        Directory.Move(Target, Target + ".partial-old");
        Assert.Throws<InvalidOperationException>(() => AtomicFolder.Write(Target, _ => throw new InvalidOperationException()));
        ExpectOnly("one");
    }

    [Fact]
    public void AFileInTheWayIsAnIOException()
    {
        File.WriteAllText(Target, "a file");
        Assert.ThrowsAny<IOException>(() => WriteVersion("one"));
        Assert.Equal([Target], Directory.GetFileSystemEntries(folder.Path));
        Assert.Equal("a file", File.ReadAllText(Target));
    }

    [Fact]
    public void TextFilesAreReplacedWhole()
    {
        string path = folder["settings.json"];
        AtomicFolder.WriteText(path, "{}");
        AtomicFolder.WriteText(path, "{\"ä\":1}");
        Assert.Equal("{\"ä\":1}"u8.ToArray(), File.ReadAllBytes(path));
        using (var unfinished = new AtomicFile(path))
            unfinished.Stream.WriteByte(0);
        Assert.Equal("{\"ä\":1}", File.ReadAllText(path));
        Assert.Equal([path], Directory.GetFileSystemEntries(folder.Path));
        Assert.Throws<DirectoryNotFoundException>(() => AtomicFolder.WriteText(folder["no", "file.json"], ""));
    }

    [Fact]
    public void AFullDiskKeepsTheOldText()
    {
        Assert.SkipUnless(File.Exists("/dev/full"), "needs /dev/full");
        string path = folder["settings.json"];
        AtomicFolder.WriteText(path, "old");
        File.CreateSymbolicLink(path + ".tmp", "/dev/full");
        Assert.ThrowsAny<IOException>(() => AtomicFolder.WriteText(path, "new"));
        Assert.Equal("old", File.ReadAllText(path));
        Assert.Equal([path], Directory.GetFileSystemEntries(folder.Path));
    }
}
