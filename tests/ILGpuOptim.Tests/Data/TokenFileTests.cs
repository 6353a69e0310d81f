using System.Buffers.Binary;
using FsCheck;
using FsCheck.Xunit;
using ILGpuOptim.Data;

namespace ILGpuOptim.Tests.Data;

public sealed class TokenFileTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    private static byte[] Header(int magic, int version, int count, int bytes)
    {
        var file = new byte[1024 + bytes];
        BinaryPrimitives.WriteInt32LittleEndian(file, magic);
        BinaryPrimitives.WriteInt32LittleEndian(file.AsSpan(4), version);
        BinaryPrimitives.WriteInt32LittleEndian(file.AsSpan(8), count);
        return file;
    }

    private string Write(params byte[] bytes)
    {
        string path = folder["tokens.bin"];
        File.WriteAllBytes(path, bytes);
        return path;
    }

    private static int[] Read(string path)
    {
        using TokenSequence tokens = TokenFile.Open(path);
        return tokens.ToArray();
    }

    [Fact]
    public void ReadsPlainFiles() => Assert.Equal([1, 0x0302, 65535], Read(Write(1, 0, 2, 3, 255, 255)));

    [Fact]
    public void ReadsTheHeaderOfGpt2Files()
    {
        byte[] file = Header(20240520, 1, 2, 4);
        (file[1024], file[1026], file[1027]) = (7, 1, 2);
        Assert.Equal([7, 0x0201], Read(Write(file)));
    }

    [Fact]
    public void ReadsTheHeaderOfLlama3Files()
    {
        byte[] file = Header(20240801, 7, 2, 8);
        (file[1024], file[1030]) = (9, 1);
        Assert.Equal([9, 0x010000], Read(Write(file)));
    }

    [Property(MaxTest = 60)]
    public void WritesWhatItReads(NonEmptyArray<int> seeds, bool wide)
    {
        int[] ids = [.. seeds.Get.Select(seed => wide ? seed & 0xFFFFFF : seed & 0xFFFF)];
        foreach (TokenFormat format in wide ? [TokenFormat.LlmCWide] : Enum.GetValues<TokenFormat>())
        {
            string path = folder[$"{format}.bin"];
            TokenFile.Write(path, ids, format);
            Assert.Equal(ids, Read(path));
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(33)]
    [InlineData(4097)]
    [InlineData(100_001)]
    public void SizesAreThoseOfTheFormats(int count)
    {
        int[] ids = [.. Enumerable.Range(0, count).Select(i => i * 31 & 0xFFFF)];
        foreach ((TokenFormat format, long bytes) in new[] { (TokenFormat.Plain, 2L * count), (TokenFormat.LlmC, 1024 + 2L * count), (TokenFormat.LlmCWide, 1024 + 4L * count) })
        {
            string path = folder[$"{format}.bin"];
            TokenFile.Write(path, ids, format);
            Assert.Equal(bytes, new FileInfo(path).Length);
            Assert.Equal(ids, Read(path));
            using TokenSequence tokens = TokenFile.Open(path);
            Assert.Equal(ids.Max(), tokens.Max());
        }
    }

    [Fact]
    public void WhatIsWrongIsNamed()
    {
        Expect(Write(), "the file is empty");
        Expect(Write(1, 2, 3), "3 bytes are not a whole number of 16-bit tokens");
        Expect(Write(Header(20240520, 2, 0, 0)), "version 2");
        Expect(Write(Header(20240801, 1, 1, 4)), "version 1");
        Expect(Write(Header(20240520, 1, 3, 4)), "states 3 tokens of 16 bits, but 4 bytes follow");
        Expect(Write(Header(20240520, 1, 2, 5)), "states 2 tokens");
        Expect(Write(Header(20240801, 7, -1, 4)), "states 4,294,967,295 tokens of 32 bits");
        Expect(Write(Header(20240520, 1, 0, 0)), "no tokens");
        Expect(Write(Header(20240522, 1, 0, 0)), "multiple-choice questions");
        byte[] negative = Header(20240801, 7, 1, 4);
        negative[1027] = 0x80;
        Expect(Write(negative), "which no vocabulary reaches");
        Expect(folder["none.bin"], "there is no such file");
        Expect(folder.Path, "this is a folder");
    }

    private static void Expect(string path, string message)
    {
        string error = Assert.Throws<UserException>(() => TokenFile.Open(path)).Message;
        Assert.StartsWith(path + ": ", error);
        Assert.Contains(message, error);
    }

    [Fact]
    public void WritingRefusesIdsThatDoNotFit()
    {
        string path = folder["x.bin"];
        Assert.Contains("the id 65536 is not between 0 and 65535", Assert.Throws<UserException>(() => TokenFile.Write(path, [65536])).Message);
        Assert.Contains("the id -1", Assert.Throws<UserException>(() => TokenFile.Write(path, [-1], TokenFormat.LlmCWide)).Message);
        Assert.Contains("cannot be written", Assert.Throws<UserException>(() => TokenFile.Write(folder["no", "x.bin"], [1])).Message);
        Assert.Empty(Directory.GetFileSystemEntries(folder.Path));
    }

    /// <summary>The file has a hole, so that it takes no room.</summary>
    [Fact]
    public void FilesBeyondFourGigabytesAreRead()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "needs files with holes");
        string path = folder["large.bin"];
        const long Count = (1L << 31) + 5;
        using (FileStream file = File.Create(path))
        {
            file.SetLength(Count * 2);
            file.Position = (Count - 2) * 2;
            file.Write([7, 0, 9, 1]);
        }

        using TokenSequence tokens = TokenFile.Open(path);
        Assert.Equal(Count, tokens.Length);
        int[] last = new int[3];
        tokens.CopyTo(Count - 3, last);
        Assert.Equal([0, 7, 0x0109], last);
        Assert.Equal([7, 0x0109], tokens.Slice(Count - 2, 2).ToArray());
        Assert.Contains("do not fit the memory", Assert.Throws<UserException>(tokens.ToArray).Message);
        using var data = Dataset.FromTokens(tokens, 1000, null, 1e-9, "large");
        Assert.Equal(3, data.Validation.Length);
    }

    [Fact]
    public void AClosedFileIsNoCrash()
    {
        TokenSequence tokens = TokenFile.Open(Write(1, 0));
        TokenSequence part = tokens.Slice(0, 1);
        tokens.Dispose();
        Assert.Throws<ObjectDisposedException>(() => part.CopyTo(0, new int[1]));
        Assert.Throws<ObjectDisposedException>(() => part.Max());
    }
}
