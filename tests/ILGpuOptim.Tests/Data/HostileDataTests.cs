using System.Buffers.Binary;
using System.Diagnostics;
using System.IO.Compression;
using System.Runtime.InteropServices;
using System.Text;
using ILGpuOptim.Data;
using ILGpuOptim.Files;
using Parquet;
using Parquet.Schema;

namespace ILGpuOptim.Tests.Data;

/// <summary>Data files that are damaged, hostile or of another kind: one clear error, no crash, no hang, no memory beyond the file's size.</summary>
public sealed class HostileDataTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    public static TheoryData<string> Encodings => ["utf-8", "utf-16", "utf-16BE", "utf-32"];

    [Theory]
    [MemberData(nameof(Encodings))]
    public void MarkedEncodingsReadAlike(string name)
    {
        const string Text = "In the beginning 𝟏 é\n";
        Encoding encoding = name == "utf-8" ? new UTF8Encoding(true) : Encoding.GetEncoding(name);
        File.WriteAllText(folder["a.txt"], Text, encoding);
        File.WriteAllText(folder["a.jsonl"], "{\"text\": \"In the beginning 𝟏 é\\n\"}\n", encoding);
        Assert.Equal(Text, TextSource.Read(folder["a.txt"]));
        Assert.Equal(Text, string.Concat(new DocumentSource().Read(folder["a.txt"]).Select(part => part.Text)));
        Assert.Equal(Text, Assert.Single(new DocumentSource().Read(folder["a.jsonl"])).Text);
    }

    [Theory]
    [InlineData("half.txt", new byte[] { 0xFF, 0xFE, 0x41 }, "UTF-16")]
    [InlineData("lone.txt", new byte[] { 0xFF, 0xFE, 0x00, 0xD8, 0x41, 0x00 }, "UTF-16")]
    [InlineData("unmarked.txt", new byte[] { 0x41, 0x00, 0x42, 0x00 }, "zero bytes")]
    [InlineData("latin.txt", new byte[] { 0x41, 0xE9, 0x42 }, "UTF-8")]
    public void TextThatDoesNotDecodeIsRefusedAlike(string name, byte[] bytes, string word)
    {
        File.WriteAllBytes(folder[name], bytes);
        Assert.Contains(word, Assert.Throws<UserException>(() => TextSource.Read(folder[name])).Message);
        Assert.Contains(word, Assert.Throws<UserException>(() => new DocumentSource().Read(folder[name]).ToList()).Message);
    }

    [Theory]
    [InlineData("{\"text\": null}", "null; it must be a string")]
    [InlineData("{\"other\": \"x\"}", "no field \"text\"")]
    [InlineData("{\"text\": \"a\", \"text\": \"b\"}", "twice")]
    [InlineData("[1]", "not an object")]
    public void LinesWithoutTextAreNamed(string line, string word)
    {
        File.WriteAllText(folder["a.jsonl"], "{\"text\": \"fine\"}\n" + line);
        string message = Assert.Throws<UserException>(() => new DocumentSource().Read(folder["a.jsonl"]).ToList()).Message;
        Assert.Contains(word, message);
        Assert.Contains("line 2", message);
    }

    [Fact]
    public void AnEndlessLineIsRefusedBeforeItFillsTheMemory()
    {
        using (var gzip = new GZipStream(File.Create(folder["bomb.jsonl.gz"]), CompressionLevel.Fastest))
        {
            byte[] spaces = new byte[1 << 20];
            spaces.AsSpan().Fill((byte)' ');
            for (int i = 0; i < 200; i++)
                gzip.Write(spaces);
        }

        Assert.Contains("line 1 has more than", Assert.Throws<UserException>(() => new DocumentSource().Read(folder["bomb.jsonl.gz"]).ToList()).Message);
    }

    [Fact]
    public void PipesAndDevicesAreRefusedBeforeTheyAreOpened()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "pipes are made with Linux's mkfifo");
        using (Process made = Process.Start("mkfifo", folder["pipe.txt"]))
            made.WaitForExit();
        File.CreateSymbolicLink(folder["link.txt"], folder["pipe.txt"]);
        foreach (string path in (string[])[folder["pipe.txt"], folder["link.txt"], "/dev/zero", "/dev/null"])
        {
            Assert.Contains("a pipe or a device", Assert.Throws<UserException>(() => TextSource.Read(path)).Message);
            Assert.Contains("a pipe or a device", Assert.Throws<UserException>(() => new DocumentSource().Read(path).ToList()).Message);
            Assert.Contains("a pipe or a device", Assert.Throws<UserException>(() => TokenFile.Open(path)).Message);
            Assert.Contains("a pipe or a device", Assert.Throws<UserException>(() => JsonFields.Open(path)).Message);
            foreach (string name in (string[])["tokenizer.json", "vocab.txt", "tokenizer.model", "ranks.tiktoken"])
            {
                File.CreateSymbolicLink(folder[name], path);
                Assert.Contains("a pipe or a device", Assert.Throws<UserException>(() => Tokenizers.Open(folder[name])).Message);
                File.Delete(folder[name]);
            }

            Assert.Contains("a pipe or a device", Assert.Throws<UserException>(() => ILGpuOptim.Models.Llama2CTokenizer.Import(path, 4, folder.Path)).Message);
            Assert.Contains("a pipe or a device", Assert.Throws<SafetensorsException>(() => SafetensorsFile.Open(path)).Message);
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(70_000)]
    public void WideIntegersWithoutAHeaderAreRefused(int least)
    {
        int[] ids = [.. Enumerable.Range(0, 200).Select(i => least + (i * 37 % 4000))];
        Assert.Contains("without a header", Refusal([.. MemoryMarshal.AsBytes<int>(ids)]));
        Assert.Contains("without a header", Refusal([.. MemoryMarshal.AsBytes<long>([.. ids.Select(id => (long)id)])]));
    }

    [Fact]
    public void OrdinaryIdsPassTheCheckForWideIntegers()
    {
        foreach (ushort[] ids in (ushort[][])[new ushort[100], [.. Enumerable.Range(0, 100).Select(i => (ushort)(i % 7))], [.. Enumerable.Range(0, 100).Select(i => (ushort)(i * 613))]])
            Assert.Equal(ids.Length, Opened([.. MemoryMarshal.AsBytes<ushort>(ids)]));
    }

    [Fact]
    public void OtherKindsOfBinaryFilesAreNamed()
    {
        byte[] model = new byte[2048], wide = new byte[1032];
        BinaryPrimitives.WriteInt32LittleEndian(model, 20240326);
        Assert.Contains("an llm.c model", Refusal(model));
        Assert.Contains("NumPy", Refusal([0x93, .. "NUMPY"u8, .. new byte[100]]));
        BinaryPrimitives.WriteInt32LittleEndian(wide, 20240801);
        BinaryPrimitives.WriteInt32LittleEndian(wide.AsSpan(4), 7);
        BinaryPrimitives.WriteInt32LittleEndian(wide.AsSpan(8), 2);
        BinaryPrimitives.WriteInt32LittleEndian(wide.AsSpan(1024), int.MaxValue);
        Assert.Contains("the id 2,147,483,647", Refusal(wide));
    }

    [Fact]
    public void AFileThatIsCutShortInUseIsAnError()
    {
        File.WriteAllBytes(folder["t.bin"], new byte[400]);
        using TokenSequence tokens = TokenFile.Open(folder["t.bin"]);
        using (FileStream file = Writable("t.bin"))
            file.SetLength(100);
        tokens.CopyTo(0, new int[50]);
        Assert.Contains("cut short", Assert.Throws<UserException>(() => tokens.CopyTo(0, new int[51])).Message);

        SafetensorsWriterFile("w.safetensors");
        using SafetensorsFile weights = SafetensorsFile.Open(folder["w.safetensors"]);
        using (FileStream file = Writable("w.safetensors"))
            file.SetLength(file.Length - 4);
        Assert.Contains("cut short", Assert.Throws<SafetensorsException>(() => weights.ReadF32("x")).Message);
        Assert.Contains("cut short", Assert.Throws<SafetensorsException>(() => weights.ReadBytes("x")).Message);
    }

    [Fact]
    public async Task EveryDamagedByteOfAParquetFileGivesRowsOrOneError()
    {
        var column = new DataField<string>("text");
        using var whole = new MemoryStream();
        await using (ParquetWriter writer = await ParquetWriter.CreateAsync(new ParquetSchema(column), whole, cancellationToken: TestContext.Current.CancellationToken))
        {
            using ParquetRowGroupWriter rows = writer.CreateRowGroup();
            await rows.WriteAsync(column, [.. Enumerable.Range(0, 12).Select(i => $"row {i % 5}")]);
        }

        byte[] bytes = whole.ToArray();
        string path = folder["a.parquet"];
        File.WriteAllBytes(path, bytes);
        Assert.Equal(12, new DocumentSource().Read(path).Count());
        for (int at = 0; at < bytes.Length; at++)
        {
            foreach (byte value in (byte[])[0, 0x7F, 0xFF, (byte)(bytes[at] ^ 1), (byte)(bytes[at] ^ 0x80)])
            {
                byte[] damaged = [.. bytes];
                damaged[at] = value;
                File.WriteAllBytes(path, damaged);
                long before = GC.GetAllocatedBytesForCurrentThread();
                try
                {
                    _ = new DocumentSource().Read(path).Count();
                }
                catch (UserException)
                {
                }

                Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 64 << 20);
            }
        }
    }

    /// <summary>A byte of the file each, and an object of the library each.</summary>
    [Theory]
    [InlineData("schema", "most of them empty")]
    [InlineData("row groups", "has no number of rows")]
    [InlineData("notes", "most of them empty")]
    public void EmptyStructuresInAFooterAreRefused(string name, string word)
    {
        const int Count = 3 << 20;
        byte[] list = [0xFC, .. Varint(Count), .. new byte[Count]];
        byte[] footer = name switch
        {
            "schema" => [0x29, .. list, 0x29, 0x0C, 0],
            "row groups" => [0x49, .. list, 0],
            _ => [0x49, 0x0C, 0x19, .. list, 0],
        };
        byte[] length = new byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(length, footer.Length);
        File.WriteAllBytes(folder["a.parquet"], [.. "PAR1"u8, .. footer, .. length, .. "PAR1"u8]);
        long before = GC.GetAllocatedBytesForCurrentThread();
        string message = Assert.Throws<UserException>(() => new DocumentSource().Read(folder["a.parquet"]).Count()).Message;
        Assert.Contains(word, message);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 2L * Count);
    }

    /// <summary>Each of many columns spans the whole file.</summary>
    [Fact]
    public void OverlappingColumnsAreRefused()
    {
        // A page without values: no bytes packed, none unpacked, nothing else.
        byte[] page = [0x25, 0, 0x15, 0, 0], pages = [.. Enumerable.Repeat(page, 1000).SelectMany(bytes => bytes)];
        byte[] column = [0x3C, 0x56, 0, 0x26, .. Varint(2 * pages.Length), 0x26, 8, 0, 0];
        byte[] footer = [0x49, 0x1C, 0x19, 0xFC, .. Varint(1000), .. Enumerable.Repeat(column, 1000).SelectMany(bytes => bytes), 0x26, 0, 0, 0];
        byte[] length = new byte[4];
        BinaryPrimitives.WriteInt32LittleEndian(length, footer.Length);
        File.WriteAllBytes(folder["a.parquet"], [.. "PAR1"u8, .. pages, .. footer, .. length, .. "PAR1"u8]);
        Assert.Contains("its columns overlap", Assert.Throws<UserException>(() => new DocumentSource().Read(folder["a.parquet"]).Count()).Message);
    }

    private static byte[] Varint(int value)
    {
        var bytes = new List<byte>();
        for (; value > 127; value >>= 7)
            bytes.Add((byte)(value | 128));
        return [.. bytes, (byte)value];
    }

    /// <summary>As another program opens a file: without .NET's lock.</summary>
    private FileStream Writable(string name) => new(folder[name], FileMode.Open, FileAccess.Write, FileShare.ReadWrite);

    private void SafetensorsWriterFile(string name)
    {
        byte[] header = Encoding.UTF8.GetBytes("""{"x":{"dtype":"F32","shape":[3],"data_offsets":[0,12]}}""");
        byte[] length = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
        File.WriteAllBytes(folder[name], [.. length, .. header, .. new byte[12]]);
    }

    private long Opened(byte[] bytes)
    {
        File.WriteAllBytes(folder["x.bin"], bytes);
        using TokenSequence tokens = TokenFile.Open(folder["x.bin"]);
        return tokens.Length;
    }

    private string Refusal(byte[] bytes) => Assert.Throws<UserException>(() => Opened(bytes)).Message;
}
