using System.Runtime.InteropServices;
using ILGpuOptim.Files;

namespace ILGpuOptim.Tests.Files;

public sealed class SafetensorsShardsTests : IDisposable
{
    private readonly TemporaryFolder folder = new();

    public SafetensorsShardsTests()
    {
        Write("a-of-2.safetensors", "x", [1, 2]);
        Write("b-of-2.safetensors", "y", [3]);
    }

    public void Dispose() => folder.Dispose();

    private void Write(string file, string name, float[] values)
    {
        using var writer = new SafetensorsWriter(folder[file], [(name, "F32", [values.Length])], new Dictionary<string, string> { ["format"] = "pt", [name] = file });
        writer.Write(name, MemoryMarshal.AsBytes<float>(values));
        writer.Finish();
    }

    private string Index(string json)
    {
        File.WriteAllText(folder[Safetensors.IndexName], json);
        return folder[Safetensors.IndexName];
    }

    [Fact]
    public void AFolderOfShardsReadsLikeAFile()
    {
        Index("""{"metadata":{"total_size":12},"weight_map":{"y":"b-of-2.safetensors","x":"a-of-2.safetensors"}}""");
        using Safetensors model = Safetensors.Open(folder.Path);
        Assert.Equal([1f, 2f], model.ReadF32("x"));
        Assert.Equal([3f], model.ReadF32("y"));
        Assert.Equal(2, model.Tensors.Count);
        Assert.Equal(4, model.ReadBytes("y").Length);
        Assert.Equal("pt", model.Metadata["format"]);
        Assert.Equal("a-of-2.safetensors", model.Metadata["x"]);
        Assert.Contains("no tensor z among its 2", Assert.Throws<SafetensorsException>(() => model.ReadF32("z")).Message);
        Assert.Contains("no tensor z", Assert.Throws<SafetensorsException>(() => model.ReadI32("z")).Message);
    }

    [Fact]
    public void AByteOrderMarkBeforeTheIndexDoesNotMatter()
    {
        string path = Index("""{"weight_map":{"y":"b-of-2.safetensors","x":"a-of-2.safetensors"}}""");
        File.WriteAllBytes(path, [0xEF, 0xBB, 0xBF, .. File.ReadAllBytes(path)]);
        using Safetensors model = Safetensors.Open(path);
        Assert.Equal(2, model.Tensors.Count);
    }

    [Theory]
    [InlineData("""{"weight_map":{"x":"b-of-2.safetensors"}}""", "the tensor x is not in b-of-2.safetensors")]
    [InlineData("""{"weight_map":{"x":"c.safetensors"}}""", "c.safetensors: there is no such file")]
    [InlineData("""{"weight_map":{"x":"../a-of-2.safetensors"}}""", "must have a plain file name, not \"../a-of-2.safetensors\"")]
    [InlineData("""{"weight_map":{"x":"/etc/passwd"}}""", "must have a plain file name")]
    [InlineData("""{"weight_map":{"x":".."}}""", "must have a plain file name")]
    [InlineData("""{"weight_map":{"x":""}}""", "must have a plain file name")]
    [InlineData("""{"weight_map":{"x":7}}""", "weight_map.x is 7; it must be a string")]
    [InlineData("""{"weight_map":{"x":"a-of-2.safetensors","x":"a-of-2.safetensors"}}""", "appears twice")]
    [InlineData("""{"weight_map":[]}""", "weight_map is []; it must be an object")]
    [InlineData("""[]""", "it must be an object")]
    [InlineData("""{"weight_map":""", "not valid JSON")]
    [InlineData("""{"weight_map":{"x\ud800":"a"}}""", "half a surrogate pair")]
    [InlineData("", "empty")]
    public void DamageIsNamed(string json, string message)
    {
        string path = Index(json);
        string error = Assert.Throws<SafetensorsException>(() => Safetensors.Open(path)).Message;
        Assert.Contains(message, error);
        Assert.Contains(folder.Path, error);
    }

    [Fact]
    public void AMissingIndexIsNamed() =>
        Assert.Contains("no such file", Assert.Throws<SafetensorsException>(() => SafetensorsShards.Open(folder["x.json"])).Message);
}
