using System.IO.Compression;
using System.Text;
using ILGpuOptim.Data;
using ILGpuOptim.Files;

namespace ILGpuOptim.Tests.Files;

/// <summary>A .gz file is read completely or refused: .NET's own stream ends silently where one was cut short.</summary>
public sealed class GzipContentsTests
{
    private static readonly byte[] Text = Encoding.UTF8.GetBytes(string.Concat(Enumerable.Range(0, 15_000).Select(i => $"line {i} of {i * 7919 % 10007}\n")));

    private static byte[] Packed(ReadOnlySpan<byte> contents)
    {
        var target = new MemoryStream();
        using (var gzip = new GZipStream(target, CompressionLevel.Fastest))
            gzip.Write(contents);
        return target.ToArray();
    }

    private static byte[] Read(byte[] packed)
    {
        using var unpacked = new GzipContents(new MemoryStream(packed));
        var result = new MemoryStream();
        unpacked.CopyTo(result);
        return result.ToArray();
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(15)]
    [InlineData(16)]
    [InlineData(65_519)]
    [InlineData(65_520)]
    [InlineData(65_521)]
    [InlineData(200_000)]
    public void WholeArchivesAreUnpacked(int bytes)
    {
        Assert.Equal(Text[..bytes], Read(Packed(Text.AsSpan(0, bytes))));
        Assert.Equal([.. Text[..bytes], .. Text[..9]], Read([.. Packed(Text.AsSpan(0, bytes)), .. Packed(Text.AsSpan(0, 9))]));
    }

    [Fact]
    public void EveryCutIsAnError()
    {
        byte[] one = Packed(Text.AsSpan(0, 300)), two = [.. one, .. Packed(Text.AsSpan(300, 100))];
        for (int length = 1; length < two.Length; length++)
        {
            if (length != one.Length)
                Assert.Throws<InvalidDataException>(() => Read(two[..length]));
        }

        byte[] large = Packed(Text);
        foreach (int cut in (int[])[1, 4, 8, 9, 20, 1000, large.Length / 2])
            Assert.Throws<InvalidDataException>(() => Read(large[..^cut]));
    }

    [Fact]
    public void WhatFollowsAnArchiveIsAnError()
    {
        Assert.Throws<InvalidDataException>(() => Read([.. Packed(Text), .. "more text"u8]));
        Assert.Throws<InvalidDataException>(() => Read([.. Packed(Text), .. new byte[512]]));
    }

    [Fact]
    public void ACutFileOfDocumentsIsNamed()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllBytes(folder["a.txt.gz"], Packed(Text)[..^20]);
        string message = Assert.Throws<UserException>(() => new DocumentSource().Read(folder["a.txt.gz"]).ToList()).Message;
        Assert.StartsWith(folder["a.txt.gz"], message, StringComparison.Ordinal);
        Assert.Contains("cut short", message, StringComparison.Ordinal);
    }
}
