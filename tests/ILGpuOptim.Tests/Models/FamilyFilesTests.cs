using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using ILGpuOptim.Compute;
using ILGpuOptim.Files;
using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Models;

/// <summary>Files of the families as other makers write them.</summary>
public sealed class FamilyFilesTests : IDisposable
{
    private readonly TemporaryFolder folder = new();
    private readonly CpuDevice device = new(2);

    public void Dispose()
    {
        device.Dispose();
        folder.Dispose();
    }

    [Theory]
    [MemberData(nameof(DescriptionTests.Recorded), MemberType = typeof(DescriptionTests))]
    public void WhatIsWrittenIsWhatWasRead(string golden)
    {
        Dictionary<string, (int[] Shape, float[] Values)> before = Read(Goldens.Folder("models", golden));
        using (LanguageModel model = ModelFiles.Load(Goldens.Folder("models", golden), device))
        {
            ModelFiles.Save(folder.Path, model);
            foreach (string copy in model.Config.TiedCopies.Keys)
                before.Remove(copy);
        }

        Dictionary<string, (int[] Shape, float[] Values)> after = Read(folder.Path);
        Assert.Equal(before.Keys.Order(StringComparer.Ordinal), after.Keys.Order(StringComparer.Ordinal));
        Assert.All(before, item => Assert.True(item.Value.Shape.SequenceEqual(after[item.Key].Shape) && item.Value.Values.AsSpan().SequenceEqual(after[item.Key].Values), item.Key));
        using LanguageModel again = ModelFiles.Load(folder.Path, device);
    }

    [Theory]
    [InlineData("mistral-tiny", "model.")]
    [InlineData("gemma3-tiny", "model.")]
    [InlineData("roberta-tiny", "roberta.")]
    [InlineData("gpt_neox-tiny", "gpt_neox.")]
    [InlineData("modernbert-tiny", "model.")]
    public void ThePrefixOfTheBaseModelMayBeMissing(string golden, string prefix)
    {
        Copy(golden, tensors => tensors.ToDictionary(item => item.Key.StartsWith(prefix, StringComparison.Ordinal) ? item.Key[prefix.Length..] : item.Key, item => item.Value));
        AssertSame(golden);
    }

    [Theory]
    [InlineData("qwen3-tiny", "model.layers.0.self_attn.rotary_emb.inv_freq")]
    [InlineData("gpt_neox-tiny", "gpt_neox.layers.1.attention.bias", "gpt_neox.layers.0.attention.masked_bias", "gpt_neox.layers.0.attention.rotary_emb.inv_freq")]
    [InlineData("roberta-tiny", "roberta.embeddings.position_ids", "roberta.pooler.dense.weight", "roberta.pooler.dense.bias")]
    [InlineData("t5-tiny", "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight")]
    [InlineData("modernbert-tiny", "model.rotary_emb.inv_freq")]
    [InlineData("gpt2-tiny", "h.0.rotary_emb.inv_freq")]
    public void TensorsWithoutEffectAreIgnored(string golden, params string[] names)
    {
        Copy(golden, tensors => tensors.Concat(names.Select(name => KeyValuePair.Create(name, (new[] { 2 }, new float[] { 1, 2 })))).ToDictionary());
        AssertSame(golden);
        Copy(golden, tensors => tensors.Append(KeyValuePair.Create("model.layers.0.more", (new[] { 2 }, new float[] { 1, 2 }))).ToDictionary());
        Assert.Contains("model.layers.0.more", Refused(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("roberta-tiny", "lm_head.decoder.weight", "roberta.embeddings.word_embeddings.weight")]
    [InlineData("roberta-tiny", "lm_head.decoder.bias", "lm_head.bias")]
    [InlineData("modernbert-tiny", "decoder.weight", "model.embeddings.tok_embeddings.weight")]
    [InlineData("smollm3-tiny", "lm_head.weight", "model.embed_tokens.weight")]
    [InlineData("t5-tiny", "encoder.embed_tokens.weight", "shared.weight")]
    [InlineData("t5-tiny", "decoder.embed_tokens.weight", "shared.weight")]
    [InlineData("t5-tiny", "lm_head.weight", "shared.weight")]
    [InlineData("t5v11-tiny", "encoder.embed_tokens.weight", "shared.weight")]
    public void CopiesAreTakenForTheOriginal(string golden, string copy, string original)
    {
        Copy(golden, tensors =>
        {
            tensors[copy] = tensors[original];
            return tensors;
        });
        AssertSame(golden);

        // Either of the two will do.
        Copy(golden, tensors =>
        {
            tensors[copy] = tensors[original];
            tensors.Remove(original);
            return tensors;
        });
        AssertSame(golden);
    }

    [Theory]
    [InlineData("roberta-tiny", "lm_head.decoder.bias", "lm_head.bias")]
    [InlineData("t5-tiny", "encoder.embed_tokens.weight", "shared.weight")]
    [InlineData("t5v11-tiny", "decoder.embed_tokens.weight", "shared.weight")]
    public void CopiesThatDifferAreRefused(string golden, string copy, string original)
    {
        Copy(golden, tensors => Different(tensors, copy, original));
        Assert.Contains($"{copy} differs from {original}", Refused(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("qwen2-tiny", "lm_head.weight", "model.embed_tokens.weight")]
    [InlineData("gemma2-tiny", "lm_head.weight", "model.embed_tokens.weight")]
    [InlineData("modernbert-tiny", "decoder.weight", "model.embeddings.tok_embeddings.weight")]
    [InlineData("roberta-tiny", "lm_head.decoder.weight", "roberta.embeddings.word_embeddings.weight")]
    [InlineData("t5-tiny", "lm_head.weight", "shared.weight")]
    public void AHeadThatDiffersIsOneOfItsOwn(string golden, string head, string tokens)
    {
        Copy(golden, tensors => Different(tensors, head, tokens));
        float scale;
        using (LanguageModel tied = ModelFiles.Load(Goldens.Folder("models", golden), device))
            scale = tied.Config.Describe()!.Head.Scale;
        using LanguageModel model = ModelFiles.Load(folder.Path, device);
        Assert.False(model.Config.TieWordEmbeddings);
        Assert.Equal(head, model.Head!.Name);
        Assert.Equal(scale, model.Config.Describe()!.Head.Scale);
        Assert.Equal(Read(folder.Path)[head].Values, model.Head.ToArray());
    }

    /// <summary>Counts are compared with the weights' file before memory is taken for them.</summary>
    [Theory]
    [InlineData("t5-tiny", "num_decoder_layers", 10_000)]
    [InlineData("mixtral-tiny", "num_local_experts", 10_000)]
    [InlineData("qwen3_moe-tiny", "num_experts", 10_000)]
    [InlineData("gemma3-tiny", "num_hidden_layers", 10_000)]
    public void CountsBeyondTheWeightsFileTakeNoMemory(string golden, string field, int value)
    {
        Copy(golden, tensors => tensors, config => config[field] = value);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Refused();
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 64 << 20);
    }

    [Fact]
    public void TheTokenizerMayNameTheMask()
    {
        Copy("roberta-tiny", tensors => tensors, config => config["mask_token_id"] = null);
        Assert.Null(ModelFiles.LoadConfig(folder.Path).MaskToken);
        File.WriteAllText(folder["vocab.txt"], "a\nb\n[MASK]\nc\n");
        Assert.Equal(2, ModelFiles.LoadConfig(folder.Path).MaskToken);
        File.WriteAllText(folder["tokenizer.json"], """{"added_tokens":[{"id":3,"content":"<s>"},{"id":74,"content":"<mask>"}],"model":{}}""");
        Assert.Equal(74, ModelFiles.LoadConfig(folder.Path).MaskToken);
        File.WriteAllText(folder["tokenizer.json"], """{"added_tokens":[{"id":75,"content":"<mask>"}],"model":{}}""");
        Assert.Null(ModelFiles.LoadConfig(folder.Path).MaskToken);
    }

    [Fact]
    public void AnUntiedModelNeedsItsHead()
    {
        foreach ((string golden, string head) in ((string, string)[])[("mistral-tiny", "lm_head.weight"), ("gpt_neox-tiny", "embed_out.weight"), ("t5v11-tiny", "lm_head.weight")])
        {
            Copy(golden, tensors => tensors.Where(item => item.Key != head).ToDictionary());
            Assert.Contains($"there is no tensor {head}", Refused(), StringComparison.Ordinal);
        }
    }

    /// <summary>Newer writers call v1.1 tied, but keep its head and say that nothing is scaled.</summary>
    [Fact]
    public void T5WithTheFieldsOfNewerWritersIsTheSame()
    {
        Copy("t5v11-tiny", tensors => tensors, config => (config["tie_word_embeddings"], config["scale_decoder_outputs"]) = (true, false));
        AssertSame("t5v11-tiny");
        using LanguageModel model = ModelFiles.Load(folder.Path, device);
        Assert.Equal((1f, "lm_head.weight"), (model.Config.Describe()!.Head.Scale, model.Head!.Name));
    }

    [Theory]
    [InlineData("qwen3_moe-tiny", "mlp.experts.{e}.gate_proj", "mlp.experts.{e}.up_proj", "mlp.experts.{e}.down_proj", "mlp.gate")]
    [InlineData("mixtral-tiny", "block_sparse_moe.experts.{e}.w1", "block_sparse_moe.experts.{e}.w3", "block_sparse_moe.experts.{e}.w2", "block_sparse_moe.gate")]
    public void ExpertsMayBePacked(string golden, string gate, string up, string down, string router)
    {
        Copy(golden, tensors => Packed(tensors, gate, up, down, router));
        Assert.DoesNotContain(Read(folder.Path).Keys, name => name.Contains(".experts.0.", StringComparison.Ordinal));
        AssertSame(golden);

        Copy(golden, tensors =>
        {
            Dictionary<string, (int[] Shape, float[] Values)> packed = Packed(tensors, gate, up, down, router);
            (int[] shape, float[] values) = packed["model.layers.0.mlp.experts.down_proj"];
            packed["model.layers.0.mlp.experts.down_proj"] = ([shape[0], shape[2], shape[1]], values);
            return packed;
        });
        Assert.Contains("model.layers.0.mlp.experts.down_proj is", Refused(), StringComparison.Ordinal);
        Copy(golden, tensors => Packed(tensors, gate, up, down, router).Where(item => item.Key != "model.layers.0.mlp.experts.gate_up_proj").ToDictionary());
        Assert.Contains("there is no tensor model.layers.0", Refused(), StringComparison.Ordinal);
    }

    private static Dictionary<string, (int[] Shape, float[] Values)> Packed(Dictionary<string, (int[] Shape, float[] Values)> tensors, string gate, string up, string down, string router)
    {
        var result = new Dictionary<string, (int[] Shape, float[] Values)>(tensors);
        for (int layer = 0; tensors.ContainsKey($"model.layers.{layer}.input_layernorm.weight"); layer++)
        {
            string NameOf(string part, int e) => $"model.layers.{layer}.{part.Replace("{e}", $"{e}", StringComparison.Ordinal)}.weight";
            var gateUp = new List<float>();
            var downs = new List<float>();
            int count = 0, inner = 0, width = 0;
            for (; tensors.TryGetValue(NameOf(gate, count), out (int[] Shape, float[] Values) first); count++)
            {
                (inner, width) = (first.Shape[0], first.Shape[1]);
                gateUp.AddRange([.. first.Values, .. tensors[NameOf(up, count)].Values]);
                downs.AddRange(tensors[NameOf(down, count)].Values);
                foreach (string part in (string[])[gate, up, down])
                    result.Remove(NameOf(part, count));
            }

            if (count == 0)
                continue;
            result[$"model.layers.{layer}.mlp.experts.gate_up_proj"] = ([count, 2 * inner, width], [.. gateUp]);
            result[$"model.layers.{layer}.mlp.experts.down_proj"] = ([count, width, inner], [.. downs]);
            (int[], float[]) weight = result[NameOf(router, 0)];
            result.Remove(NameOf(router, 0));
            result[$"model.layers.{layer}.mlp.gate.weight"] = weight;
        }

        return result;
    }

    private static Dictionary<string, (int[] Shape, float[] Values)> Different(Dictionary<string, (int[] Shape, float[] Values)> tensors, string copy, string original)
    {
        (int[] shape, float[] values) = tensors[original];
        tensors[copy] = (shape, [.. values[..^1], values[^1] + 1]);
        return tensors;
    }

    private string Refused() => Assert.ThrowsAny<UserException>(() => ModelFiles.Load(folder.Path, device)).Message;

    private void AssertSame(string golden)
    {
        using LanguageModel expected = ModelFiles.Load(Goldens.Folder("models", golden), device), actual = ModelFiles.Load(folder.Path, device);
        Assert.Equal(expected.Parameters.Select(parameter => parameter.Name), actual.Parameters.Select(parameter => parameter.Name));
        Assert.All(expected.Parameters.Zip(actual.Parameters), pair => Assert.True(pair.First.ToArray().AsSpan().SequenceEqual(pair.Second.ToArray()), pair.First.Name));
    }

    private static Dictionary<string, (int[] Shape, float[] Values)> Read(string path)
    {
        using Safetensors file = Safetensors.Open(path);
        return file.Tensors.ToDictionary(pair => pair.Key, pair => (pair.Value.Shape.Select(size => (int)size).ToArray(), file.ReadF32(pair.Key)));
    }

    private void Copy(string golden, Func<Dictionary<string, (int[] Shape, float[] Values)>, Dictionary<string, (int[] Shape, float[] Values)>> change, Action<JsonNode>? configure = null)
    {
        Dictionary<string, (int[] Shape, float[] Values)> tensors = change(Read(Goldens.Folder("models", golden)));
        using (var writer = new SafetensorsWriter(folder[Safetensors.FileName], tensors.Select(pair => (pair.Key, "F32", (IReadOnlyList<int>)pair.Value.Shape))))
        {
            foreach ((string name, (_, float[] values)) in tensors)
                writer.Write(name, MemoryMarshal.AsBytes<float>(values));
            writer.Finish();
        }

        JsonNode config = JsonNode.Parse(File.ReadAllText(Path.Combine(Goldens.Folder("models", golden), "config.json")))!;
        configure?.Invoke(config);
        File.WriteAllText(folder["config.json"], config.ToJsonString());
    }
}
