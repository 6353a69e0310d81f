using ILGpuOptim.Files;

namespace ILGpuOptim.Tests.Files;

public sealed class AtomicFolderTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    private string Target => folder["step-1"];

    private void WriteVersion(string text) => WriteVersion(Target, text);

    private static void WriteVersion(string target, string text) => AtomicFolder.Write(
        target,
        partial =>
        {
            File.WriteAllText(Path.Combine(partial, "a.txt"), text);
            Directory.CreateDirectory(Path.Combine(partial, "inner"));
            File.WriteAllText(Path.Combine(partial, "inner", "b.txt"), text);
        },
        existing => File.Exists(Path.Combine(existing, "a.txt")) ? null : "it is not ours");

    /// <summary>A temporary folder as a process leaves it that was killed before, or in the middle of, the exchange of names.</summary>
    private static string Leftover(string target, string digits, string marker)
    {
        string leftover = $"{target}.partial-{digits}";
        Directory.CreateDirectory(Path.Combine(leftover, "new"));
        File.WriteAllText(Path.Combine(leftover, "new", "half"), "half");
        File.WriteAllText(Path.Combine(leftover, "temporary-folder-of-ilgpuoptim"), marker);
        return leftover;
    }

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
        }, _ => null);
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
        }, _ => null));
        ExpectOnly("one");
    }

    [Theory]
    [InlineData("ilgpuoptim made this folder and removes it.\n")]
    [InlineData("")]
    public void LeftoversOfAKilledProcessGoAway(string marker)
    {
        WriteVersion("one");
        Leftover(Target, "0123abcd", marker);
        AtomicFolder.RemoveLeftovers(folder.Path);
        ExpectOnly("one");
        Leftover(Target, "0123abcd", marker);
        WriteVersion("two");
        ExpectOnly("two");
    }

    /// <summary>A process was killed before it created the marker, or after it deleted it.</summary>
    [Fact]
    public void EmptyLeftoversGoAway()
    {
        WriteVersion("one");
        Directory.CreateDirectory($"{Target}.partial-0123abcd");
        AtomicFolder.RemoveLeftovers(folder.Path);
        ExpectOnly("one");
        Directory.CreateDirectory($"{Target}.partial-0123abcd");
        WriteVersion("two");
        ExpectOnly("two");
    }

    [Fact]
    public async Task WritersDoNotRemoveEachOthersNewFolders()
    {
        string target = folder["same.txt"];
        await Task.WhenAll(Enumerable.Range(0, 4).Select(writer => Task.Run(() =>
        {
            for (int i = 0; i < 200; i++)
                AtomicFolder.WriteText(target, $"{writer} {i}");
        })));
        Assert.Equal([target], Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public void AFolderMovedAsideComesBack()
    {
        WriteVersion("one");
        Directory.Move(Target, Path.Combine(Leftover(Target, "0123abcd", ""), "old"));
        AtomicFolder.RemoveLeftovers(folder.Path);
        ExpectOnly("one");
        Directory.Move(Target, Path.Combine(Leftover(Target, "0123abcd", ""), "old"));
        Assert.Throws<InvalidOperationException>(() => AtomicFolder.Write(Target, _ => throw new InvalidOperationException()));
        ExpectOnly("one");
    }

    [Theory]
    [InlineData("m", "m.partial-backup")]
    [InlineData("m", "m.partial-4711")]
    [InlineData("m", "m.partial-0123abcd")]
    [InlineData("m", "m.partial-old")]
    [InlineData("m", "m.tmp")]
    [InlineData("*", "other.partial-y")]
    [InlineData("*", "other.partial-0123abcd")]
    [InlineData("m?", "m1.partial-0123abcd")]
    public void FoldersOfOthersStay(string target, string foreign)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows() && target.AsSpan().ContainsAny('*', '?'), "Windows has no such names");
        Directory.CreateDirectory(folder[foreign]);
        File.WriteAllText(folder[foreign, "thesis.txt"], "precious");
        WriteVersion(folder[target], "one");
        AtomicFolder.WriteText(folder[target + ".json"], "{}");
        AtomicFolder.RemoveLeftovers(folder.Path);
        Assert.Equal("precious", File.ReadAllText(folder[foreign, "thesis.txt"]));
        Assert.Equal(new[] { foreign, target, target + ".json" }.Order(), Directory.GetFileSystemEntries(folder.Path).Select(path => Path.GetFileName(path)!).Order());
    }

    [Fact]
    public void SomethingPutIntoATemporaryFolderStays()
    {
        string leftover = Leftover(Target, "0123abcd", "");
        File.WriteAllText(Path.Combine(leftover, "thesis.txt"), "precious");
        WriteVersion("one");
        Assert.Equal("precious", File.ReadAllText(Path.Combine(leftover, "thesis.txt")));
    }

    [Fact]
    public void WhatALivingProcessWritesStays() => AtomicFolder.Write(Target, partial =>
    {
        AtomicFolder.RemoveLeftovers(folder.Path);
        Assert.True(Directory.Exists(partial));
        WriteVersion("inner");
        Assert.True(Directory.Exists(partial));
    }, _ => null);

    [Fact]
    public void AFolderOfOthersIsNotReplaced()
    {
        Directory.CreateDirectory(Target);
        AtomicFolder.Write(Target, _ => { });
        File.WriteAllText(Path.Combine(Target, "thesis.txt"), "precious");
        Assert.Contains("not ours", Assert.Throws<UserException>(() => WriteVersion("one")).Message);
        Assert.Throws<UserException>(() => AtomicFolder.Write(Target, _ => { }));
        Assert.Equal([Path.Combine(Target, "thesis.txt")], Directory.GetFileSystemEntries(Target));
        Assert.Equal([Target], Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public void AFolderThatFillsWhileItIsReplacedIsNotReplaced()
    {
        Assert.Throws<UserException>(() => AtomicFolder.Write(Target, _ =>
        {
            Directory.CreateDirectory(Target);
            File.WriteAllText(Path.Combine(Target, "thesis.txt"), "precious");
        }));
        Assert.Equal("precious", File.ReadAllText(Path.Combine(Target, "thesis.txt")));
    }

    [Fact]
    public void ALinkMeansItsFolder()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "links need rights there");
        WriteVersion("one");
        Directory.CreateDirectory(folder["links"]);
        Directory.CreateSymbolicLink(folder["links", "step"], Target);
        WriteVersion(folder["links", "step"], "two");
        Assert.NotNull(new DirectoryInfo(folder["links", "step"]).LinkTarget);
        Assert.Equal("two", File.ReadAllText(Path.Combine(Target, "a.txt")));
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
    public void AFailureKeepsTheOldText()
    {
        string path = folder["settings.json"];
        AtomicFolder.WriteText(path, "old");
        Assert.Throws<IOException>((Action)(() =>
        {
            using var file = new AtomicFile(path);
            file.Stream.WriteByte(0);
            throw new IOException("No space left on device");
        }));
        Assert.Equal("old", File.ReadAllText(path));
        Assert.Equal([path], Directory.GetFileSystemEntries(folder.Path));
    }
}
