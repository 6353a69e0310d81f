using System.Buffers.Binary;
using System.Text;
using ILGpuOptim.Files;

namespace ILGpuOptim.Tests.Files;

public class SafetensorsDamageTests
{
    private const string Good = """{"x":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"y":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}""";

    public static TheoryData<string, string> Headers => new()
    {
        { Good.Replace("[4,8]", "[0,4]"), "begins at byte 0, not where the one before it ends" },
        { Good.Replace("[4,8]", "[5,9]"), "tensor y begins at byte 5" },
        { Good.Replace("[4,8]", "[2,6]"), "tensor y begins at byte 2" },
        { Good.Replace("[4,8]", "[8,4]"), "but has bytes 8 to 4" },
        { Good.Replace("[4,8]", "[4,9]"), "needs 4 bytes" },
        { Good.Replace("[4,8]", "[4]"), "lacks its dtype, shape or data_offsets" },
        { Good.Replace("[4,8]", "[4,8,12]"), "lacks its dtype, shape or data_offsets" },
        { Good.Replace("[4,8]", "[-4,8]"), "no natural number" },
        { Good.Replace("[4,8]", "[4.0,8]"), "no natural number" },
        { Good.Replace("[4,8]", "[4e0,8]"), "no natural number" },
        { Good.Replace("[4,8]", "[4,99999999999999999999]"), "no natural number" },
        { Good.Replace("[4,8]", "[9223372036854775803,9223372036854775807]"), "begins at byte" },
        { Good.Replace("[4,8]", "[4,\"8\"]"), "that is no number" },
        { Good.Replace("[4,8]", "{}"), "has StartObject where StartArray belongs" },
        { Good.Replace("[1]", "[2]"), "needs 8 bytes" },
        { Good.Replace("[1]", "[-1]"), "no natural number" },
        { Good.Replace("[1]", "[4294967296,4294967296,4294967296]"), "impossible shape" },
        { Good.Replace("[1]", "[9223372036854775807]"), "impossible shape" },
        { Good.Replace("[1]", "[" + string.Join(',', Enumerable.Repeat("1", 40)) + "]"), "too many" },
        { Good.Replace("\"F32\"", "\"F33\""), "unknown dtype F33" },
        { Good.Replace("\"F32\"", "\"F4\"").Replace("[0,4]", "[0,0]"), "impossible shape 1" },
        { Good.Replace("\"F32\"", "3"), "where String belongs" },
        { Good.Replace("\"y\"", "\"x\""), "tensor x appears twice" },
        { Good.Replace("\"y\"", "\"\\u0078\""), "tensor x appears twice" },
        { Good.Replace("\"dtype\":\"F32\",", "\"dtype\":\"F32\",\"dtype\":\"F32\","), "repeated field dtype" },
        { Good.Replace("\"dtype\":\"F32\",", "\"extra\":1,"), "unexpected or repeated field extra" },
        { Good.Replace("\"dtype\":\"F32\",", ""), "lacks its dtype" },
        { Good.Replace("\"y\"", "\"\\ud800\""), "not the JSON" },
        { Good[..^1], "not the JSON" },
        { Good + "x", "not the JSON" },
        { Good + "{}", "not the JSON" },
        { " " + Good, "does not begin with {" },
        { "[]", "does not begin with {" },
        { "{}", "8 bytes after its last tensor belong to none" },
        { Good.Replace("{\"x\"", "{\"__metadata__\":{\"a\":1},\"x\""), "has Number where String belongs" },
        { Good.Replace("{\"x\"", "{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"},\"x\""), "its metadata has a twice" },
        { Good.Replace("{\"x\"", "{\"__metadata__\":{},\"__metadata__\":{},\"x\""), "its metadata appears twice" },
        { Good.Replace("{\"x\"", "{\"__metadata__\":[],\"x\""), "has StartArray where StartObject belongs" },
        { "{\"x\":" + new string('[', 100), "where StartObject belongs" },
        { "{\"" + new string('n', 5000) + "\":{}}", "lacks its dtype" },
    };

    [Theory]
    [MemberData(nameof(Headers))]
    public void DamagedHeadersAreNamed(string header, string message)
    {
        byte[] file = SafetensorsBytes.Make(header, new byte[8]);
        SafetensorsException error = Assert.Throws<SafetensorsException>(() => SafetensorsHeader.Parse("model.safetensors", file, file.Length));
        Assert.StartsWith("model.safetensors: ", error.Message);
        Assert.Contains(message, error.Message);
        Assert.True(error.Message.Contains("download it again") || error.Message.Contains("convert it"), error.Message);
        Assert.True(error.Message.Length < 400, "the message repeats too much of the file");
    }

    [Fact]
    public void BytesThatAreNotUtf8AreNamed()
    {
        byte[] header = Encoding.Latin1.GetBytes(Good.Replace("\"y\"", "\"\u00ff\""));
        byte[] file = SafetensorsBytes.Make(header, new byte[8]);
        Assert.Throws<SafetensorsException>(() => SafetensorsHeader.Parse("f", file, file.Length));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    [InlineData(-1)]
    [InlineData(long.MinValue)]
    [InlineData(long.MaxValue)]
    [InlineData(100_000_001)]
    [InlineData(99_999_999)]
    public void AbsurdHeaderSizesCostNothing(long size)
    {
        byte[] file = SafetensorsBytes.Make(Good, new byte[8]);
        BinaryPrimitives.WriteInt64LittleEndian(file, size);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.Throws<SafetensorsException>(() => SafetensorsHeader.Parse("f", file, file.Length));
        Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 100_000);
    }

    [Fact]
    public void EveryTruncationIsNamed()
    {
        using var folder = new TemporaryFolder();
        byte[] file = SafetensorsBytes.Make(Good, new byte[8]);
        string path = folder["cut.safetensors"];
        for (int length = 0; length < file.Length; length++)
        {
            File.WriteAllBytes(path, file[..length]);
            Assert.Contains(path, Assert.Throws<SafetensorsException>(() => SafetensorsFile.Open(path)).Message);
        }
    }

    /// <summary>Whatever happens to a file's bytes, it opens or says what is wrong, in little memory.</summary>
    [Fact]
    public void FuzzedFilesOpenOrGiveTheOneError()
    {
        byte[][] seeds =
        [
            SafetensorsBytes.Make(Good, new byte[8]),
            SafetensorsBytes.Make("""{"__metadata__":{"format":"pt"},"a.b":{"dtype":"BF16","shape":[2,0,3],"data_offsets":[0,0]},"c":{"dtype":"I64","shape":[],"data_offsets":[0,8]},"d":{"dtype":"BOOL","shape":[3],"data_offsets":[8,11]}}   """, new byte[11]),
            File.ReadAllBytes(Goldens.Folder("optimizers", "sgd__damp_nowd.safetensors")),
        ];
        string[] pieces = ["{", "}", "[", "]", ",", ":", "\"", "\\u0000", "\\ud83d", "-1", "0", "9223372036854775807", "18446744073709551616", "1e9", "null", "true", "\"__metadata__\":{}", "\"dtype\"", "\"F64\"", "[0,0]", "  ", "\u00e4"];
        byte[][] inserted = [.. pieces.Select(Encoding.UTF8.GetBytes)];
        var random = new Random(20240520);
        var clock = new System.Diagnostics.Stopwatch();
        TimeSpan slowest = TimeSpan.Zero;
        int opened = 0, refused = 0;
        for (int round = 0; round < 100_000; round++)
        {
            byte[] file = Mutate(seeds[round % seeds.Length], inserted, random);
            long before = GC.GetAllocatedBytesForCurrentThread();
            clock.Restart();
            try
            {
                SafetensorsHeader header = SafetensorsHeader.Parse("fuzzed", file, file.Length);
                Assert.All(header.Tensors.Values, entry => Assert.True(entry.Offset >= 0 && entry.Bytes >= 0 && header.DataStart + entry.Offset + entry.Bytes <= file.Length));
                opened++;
            }
            catch (SafetensorsException)
            {
                refused++;
            }

            Assert.True(GC.GetAllocatedBytesForCurrentThread() - before < 200_000);
            slowest = clock.Elapsed > slowest ? clock.Elapsed : slowest;
        }

        // Most take microseconds; the bound leaves room for a machine that does other things, and none for a loop that grows with a number in the file.
        Assert.True(slowest < TimeSpan.FromSeconds(5), $"a mutation took {slowest}");
        Assert.True(opened > 100, $"only {opened} mutations left a valid file");
        Assert.True(refused > 10_000, $"only {refused} mutations were refused");
    }

    private static byte[] Mutate(byte[] seed, byte[][] inserted, Random random)
    {
        List<byte> file = [.. seed];
        for (int changes = random.Next(1, 4); changes > 0; changes--)
        {
            int headerEnd = Math.Min(file.Count, 8 + (int)BinaryPrimitives.ReadUInt32LittleEndian(seed));
            int at = random.Next(random.Next(4) == 0 ? 0 : Math.Min(8, file.Count), Math.Max(9, headerEnd));
            at = Math.Min(at, file.Count);
            switch (random.Next(6))
            {
                case 0 when at < file.Count:
                    file[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 1 when at < file.Count:
                    file[at] = (byte)('0' + random.Next(10));
                    break;
                case 2:
                    file.InsertRange(at, inserted[random.Next(inserted.Length)]);
                    break;
                case 3 when at < file.Count:
                    file.RemoveRange(at, Math.Min(random.Next(1, 20), file.Count - at));
                    break;
                case 4:
                    file.AddRange(new byte[random.Next(9)]);
                    break;
                default:
                    int cut = random.Next(file.Count / 2, file.Count + 1);
                    file.RemoveRange(cut, file.Count - cut);
                    break;
            }
        }

        // Half of the time the length is made right again, so that the damage reaches the JSON and the layout.
        byte[] result = [.. file];
        if (random.Next(2) == 0 && result.Length >= 8)
            BinaryPrimitives.WriteInt64LittleEndian(result, Math.Max(0, BinaryPrimitives.ReadUInt32LittleEndian(seed) + result.Length - seed.Length));
        return result;
    }
}
