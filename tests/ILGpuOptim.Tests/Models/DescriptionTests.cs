using ILGpuOptim.Files;
using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Models;

/// <summary>What configurations of the recorded models describe.</summary>
public class DescriptionTests
{
    [Theory]
    [InlineData("gpt2-tiny")]
    [InlineData("llama-tiny")]
    [InlineData("bert-tiny")]
    public void ADescriptionHasTheTensorsOfItsFile(string golden)
    {
        string folder = Goldens.Folder("models", golden);
        ModelConfig config = ModelConfig.Load(Path.Combine(folder, ModelFiles.Config));
        using Safetensors file = Safetensors.Open(folder);
        Dictionary<string, string> expected = file.Tensors.Where(tensor => !config.TiedCopies.ContainsKey(tensor.Key))
            .ToDictionary(tensor => tensor.Key, tensor => string.Join('×', tensor.Value.Shape));
        Assert.Equal(expected.OrderBy(item => item.Key, StringComparer.Ordinal), DescribedParameters.Of(config.Describe())
            .Select(item => KeyValuePair.Create(item.Name, string.Join('×', item.Shape))).OrderBy(item => item.Key, StringComparer.Ordinal));
    }
}
