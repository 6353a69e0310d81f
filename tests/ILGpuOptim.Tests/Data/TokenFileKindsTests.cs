using System.Buffers.Binary;
using System.Runtime.InteropServices;
using ILGpuOptim.Data;

namespace ILGpuOptim.Tests.Data;

/// <summary>Files that are no 16-bit ids, under the name of a token file.</summary>
public sealed class TokenFileKindsTests : IDisposable
{
    /// <summary>Frequent ids are small, as in text; a few are large.</summary>
    private static readonly int[] Ids = [.. Enumerable.Range(0, 4000).Select(i => i % 3 == 0 ? i * 7919 % 50257 : i * 31 % 300)];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    private string Write(ReadOnlySpan<byte> bytes)
    {
        File.WriteAllBytes(folder["a.bin"], bytes);
        return folder["a.bin"];
    }

    private string Refusal(ReadOnlySpan<byte> bytes)
    {
        string path = Write(bytes), message = Assert.Throws<UserException>(() => TokenFile.Open(path)).Message;
        Assert.StartsWith(path + ": ", message, StringComparison.Ordinal);
        return message;
    }

    private static byte[] Bytes<T>(Func<int, T> convert, int vocabulary = 50257) where T : unmanaged => MemoryMarshal.AsBytes<T>([.. Ids.Select(id => convert(id % vocabulary))]).ToArray();

    [Fact]
    public void IdsOf16BitsAreRead()
    {
        foreach (int vocabulary in (int[])[50257, 65, 256, 300, 32000])
        {
            using TokenSequence tokens = TokenFile.Open(Write(Bytes(id => (ushort)id, vocabulary)));
            Assert.Equal(Ids.Select(id => id % vocabulary), tokens.ToArray());
        }
    }

    [Fact]
    public void OtherWidthsAndOrdersAreRefused()
    {
        foreach (int vocabulary in (int[])[50257, 65])
        {
            Assert.Contains("32-bit or 64-bit integers", Refusal(Bytes(id => id, vocabulary)), StringComparison.Ordinal);
            Assert.Contains("32-bit or 64-bit integers", Refusal(Bytes(id => (long)id, vocabulary)), StringComparison.Ordinal);
            Assert.Contains("32-bit or 64-bit integers", Refusal(Bytes(id => id, vocabulary)[..^2]), StringComparison.Ordinal);
            Assert.Contains("reversed bytes", Refusal(Bytes(BinaryPrimitives.ReverseEndianness, vocabulary)), StringComparison.Ordinal);
            Assert.Contains("reversed bytes", Refusal(Bytes(id => BinaryPrimitives.ReverseEndianness((long)id), vocabulary)), StringComparison.Ordinal);
            Assert.Contains("big-endian", Refusal(Bytes(id => BinaryPrimitives.ReverseEndianness((ushort)id), vocabulary)), StringComparison.Ordinal);
            Assert.Contains("floating-point", Refusal(Bytes(id => (float)id, vocabulary)), StringComparison.Ordinal);
            Assert.Contains("floating-point", Refusal(Bytes(id => (double)id, vocabulary)), StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData("PK\u0003\u0004", "ZIP")]
    [InlineData("GGUF", "llama.cpp")]
    [InlineData("tjgg", "llama.cpp")]
    [InlineData("24ka", "llama2.c")]
    [InlineData("PAR1", "Parquet")]
    [InlineData("MMIDIDX", "Megatron")]
    [InlineData("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345678\n\n", "Git LFS")]
    [InlineData("In the beginning God created the heaven and the earth. And the earth was without form, and void.", "text")]
    public void OtherFormatsAreRefused(string start, string word)
    {
        byte[] rest = start.Length > 50 ? [] : Bytes(id => (ushort)id);
        Assert.Contains(word, Refusal([.. System.Text.Encoding.Latin1.GetBytes(start), .. rest]), StringComparison.Ordinal);
    }

    [Fact]
    public void ArchivesModelsAndHeadersAreRefused()
    {
        byte[] ids = Bytes(id => (ushort)id);
        Assert.Contains("gzip", Refusal([0x1F, 0x8B, 8, 0, .. ids]), StringComparison.Ordinal);
        Assert.Contains("PyTorch", Refusal([0x80, 2, 0x8A, 10, 0x6C, 0xFC, 0x9C, 0x46, .. ids]), StringComparison.Ordinal);
        Assert.Contains("safetensors", Refusal([60, 0, 0, 0, 0, 0, 0, 0, .. "{\"a\":"u8, .. ids]), StringComparison.Ordinal);
        foreach ((int magic, string word) in ((int, string)[])[(20240327, "state"), (20240328, "tokenizer"), (BinaryPrimitives.ReverseEndianness(20240520), "big-endian"), (BinaryPrimitives.ReverseEndianness(20240801), "big-endian")])
        {
            byte[] file = [.. new byte[1024], .. ids];
            BinaryPrimitives.WriteInt32LittleEndian(file, magic);
            Assert.Contains(word, Refusal(file), StringComparison.Ordinal);
        }
    }
}
