using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using ILGpuOptim.Compute;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Models;

/// <summary>Copies of the recorded models as other makers would have written them.</summary>
public sealed class ModelFilesTests : IDisposable
{
    private readonly TemporaryFolder folder = new();
    private readonly CpuDevice device = new(2);

    public void Dispose()
    {
        device.Dispose();
        folder.Dispose();
    }

    public static TheoryData<string, string, string> Prefixes => new()
    {
        { "gpt2-tiny", "", "transformer." },
        { "llama-tiny", "model.", "" },
        { "bert-tiny", "bert.", "" },
    };

    [Theory]
    [MemberData(nameof(Prefixes))]
    public void PrefixesDoNotMatter(string model, string prefix, string other)
    {
        Copy(model, name => name.StartsWith(prefix, StringComparison.Ordinal) ? other + name[prefix.Length..] : name);
        SameLogits(model, 0);
    }

    [Theory]
    [InlineData("gpt2-tiny", "F16", 2e-3f)]
    [InlineData("llama-tiny", "F16", 2e-3f)]
    [InlineData("bert-tiny", "BF16", 2e-2f)]
    [InlineData("llama-tiny", "BF16", 2e-2f)]
    [InlineData("llama-tiny", "F64", 0f)]
    public void OtherTypesAreRead(string model, string type, float tolerance)
    {
        Copy(model, type: type);
        SameLogits(model, tolerance);
    }

    [Theory]
    [InlineData("gpt2-tiny")]
    [InlineData("llama-tiny")]
    [InlineData("bert-tiny")]
    public void ShardsAreRead(string model)
    {
        Dictionary<string, (int[] Shape, float[] Values)> tensors = Read(model);
        var map = new JsonObject();
        foreach ((KeyValuePair<string, (int[], float[])>[] part, int i) in tensors.Chunk(5).Select((part, i) => (part, i)))
        {
            string file = $"model-{i:D5}.safetensors";
            Write(file, part.ToDictionary());
            foreach ((string name, _) in part)
                map[name] = file;
        }

        File.WriteAllText(folder[Safetensors.IndexName], new JsonObject { ["weight_map"] = map }.ToJsonString());
        File.Copy(Path.Combine(Goldens.Folder("models", model), "config.json"), folder["config.json"]);
        SameLogits(model, 0);
    }

    [Theory]
    [InlineData("gpt2-tiny", "h.0.attn.bias", "h.1.attn.masked_bias")]
    [InlineData("llama-tiny", "model.layers.0.self_attn.rotary_emb.inv_freq")]
    [InlineData("bert-tiny", "bert.embeddings.position_ids", "bert.pooler.dense.weight", "bert.pooler.dense.bias", "cls.seq_relationship.weight")]
    public void BuffersAndOtherHeadsAreIgnored(string model, params string[] names)
    {
        Copy(model, extra: names);
        SameLogits(model, 0);
    }

    [Fact]
    public void OldNamesOfNormsAreKnown()
    {
        Copy("bert-tiny", name => name.Replace("LayerNorm.weight", "LayerNorm.gamma", StringComparison.Ordinal).Replace("LayerNorm.bias", "LayerNorm.beta", StringComparison.Ordinal));
        SameLogits("bert-tiny", 0);
    }

    [Fact]
    public void MissingAndUnknownTensorsAreOneClearError()
    {
        Copy("llama-tiny", name => name == "model.norm.weight" ? "model.rest.weight" : name);
        Assert.Contains("there is no tensor model.norm.weight;", Refused(), StringComparison.Ordinal);
        Copy("llama-tiny", extra: ["model.layers.0.self_attn.q_norm.weight", "a", "b", "c"]);
        Assert.Contains("has no a, b, c and 1 more", Refused(), StringComparison.Ordinal);
        Copy("llama-tiny", change: config => config["num_key_value_heads"] = 3);
        Assert.Contains("model.layers.0.self_attn.k_proj.weight is 16×48, but config.json makes it 24×48", Refused(), StringComparison.Ordinal);
        Copy("llama-tiny", change: config => config["model_type"] = "mamba");
        Assert.Contains("model_type \"mamba\" is not supported. There are bert, gemma2, gemma3_text, gpt2,", Refused(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("gpt2-tiny", "wte.weight", "lm_head.weight")]
    [InlineData("llama-tiny", "model.embed_tokens.weight", "lm_head.weight")]
    [InlineData("bert-tiny", "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder.weight")]
    [InlineData("bert-tiny", "cls.predictions.bias", "cls.predictions.decoder.bias", true)]
    public void ATiedHeadMayHaveATensorWithTheSameValues(string name, string original, string copy, bool isRefused = false)
    {
        Dictionary<string, (int[] Shape, float[] Values)> tensors = Read(name);
        tensors.Remove(copy);
        Config(name, config => config["tie_word_embeddings"] = true);
        Write(Safetensors.FileName, tensors);
        using (LanguageModel model = ModelFiles.Load(folder.Path, device))
            Assert.DoesNotContain(model.Parameters, parameter => parameter.Name == copy);
        tensors[copy] = (tensors[original].Shape, [.. tensors[original].Values]);
        Write(Safetensors.FileName, tensors);
        using (LanguageModel model = ModelFiles.Load(folder.Path, device))
            Assert.DoesNotContain(model.Parameters, parameter => parameter.Name == copy);
        tensors[copy].Values[^1] += 1;
        Write(Safetensors.FileName, tensors);
        if (isRefused)
        {
            Assert.Contains($"{copy} differs from {original}", Refused(), StringComparison.Ordinal);
            return;
        }

        // Different values: the head has a matrix of its own, as in Hugging Face's library.
        using LanguageModel untied = ModelFiles.Load(folder.Path, device);
        Assert.False(untied.Config.TieWordEmbeddings);
        Assert.Equal(tensors[copy].Values, untied.Head!.ToArray());
        Assert.Equal(tensors[original].Values, untied.Parameters.Single(parameter => parameter.Name == original).ToArray());
    }

    [Fact]
    public void TensorsOfOtherHeadsAreNamed()
    {
        Copy("bert-tiny", extra: ["bert.pooler.dense.weight", "cls.seq_relationship.weight"]);
        using LanguageModel model = ModelFiles.Load(folder.Path, device);
        Assert.Equal(["bert.pooler.dense.weight", "cls.seq_relationship.weight"], model.UnusedTensors.Order(StringComparer.Ordinal));
        Copy("bert-tiny", extra: ["classifier.weight"]);
        Assert.Contains("has no classifier.weight", Refused(), StringComparison.Ordinal);
    }

    public static TheoryData<string, byte[], string> OtherKinds => new()
    {
        { "model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:aaaa\nsize 548105171\n"u8.ToArray(), "git lfs pull" },
        { "model.safetensors", "PK\x03\x04 and more bytes"u8.ToArray(), "a file of PyTorch" },
        { "model.safetensors", "GGUF and more bytes"u8.ToArray(), "a GGUF file" },
        { "model.safetensors", "<!DOCTYPE html><html></html>"u8.ToArray(), "a web page" },
        { "config.json", "version https://git-lfs.github.com/spec/v1\noid sha256:aaaa\nsize 548\n"u8.ToArray(), "git lfs pull" },
        { "pytorch_model.bin", [0], "its weights are in pytorch_model.bin, which is not supported" },
        { "pytorch_model.bin.index.json", [0], "its weights are in pytorch_model.bin.index.json" },
        { "model-Q4_K_M.gguf", [0], "its weights are in model-Q4_K_M.gguf" },
        { "tf_model.h5", [0], "its weights are in tf_model.h5" },
        { "consolidated.00.pth", [0], "its weights are in consolidated.00.pth" },
        { "train.bin", [0], "neither model.safetensors nor" },
    };

    [Theory]
    [MemberData(nameof(OtherKinds))]
    public void FilesOfOtherKindsAreNamed(string file, byte[] contents, string expected)
    {
        Config("gpt2-tiny", _ => { });
        File.WriteAllBytes(folder[file], contents);
        string message = Refused();
        Assert.Contains(expected, message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Fact]
    public void TheGenerationConfigurationIsKept()
    {
        Copy("gpt2-tiny");
        File.WriteAllText(folder["generation_config.json"], """{"eos_token_id": [5, 7]}""");
        using LanguageModel model = ModelFiles.Load(folder.Path, device);
        using var target = new TemporaryFolder();
        ModelFiles.Save(target.Path, model);
        Assert.Equal(File.ReadAllText(folder["generation_config.json"]), File.ReadAllText(target["generation_config.json"]));
    }

    [Theory]
    [InlineData("""{"model_type":"llama","vocab_size":40,"hidden_size":24,"intermediate_size":20,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":1,"head_dim":8,"attention_bias":true,"mlp_bias":true,"eos_token_id":2,"torch_dtype":"bfloat16"}""")]
    [InlineData("""{"model_type":"llama","vocab_size":40,"hidden_size":24,"intermediate_size":20,"num_hidden_layers":1,"num_attention_heads":6,"num_key_value_heads":3,"tie_word_embeddings":true,"rope_scaling":{"rope_type":"linear","factor":2.0}}""")]
    [InlineData("""{"model_type":"bert","vocab_size":40,"hidden_size":24,"intermediate_size":20,"num_hidden_layers":1,"num_attention_heads":3,"type_vocab_size":3,"classifier_dropout":null}""")]
    [InlineData("""{"model_type":"gpt2","vocab_size":40,"n_positions":16,"n_embd":24,"n_layer":1,"n_head":2,"n_inner":20,"bos_token_id":1}""")]
    public void WhatIsWrittenIsReadAgain(string text)
    {
        ModelConfig config = ModelConfig.Parse(text, "config.json");
        int[] tokens = [1, 2, 3, 4, 5, 6];
        float[] expected;
        using (LanguageModel model = config.Create(new Initializer(device, 3)))
        {
            expected = Logits(model, tokens);
            Assert.Equal(model.Parameters.Select(parameter => (parameter.Name, string.Join('×', parameter.Shape))), config.ParameterShapes().Select(item => (item.Name, string.Join('×', item.Shape))));
            ModelFiles.Save(folder.Path, model);
        }

        using LanguageModel again = ModelFiles.Load(folder.Path, device);
        Assert.Equal(expected, Logits(again, tokens));
        using JsonDocument before = JsonDocument.Parse(text), after = JsonDocument.Parse(File.ReadAllText(folder["config.json"]));
        foreach (JsonProperty field in before.RootElement.EnumerateObject().Where(field => field.Name != "torch_dtype"))
            Assert.True(JsonElement.DeepEquals(field.Value, after.RootElement.GetProperty(field.Name)), field.Name);
        Assert.False(after.RootElement.TryGetProperty("torch_dtype", out _));
    }

    private string Refused() => Assert.ThrowsAny<UserException>(() => ModelFiles.Load(folder.Path, device)).Message;

    private void SameLogits(string model, float tolerance)
    {
        int[] tokens = [3, 1, 4, 1, 5, 9, 2, 6];
        using LanguageModel expected = ModelFiles.Load(Goldens.Folder("models", model), device), actual = ModelFiles.Load(folder.Path, device);
        float[] wanted = Logits(expected, tokens);
        float largest = wanted.Max(MathF.Abs);
        Assert.All(Logits(actual, tokens).Zip(wanted), pair => Assert.True(MathF.Abs(pair.First - pair.Second) <= tolerance * largest, $"{pair}"));
    }

    private float[] Logits(LanguageModel model, int[] tokens)
    {
        var tape = new Tape(device) { IsRecording = false, IsTraining = false };
        float[] logits = model.Logits(tape, tokens, 1).ToArray();
        tape.Reset();
        return logits;
    }

    private static Dictionary<string, (int[] Shape, float[] Values)> Read(string model)
    {
        using Safetensors file = Safetensors.Open(Goldens.Folder("models", model));
        return file.Tensors.ToDictionary(pair => pair.Key, pair => (pair.Value.Shape.Select(size => (int)size).ToArray(), file.ReadF32(pair.Key)));
    }

    private void Copy(string model, Func<string, string>? rename = null, string type = "F32", string[]? extra = null, Action<JsonNode>? change = null)
    {
        Dictionary<string, (int[] Shape, float[] Values)> tensors = Read(model).ToDictionary(pair => rename?.Invoke(pair.Key) ?? pair.Key, pair => pair.Value);
        foreach (string name in extra ?? [])
            tensors[name] = ([1, 2], [1, 2]);
        Write(Safetensors.FileName, tensors, type);
        Config(model, change);
    }

    private void Config(string model, Action<JsonNode>? change)
    {
        JsonNode config = JsonNode.Parse(File.ReadAllText(Path.Combine(Goldens.Folder("models", model), "config.json")))!;
        change?.Invoke(config);
        File.WriteAllText(folder["config.json"], config.ToJsonString());
    }

    private void Write(string file, Dictionary<string, (int[] Shape, float[] Values)> tensors, string type = "F32")
    {
        using var writer = new SafetensorsWriter(folder[file], tensors.Select(pair => (pair.Key, type, (IReadOnlyList<int>)pair.Value.Shape)));
        foreach ((string name, (_, float[] values)) in tensors)
            writer.Write(name, Bytes(values, type));
        writer.Finish();
    }

    private static ReadOnlySpan<byte> Bytes(float[] values, string type)
    {
        if (type == "F16")
            return MemoryMarshal.AsBytes<Half>(values.Select(value => (Half)value).ToArray());
        if (type == "F64")
            return MemoryMarshal.AsBytes<double>(values.Select(value => (double)value).ToArray());
        if (type == "F32")
            return MemoryMarshal.AsBytes<float>(values);
        var narrow = new ushort[values.Length];
        Bf16.Narrow(values, narrow);
        return MemoryMarshal.AsBytes<ushort>(narrow);
    }
}
