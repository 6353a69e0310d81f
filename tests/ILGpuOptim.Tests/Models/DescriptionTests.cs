using System.Text.Json.Nodes;
using ILGpuOptim.Files;
using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Models;

/// <summary>What configurations of the recorded models describe.</summary>
public class DescriptionTests
{
    public static TheoryData<string> Recorded => [.. Directory.EnumerateDirectories(Goldens.Folder("models")).Select(folder => Path.GetFileName(folder)!)];

    [Theory]
    [MemberData(nameof(Recorded))]
    public void ADescriptionHasTheTensorsOfItsFile(string golden)
    {
        string folder = Goldens.Folder("models", golden);
        ModelConfig config = ModelConfig.Load(Path.Combine(folder, ModelFiles.Config));
        using Safetensors file = Safetensors.Open(folder);
        Dictionary<string, string> expected = file.Tensors.Where(tensor => !config.TiedCopies.ContainsKey(tensor.Key))
            .ToDictionary(tensor => tensor.Key, tensor => string.Join('×', tensor.Value.Shape));
        Assert.Equal(expected.OrderBy(item => item.Key, StringComparer.Ordinal), DescribedParameters.Of(config.Describe()!)
            .Select(item => KeyValuePair.Create(item.Name, string.Join('×', item.Shape))).OrderBy(item => item.Key, StringComparer.Ordinal));
    }

    [Theory]
    [MemberData(nameof(Recorded))]
    public void AConfigurationIsWrittenAsItWasRead(string golden)
    {
        string text = File.ReadAllText(Path.Combine(Goldens.Folder("models", golden), ModelFiles.Config));
        ModelConfig config = ModelConfig.Parse(text, "config.json");
        JsonObject before = JsonNode.Parse(text)!.AsObject(), after = JsonNode.Parse(config.ToJson())!.AsObject();
        foreach ((string name, JsonNode? value) in before.Where(field => field.Key is not ("dtype" or "torch_dtype")))
        {
            if (value is not null)
                Assert.True(JsonNode.DeepEquals(value, after[name]), $"{name}: {value} {after[name]}");
            else
                Assert.Null(after[name]);
        }

        Assert.Equal(config.ToJson(), ModelConfig.Parse(config.ToJson(), "again").ToJson());
        Assert.Equal(config.ToJson(), config.Resized().ToJson());
    }
}
