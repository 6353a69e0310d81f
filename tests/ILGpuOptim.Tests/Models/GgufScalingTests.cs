using ILGpuOptim.Compute;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Models;

/// <summary>The scaling of rotary frequencies in GGUF files is that which llama.cpp computes from their keys and tensors, or is refused by name.</summary>
public sealed class GgufScalingTests : IDisposable
{
    private static readonly float[] Ones = [1, 1, 1, 1], Divisors = [1, 2, 4, 8];

    private readonly TemporaryFolder folder = new();
    private readonly CpuDevice device = new(1);

    public void Dispose()
    {
        device.Dispose();
        folder.Dispose();
    }

    /// <summary>A file with other keys, and with divisors of the frequencies.</summary>
    private string Write(float[]? divisors, params (string Key, object Value)[] changes)
    {
        using LanguageModel model = ModelFiles.Load(Goldens.Folder("models", "llama-tiny"), device);
        TransformerDescription description = ((Transformer)model).Description;
        GgufArchitecture architecture = GgufArchitecture.Of(model.Config).For(model.Config, description);
        (string Name, float[] Values, IReadOnlyList<int> Shape)[] tensors =
        [
            .. GgufTensors.Of(description, architecture).Select(tensor => (tensor.Name, new float[tensor.Shape.Aggregate(1, (product, size) => product * size)], (IReadOnlyList<int>)[.. tensor.Shape])),
            .. divisors is null ? [] : ((string, float[], IReadOnlyList<int>)[])[(GgufModelMetadata.Divisors, divisors, [divisors.Length])],
        ];
        (string, object)[] values = [.. new GgufModelMetadata(model.Config, description, architecture).Values(GgufType.F32), .. changes];
        string path = folder["a.gguf"];
        using var writer = new GgufWriter(path, values, [.. tensors.Select(tensor => new GgufTensorInfo(tensor.Name, GgufType.F32, tensor.Shape))]);
        foreach ((_, float[] contents, _) in tensors)
            writer.Write(contents);
        writer.Finish();
        return path;
    }

    [Theory]
    [InlineData(null, null, null)]
    [InlineData(null, 2f, "linear")]
    [InlineData("linear", 2f, "linear")]
    [InlineData("none", 2f, null)]
    [InlineData("yarn", 2f, "yarn")]
    public void TheTypeDecides(string? type, float? factor, string? kind)
    {
        var changes = new List<(string, object)>();
        if (type is not null)
            changes.Add(("llama.rope.scaling.type", type));
        if (factor is { } number)
            changes.Add(("llama.rope.scaling.factor", number));
        using LanguageModel model = GgufModelFile.Import(Write(Ones, [.. changes]), device, null);
        RotaryScaling? scaling = ((DecoderConfig)model.Config).RopeScaling;
        Assert.True(kind is null ? scaling is null or { Name: "llama3", Factor: 1 } : scaling?.Name == kind);
    }

    [Theory]
    [InlineData("linear", false, "rope_freqs.weight")]
    [InlineData("yarn", false, "rope_freqs.weight")]
    [InlineData("linear", true, "attn_factor")]
    [InlineData("none", true, "attn_factor")]
    public void WhatATypeDoesNotReadIsRefused(string type, bool hasAttention, string word)
    {
        (string, object) second = hasAttention ? ("llama.rope.scaling.attn_factor", 2f) : ("llama.rope.scaling.factor", 2f);
        string path = Write(hasAttention ? null : Divisors, ("llama.rope.scaling.type", type), second);
        Assert.Contains(word, Assert.Throws<UserException>(() => GgufModelFile.Import(path, device, null)).Message, StringComparison.Ordinal);
    }
}
