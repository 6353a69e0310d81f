using System.Runtime.InteropServices;
using FsCheck;
using FsCheck.Xunit;
using ILGpuOptim.Files;

namespace ILGpuOptim.Tests.Files;

public sealed class SafetensorsWriterTests : IDisposable
{
    private static readonly (string Name, string Type, IReadOnlyList<int> Shape)[] Announced =
        [("b", "F32", [2, 3]), ("none", "F32", [0, 4]), ("a", "U8", [3]), ("ä\"\n", "BF16", [])];

    private readonly TemporaryFolder folder = new();

    public void Dispose() => folder.Dispose();

    private void WriteAll(string path, IReadOnlyDictionary<string, string>? metadata = null)
    {
        using var writer = new SafetensorsWriter(path, Announced, metadata);
        writer.Write("b", MemoryMarshal.AsBytes<float>([1, 2, 3, 4]));
        writer.Write("b", MemoryMarshal.AsBytes<float>([5, 6]));
        writer.Write("a", [7, 8, 9]);
        writer.Write("ä\"\n", [0x80, 0x3F]);
        writer.Finish();
    }

    [Fact]
    public void WritesWhatTheReaderReads()
    {
        string path = folder["model.safetensors"];
        WriteAll(path, new Dictionary<string, string> { ["z"] = "1", ["format"] = "pt" });
        using var file = SafetensorsFile.Open(path);
        Assert.Equal([1, 2, 3, 4, 5, 6], file.ReadF32("b"));
        Assert.Equal([2, 3], file["b"].Shape);
        Assert.Empty(file.ReadF32("none"));
        Assert.Equal([7, 8, 9], file.ReadBytes("a"));
        Assert.Equal([1f], file.ReadF32("ä\"\n"));
        Assert.Equal("pt", file.Metadata["format"]);
        Assert.Equal([path], Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public void TheSameTensorsGiveTheSameBytesAlignedToEight()
    {
        WriteAll(folder["one"], new Dictionary<string, string> { ["z"] = "1", ["a"] = "2" });
        WriteAll(folder["two"], new Dictionary<string, string> { ["a"] = "2", ["z"] = "1" });
        byte[] one = File.ReadAllBytes(folder["one"]);
        Assert.Equal(one, File.ReadAllBytes(folder["two"]));
        Assert.Equal(0, BitConverter.ToInt64(one) % 8);
        Assert.Equal((byte)'{', one[8]);
    }

    /// <summary>Odd counts of narrow elements before wide ones: PyTorch cannot view a tensor that is not aligned to its elements.</summary>
    [Fact]
    public void EveryTensorIsAlignedToItsElements()
    {
        (string Name, string Type, IReadOnlyList<int> Shape)[] mixed =
            [("byte", "U8", [3]), ("brain", "BF16", [5]), ("first", "F32", [3]), ("half", "F16", [1]), ("long", "I64", [1]), ("second", "F32", [1])];
        string path = folder["mixed"];
        using (var writer = new SafetensorsWriter(path, mixed))
        {
            foreach ((string name, string type, IReadOnlyList<int> shape) in mixed)
            {
                // In two parts, the first of one byte; each byte tells its tensor and place.
                byte[] bytes = Contents(name, (int)SafetensorsEntry.BytesOf(type, shape.Select(size => (long)size))!);
                writer.Write(name, bytes.AsSpan(0, 1));
                writer.Write(name, bytes.AsSpan(1));
            }

            writer.Finish();
        }

        using var file = SafetensorsFile.Open(path);
        Assert.Equal(["long", "first", "second", "brain", "half", "byte"], file.Tensors.OrderBy(tensor => tensor.Value.Offset).Select(tensor => tensor.Key));
        Assert.All(file.Tensors, tensor =>
        {
            Assert.Equal(0, tensor.Value.Offset % (SafetensorsEntry.BitsOf(tensor.Value.Type) / 8));
            Assert.Equal(Contents(tensor.Key, (int)tensor.Value.Bytes), file.ReadBytes(tensor.Key));
        });

        static byte[] Contents(string name, int length) => [.. Enumerable.Range(0, length).Select(i => (byte)(name[0] + name[^1] + i))];
    }

    [Fact]
    public void AnUnfinishedFileLeavesTheOldOne()
    {
        string path = folder["model.safetensors"];
        WriteAll(path);
        byte[] old = File.ReadAllBytes(path);
        using (var writer = new SafetensorsWriter(path, [("x", "F32", [4])]))
        {
            writer.Write("x", new byte[8]);
            Assert.Contains("x and 0 tensors after it", Assert.Throws<InvalidOperationException>(writer.Finish).Message);
            Assert.Throws<ArgumentException>(() => writer.Write("x", new byte[9]));
            Assert.Throws<ArgumentException>(() => writer.Write("y", new byte[8]));
        }

        Assert.Equal(old, File.ReadAllBytes(path));
        Assert.Equal([path], Directory.GetFileSystemEntries(folder.Path));
    }

    [Fact]
    public void RefusesWhatTheFormatLacks()
    {
        string path = folder["model.safetensors"];
        Assert.Contains("appears twice", Assert.Throws<ArgumentException>(() => new SafetensorsWriter(path, [("x", "F32", [1]), ("x", "F32", [1])])).Message);
        Assert.Throws<ArgumentException>(() => new SafetensorsWriter(path, [("__metadata__", "F32", [1])]));
        Assert.Throws<ArgumentException>(() => new SafetensorsWriter(path, [("x", "F31", [1])]));
        Assert.Throws<ArgumentException>(() => new SafetensorsWriter(path, [("x", "F32", [-1])]));
        Assert.Throws<ArgumentException>(() => new SafetensorsWriter(path, [("x", "F32", [int.MaxValue, int.MaxValue, int.MaxValue])]));
        Assert.Throws<DirectoryNotFoundException>(() => new SafetensorsWriter(folder["no", "such", "file"], [("x", "F32", [1])]));
        Assert.Empty(Directory.GetFileSystemEntries(folder.Path));
    }

    /// <summary>What tests/disk-full-test.sh does with a real disk.</summary>
    [Fact]
    public void AFailureKeepsTheOldFile()
    {
        string path = folder["model.safetensors"];
        File.WriteAllText(path, "old");
        Assert.Throws<IOException>((Action)(() =>
        {
            using var writer = new SafetensorsWriter(path, [("x", "U8", [1 << 21])]);
            writer.Write("x", new byte[1 << 20]);
            throw new IOException("No space left on device");
        }));
        Assert.Equal("old", File.ReadAllText(path));
        Assert.Equal([path], Directory.GetFileSystemEntries(folder.Path));
    }

    [Property(MaxTest = 60)]
    public void RoundTripsAnyNamesAndBytes((NonNull<string> Name, byte[] Data)[] tensors)
    {
        (string Name, byte[] Data)[] valid = [.. tensors
            .Select(tensor => (Name: tensor.Name.Get, tensor.Data))
            .Where(tensor => tensor.Data is not null && tensor.Name != "__metadata__" && !tensor.Name.Any(char.IsSurrogate))
            .DistinctBy(tensor => tensor.Name)];
        string path = folder["any.safetensors"];
        using (var writer = new SafetensorsWriter(path, valid.Select(tensor => (tensor.Name, "U8", (IReadOnlyList<int>)[tensor.Data.Length]))))
        {
            foreach ((string name, byte[] data) in valid)
                writer.Write(name, data);
            writer.Finish();
        }

        using var file = SafetensorsFile.Open(path);
        Assert.Equal(valid.Length, file.Tensors.Count);
        Assert.All(valid, tensor => Assert.Equal(tensor.Data, file.ReadBytes(tensor.Name).ToArray()));
    }
}
