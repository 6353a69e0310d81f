using System.Text.Json.Nodes;
using ILGpuOptim.Compute;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Models;

/// <summary>The closed list of <c>adapter_config.json</c>, and adapters whose tensors contradict it.</summary>
public sealed class AdapterConfigTests : IDisposable
{
    private static readonly string Base = Path.GetFullPath(Goldens.Folder("models", "llama-tiny"));

    private readonly TemporaryFolder folder = new();
    private readonly CpuDevice device = new(1);

    public void Dispose()
    {
        device.Dispose();
        folder.Dispose();
    }

    [Theory]
    [InlineData("init_lora_weights", "\"pissa\"")]
    [InlineData("init_lora_weights", "\"pissa_niter_16\"")]
    [InlineData("init_lora_weights", "\"olora\"")]
    [InlineData("init_lora_weights", "\"corda\"")]
    [InlineData("init_lora_weights", "\"eva\"")]
    [InlineData("init_lora_weights", "\"loftq\"")]
    [InlineData("init_lora_weights", "\"lora_ga\"")]
    [InlineData("use_dora", "1")]
    [InlineData("use_qalora", "true")]
    [InlineData("lora_bias", "true")]
    [InlineData("bias", "\"all\"")]
    [InlineData("bias", "\"lora_only\"")]
    [InlineData("modules_to_save", "[\"lm_head\"]")]
    [InlineData("trainable_token_indices", "[1, 2]")]
    [InlineData("target_parameters", "[\"a\"]")]
    [InlineData("layer_replication", "[[0, 1]]")]
    [InlineData("rank_pattern", "{\".*q_proj\": 4}")]
    [InlineData("rank_pattern", "{\"q_proj\": 4}")]
    [InlineData("peft_type", "\"IA3\"")]
    [InlineData("r", "\"2\"")]
    [InlineData("r", "0")]
    [InlineData("r", "2147483647")]
    [InlineData("lora_alpha", "\"16\"")]
    [InlineData("lora_alpha", "null")]
    [InlineData("target_modules", "[\"k_proj\"]")]
    [InlineData("exclude_modules", "[\"q_proj\"]")]
    [InlineData("layers_to_transform", "[0]")]
    [InlineData("layers_to_transform", "1")]
    [InlineData("layers_to_transform", "[\"0\"]")]
    [InlineData("new_method", "true")]
    public void WhatIsNotModelledIsRefusedByName(string field, string value)
    {
        Write(config => config[field] = JsonNode.Parse(value));
        string message = Assert.ThrowsAny<UserException>(() => ModelFiles.Load(folder.Path, device)).Message;
        Assert.Contains(field == "r" || field == "rank_pattern" ? "adapter_config.json" : field, message, StringComparison.Ordinal);
        Assert.DoesNotContain("System.", message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("init_lora_weights", "true")]
    [InlineData("init_lora_weights", "false")]
    [InlineData("init_lora_weights", "\"gaussian\"")]
    [InlineData("use_dora", "false")]
    [InlineData("target_modules", "\".*(q|v)_proj\"")]
    [InlineData("target_modules", "\"all-linear\"")]
    [InlineData("exclude_modules", "[\"k_proj\"]")]
    [InlineData("layers_to_transform", "[0, 1]")]
    [InlineData("layers_pattern", "\"layers\"")]
    [InlineData("layers_pattern", "[]")]
    [InlineData("target_modules", "[\"q_proj\", \"v_proj\", \"query_key_value\"]")]
    [InlineData("loftq_config", "{}")]
    [InlineData("lora_dropout", "0.1")]
    [InlineData("megatron_core", "\"megatron.core\"")]
    [InlineData("peft_version", "\"0.18.0\"")]
    [InlineData("future", "null")]
    public void WhatChangesNothingIsAccepted(string field, string value)
    {
        Write(config => config[field] = JsonNode.Parse(value));
        using LanguageModel model = ModelFiles.Load(folder.Path, device);
        Assert.Empty(model.Adapters);
    }

    /// <summary>alpha / √r for all, then another alpha for one kind of product: each as B A added by hand.</summary>
    [Theory]
    [InlineData("use_rslora", "true", "q_proj", 5 * 1.41421356)]
    [InlineData("alpha_pattern", "{\"q_proj\": 7}", "q_proj", 7)]
    [InlineData("alpha_pattern", "{\"layers.0.self_attn.q_proj\": 7}", "q_proj", 7)]
    [InlineData("alpha_pattern", "{\"v_proj\": 7}", "q_proj", 5)]
    public void AlphaIsThatOfTheModule(string field, string value, string part, double alpha)
    {
        Write(config => config[field] = JsonNode.Parse(value));
        string name = $"model.layers.0.self_attn.{part}.weight";
        using Safetensors file = Safetensors.Open(Path.Combine(folder.Path, AdapterFiles.Weights)), frozen = Safetensors.Open(Base);
        float[] a = file.ReadF32($"base_model.model.model.layers.0.self_attn.{part}.lora_A.weight"), b = file.ReadF32($"base_model.model.model.layers.0.self_attn.{part}.lora_B.weight"), w = frozen.ReadF32(name);
        using LanguageModel model = ModelFiles.Load(folder.Path, device);
        Parameter merged = model.Parameters.Single(parameter => parameter.Name == name);
        int inputs = merged.Shape[1];
        float[] actual = merged.ToArray();
        for (int i = 0; i < actual.Length; i++)
        {
            int row = i / inputs, column = i % inputs;
            double expected = w[i] + alpha / 2 * (b[2 * row] * a[column] + b[2 * row + 1] * a[inputs + column]);
            Assert.Equal(expected, actual[i], 1e-7);
        }
    }

    /// <summary>A part of the adapters that the settings name would be another model.</summary>
    [Theory]
    [InlineData("[\"q_proj\", \"v_proj\", \"k_proj\"]", null, "model.layers.0.self_attn.k_proj")]
    [InlineData("[\"q_proj\", \"v_proj\"]", "layers.1.", "model.layers.1.self_attn.q_proj")]
    [InlineData("[\"q_proj\", \"v_proj\"]", "v_proj", "model.layers.0.self_attn.v_proj")]
    public void AFileWithoutSomeOfTheNamedAdaptersIsRefused(string targets, string? without, string missing)
    {
        Write(config => config["target_modules"] = JsonNode.Parse(targets));
        if (without is not null)
            Keep(name => !name.Contains(without, StringComparison.Ordinal));
        Assert.Contains($"no adapter of {missing},", Assert.ThrowsAny<UserException>(() => ModelFiles.Load(folder.Path, device)).Message, StringComparison.Ordinal);
    }

    /// <summary>Only the layers of <c>layers_to_transform</c> need adapters; <c>layers_pattern</c> says where the number of a layer stands.</summary>
    [Theory]
    [InlineData("\"layers\"", true)]
    [InlineData("[\"blocks\", \"layers\"]", true)]
    [InlineData("\"blocks\"", false)]
    public void LayersAreNumberedBehindTheirPattern(string pattern, bool fits)
    {
        Write(config => (config["layers_to_transform"], config["layers_pattern"]) = (0, JsonNode.Parse(pattern)));
        Keep(name => name.Contains("layers.0.", StringComparison.Ordinal));
        if (fits)
            ModelFiles.Load(folder.Path, device).Dispose();
        else
            Assert.ThrowsAny<UserException>(() => ModelFiles.Load(folder.Path, device));
    }

    [Fact]
    public void PissaIsRefused()
    {
        string message = Assert.ThrowsAny<UserException>(() => ModelFiles.Load(Goldens.Folder("foreign", "pissa", "pissa"), device)).Message;
        Assert.Contains("init_lora_weights is \"pissa\"", message, StringComparison.Ordinal);
    }

    /// <summary>An empty tensor may have any rank in its header.</summary>
    [Fact]
    public void TheRankOfAnEmptyTensorTakesNoMemory()
    {
        Assert.ThrowsAny<UserException>(() => ModelFiles.Load(Goldens.Folder("foreign", "adapter-rank"), device));
        Write(null);
        using (var writer = new SafetensorsWriter(folder[AdapterFiles.Weights], [("model.layers.0.self_attn.q_proj.lora_A.weight", "F32", [int.MaxValue, 0]), ("model.layers.0.self_attn.q_proj.lora_B.weight", "F32", [0, int.MaxValue])]))
        {
            writer.Write("model.layers.0.self_attn.q_proj.lora_A.weight", []);
            writer.Write("model.layers.0.self_attn.q_proj.lora_B.weight", []);
            writer.Finish();
        }

        Assert.Contains("2147483647×0", Assert.ThrowsAny<UserException>(() => ModelFiles.Load(folder.Path, device)).Message, StringComparison.Ordinal);
    }

    /// <summary>Leaves some tensors out of the file.</summary>
    private void Keep(Func<string, bool> keeps)
    {
        string path = folder[AdapterFiles.Weights];
        Dictionary<string, (SafetensorsEntry Entry, byte[] Bytes)> kept;
        using (Safetensors file = Safetensors.Open(path))
            kept = file.Tensors.Where(tensor => keeps(tensor.Key)).ToDictionary(tensor => tensor.Key, tensor => (tensor.Value, file.ReadBytes(tensor.Key)));
        using var writer = new SafetensorsWriter(path, kept.Select(tensor => (tensor.Key, tensor.Value.Entry.Type, (IReadOnlyList<int>)[.. tensor.Value.Entry.Shape.Select(size => (int)size)])));
        foreach ((string name, (_, byte[] bytes)) in kept)
            writer.Write(name, bytes);
        writer.Finish();
    }

    private void Write(Action<JsonNode>? change)
    {
        using (LanguageModel model = ModelFiles.Load(Base, device))
        {
            model.AddAdapters(new LoraOptions { Rank = 2, Alpha = 5 }, new Initializer(device, 1));
            foreach (LoraAdapter adapter in model.Adapters)
                device.Random(adapter.B.Data, RandomKind.Normal, 0.1f, 11, (ulong)adapter.Module.Length);
            AdapterFiles.Save(folder.Path, model, Base);
        }

        if (change is null)
            return;
        JsonNode config = JsonNode.Parse(File.ReadAllText(folder[AdapterFiles.Config]))!;
        change(config);
        File.WriteAllText(folder[AdapterFiles.Config], config.ToJsonString());
    }
}
