using Google.Protobuf;
using ILGpuOptim.Compute;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Models;

/// <summary>The form of ONNX files. That ONNX Runtime computes the same from them is checked by tests/ILGpuOptim.ExportOracle.</summary>
public class OnnxModelTests
{
    [Theory]
    [InlineData("gpt2", false)]
    [InlineData("mixtral", true)]
    [InlineData("t5", false)]
    public void EveryParameterIsInTheFileOnce(string family, bool isSplit)
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        using LanguageModel model = ModelFiles.Load(Goldens.Folder("models", family + "-tiny"), device);
        OnnxModelFile.Export(model, folder["a.onnx"], isSplit ? 0 : long.MaxValue);
        Assert.Equal(isSplit, File.Exists(folder["a.onnx.data"]));
        byte[]? data = isSplit ? File.ReadAllBytes(folder["a.onnx.data"]) : null;
        Dictionary<string, float[]> tensors = Tensors(File.ReadAllBytes(folder["a.onnx"]), data);
        foreach (Parameter parameter in model.Parameters)
        {
            float[] values = parameter.ToArray();
            if (tensors.TryGetValue(parameter.Name, out float[]? plain))
                Assert.Equal(values, plain);
            else
                Assert.Equal(values.Order(), tensors[parameter.Name + ".transposed"].Order());
            Assert.False(tensors.ContainsKey(parameter.Name) && tensors.ContainsKey(parameter.Name + ".transposed"));
        }
    }

    [Fact]
    public void AnActivationWithoutAnOperatorIsRefusedByName()
    {
        using var folder = new TemporaryFolder();
        using var device = new CpuDevice(1);
        var config = new Gpt2Config { VocabularySize = 9, ContextLength = 4, HiddenSize = 4, Layers = 1, Heads = 1, ActivationFunction = "laplace" };
        using LanguageModel model = config.Create(new Initializer(device, 1));
        Assert.Contains("\"laplace\"", Assert.Throws<UserException>(() => OnnxModelFile.Export(model, folder["a.onnx"])).Message);
        Assert.Empty(Directory.EnumerateFileSystemEntries(folder.Path));
    }

    /// <summary>The float tensors of a file; it must be read to its end.</summary>
    private static Dictionary<string, float[]> Tensors(byte[] file, byte[]? data)
    {
        var result = new Dictionary<string, float[]>();
        foreach (ByteString graph in Fields(file, 7))
        {
            foreach (ByteString tensor in Fields(graph.ToByteArray(), 5))
            {
                byte[] bytes = tensor.ToByteArray();
                string name = Fields(bytes, 8).Single().ToStringUtf8();
                if (Number(bytes, 2) != 1)
                    continue;
                Dictionary<string, string> place = Fields(bytes, 13).Select(entry => entry.ToByteArray()).ToDictionary(entry => Fields(entry, 1).Single().ToStringUtf8(), entry => Fields(entry, 2).Single().ToStringUtf8());
                ReadOnlySpan<byte> raw = place.Count == 0 ? Fields(bytes, 9).Single().Span : data.AsSpan(int.Parse(place["offset"]), int.Parse(place["length"]));
                result.Add(name, System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(raw).ToArray());
            }
        }

        return result;
    }

    private static List<ByteString> Fields(byte[] message, int number)
    {
        var result = new List<ByteString>();
        var input = new CodedInputStream(message);
        while (input.ReadTag() is var tag and not 0)
        {
            if (WireFormat.GetTagFieldNumber(tag) == number)
                result.Add(input.ReadBytes());
            else
                input.SkipLastField();
        }

        return result;
    }

    private static long Number(byte[] message, int number)
    {
        var input = new CodedInputStream(message);
        while (input.ReadTag() is var tag and not 0)
        {
            if (WireFormat.GetTagFieldNumber(tag) == number)
                return input.ReadInt64();
            input.SkipLastField();
        }

        return 0;
    }
}
