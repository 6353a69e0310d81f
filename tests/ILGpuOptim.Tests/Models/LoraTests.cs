using System.Text.Json.Nodes;
using ILGpuOptim.Compute;
using ILGpuOptim.Files;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Models;

public sealed class LoraTests : IDisposable
{
    private static readonly int[] Tokens = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3];

    private readonly TemporaryFolder folder = new();
    private readonly CpuDevice device = new(2);

    public void Dispose()
    {
        device.Dispose();
        folder.Dispose();
    }

    public static TheoryData<string, string, string> Models => new()
    {
        { "gpt2-tiny", "", "base_model.model.transformer.h.0.attn.c_attn.lora_A.weight" },
        { "gpt2-tiny", "c_attn c_fc c_proj", "base_model.model.transformer.h.1.mlp.c_fc.lora_B.weight" },
        { "llama-tiny", "", "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" },
        { "llama-tiny", "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj", "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight" },
        { "bert-tiny", "", "base_model.model.bert.encoder.layer.1.attention.self.value.lora_B.weight" },
        { "gpt_neox-tiny", "", "base_model.model.gpt_neox.layers.0.attention.query_key_value.lora_A.weight" },
        { "phi3-tiny", "qkv_proj gate_up_proj down_proj", "base_model.model.model.layers.0.mlp.gate_up_proj.lora_B.weight" },
        { "qwen3_moe-tiny", "", "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight" },
        { "modernbert-tiny", "", "base_model.model.model.layers.0.attn.Wqkv.lora_A.weight" },
        { "t5v11-tiny", "", "base_model.model.decoder.block.0.layer.1.EncDecAttention.v.lora_B.weight" },
        { "bert-tiny", "*layer.1*dense", "base_model.model.bert.encoder.layer.1.intermediate.dense.lora_A.weight" },
    };

    [Theory]
    [MemberData(nameof(Models))]
    public void MergedAndLoadedModelsAgree(string name, string targets, string peftName)
    {
        foreach ((bool rslora, bool dora) in ((bool, bool)[])[(false, false), (true, true)])
            Agree(name, new LoraOptions { Rank = 3, Alpha = 5, Rslora = rslora, Dora = dora, Targets = targets.Split(' ', StringSplitOptions.RemoveEmptyEntries) }, peftName);
    }

    private void Agree(string name, LoraOptions options, string peftName)
    {
        using var folder = new TemporaryFolder();
        string golden = Goldens.Folder("models", name);
        using LanguageModel model = ModelFiles.Load(golden, device);
        float[] plain = Logits(model);
        model.AddAdapters(options, new Initializer(device, 7));
        Assert.All(model.Parameters, parameter => Assert.True(parameter.IsFrozen));
        Assert.All(model.Adapters.SelectMany(adapter => adapter.Parameters), parameter => Assert.False(parameter.IsFrozen));
        Close(plain, Logits(model)); // B is zero, and DoRA's magnitudes are those of the weights.
        foreach (LoraAdapter adapter in model.Adapters)
        {
            device.Random(adapter.B.Data, RandomKind.Normal, 0.1f, 11, (ulong)adapter.Module.Length);
            adapter.Magnitude?.Load([.. adapter.Magnitude.ToArray().Select((value, i) => value * (1 + 0.1f * (i % 3)))]);
        }

        float[] adapted = Logits(model);
        Assert.NotEqual(plain, adapted);

        AdapterFiles.Save(folder.Path, model, golden);
        using (Safetensors file = Safetensors.Open(folder[AdapterFiles.Weights]))
        {
            Assert.Contains(peftName, file.Tensors.Keys);
            string magnitude = peftName[..peftName.LastIndexOf(".lora_", StringComparison.Ordinal)] + ".lora_magnitude_vector";
            Assert.Equal(options.Dora, file.Tensors.ContainsKey(magnitude));
        }

        JsonNode config = JsonNode.Parse(File.ReadAllText(folder[AdapterFiles.Config]))!;
        Assert.Equal(("LORA", 3, 5, name == "gpt2-tiny"), (config["peft_type"]!.ToString(), (int)config["r"]!, (int)config["lora_alpha"]!, (bool)config["fan_in_fan_out"]!));
        Assert.Equal((options.Rslora, options.Dora), ((bool)config["use_rslora"]!, (bool)config["use_dora"]!));

        // Adapters alone, whose settings name the model; and beside the model.
        using (LanguageModel alone = ModelFiles.Load(folder.Path, device))
        {
            Assert.Empty(alone.Adapters);
            Assert.All(alone.Parameters, parameter => Assert.False(parameter.IsFrozen));
            Close(adapted, Logits(alone));
        }

        ModelFiles.Save(folder.Path, model);
        using (LanguageModel beside = ModelFiles.Load(folder.Path, device))
            Close(adapted, Logits(beside));
        model.MergeAdapters();
        Close(adapted, Logits(model));
    }

    [Fact]
    public void TargetsAreWrittenAsPeftReadsThem()
    {
        Assert.Equal(["q_proj", "v_proj"], TargetsOf("llama-tiny"));
        Assert.Equal(["transformer.h.0.attn.c_proj", "transformer.h.1.attn.c_proj"], TargetsOf("gpt2-tiny", "*attn.c_proj"));
    }

    [Fact]
    public void OnlyAdaptersReceiveGradients()
    {
        using LanguageModel model = ModelFiles.Load(Goldens.Folder("models", "llama-tiny"), device);
        model.AddAdapters(new LoraOptions { Rank = 2 }, new Initializer(device, 1));
        var tape = new Tape(device);
        tape.Backward(model.Loss(tape, Tokens, Tokens, 1));
        Assert.All(model.Parameters, parameter => Assert.False(tape.Gradients.Has(parameter)));
        Assert.All(model.Adapters, adapter => Assert.True(tape.Gradients.Has(adapter.A) && tape.Gradients.Has(adapter.B)));
        tape.Reset();
    }

    [Fact]
    public void MistakesAreNamed()
    {
        using LanguageModel model = ModelFiles.Load(Goldens.Folder("models", "llama-tiny"), device);
        string message = Refused(() => model.AddAdapters(new LoraOptions { Targets = ["c_attn"] }, new Initializer(device, 1)));
        Assert.Contains("c_attn: the model has no such linear layer; it has q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj", message, StringComparison.Ordinal);
        Refused(() => model.AddAdapters(new LoraOptions { Targets = ["lm_head"] }, new Initializer(device, 1)));
        Refused(() => model.AddAdapters(new LoraOptions { Rank = 0 }, new Initializer(device, 1)));
        model.AddAdapters(new LoraOptions(), new Initializer(device, 1));
        AdapterFiles.Save(folder.Path, model, "nowhere");
        Assert.Contains("nowhere", Refused(() => ModelFiles.Load(folder.Path, device)), StringComparison.Ordinal);
        using LanguageModel other = ModelFiles.Load(Goldens.Folder("models", "gpt2-tiny"), device);
        Assert.Contains("adapts nothing that the model has", Refused(() => AdapterFiles.Load(folder.Path, other)), StringComparison.Ordinal);
        using LanguageModel wider = ModelFiles.Load(Goldens.Folder("models", "llama-tiny"), device);
        wider.AddAdapters(new LoraOptions { Targets = ["q_proj", "v_proj", "o_proj"] }, new Initializer(device, 1));
        Assert.Contains("o_proj.lora_A.weight", Refused(() => AdapterFiles.Load(folder.Path, wider)), StringComparison.Ordinal);
        JsonNode config = JsonNode.Parse(File.ReadAllText(folder[AdapterFiles.Config]))!;
        config["use_dora"] = true;
        File.WriteAllText(folder[AdapterFiles.Config], config.ToJsonString());
        Assert.Contains("q_proj.lora_magnitude_vector; the file is incomplete", Refused(() => AdapterFiles.Load(folder.Path, model)), StringComparison.Ordinal);
        using LanguageModel decomposed = ModelFiles.Load(Goldens.Folder("models", "llama-tiny"), device);
        decomposed.AddAdapters(new LoraOptions { Dora = true }, new Initializer(device, 1));
        AdapterFiles.Save(folder.Path, decomposed, null);
        Assert.Contains("the adapters are DoRA, but the run's are LoRA", Refused(() => AdapterFiles.Load(folder.Path, model)), StringComparison.Ordinal);
        config = JsonNode.Parse(File.ReadAllText(folder[AdapterFiles.Config]))!;
        config["use_dora"] = false;
        File.WriteAllText(folder[AdapterFiles.Config], config.ToJsonString());
        Assert.Contains("lora_magnitude_vector is of DoRA, but adapter_config.json has no use_dora", Refused(() => AdapterFiles.Load(folder.Path, model)), StringComparison.Ordinal);
    }

    private string[] TargetsOf(string name, params string[] targets)
    {
        using LanguageModel model = ModelFiles.Load(Goldens.Folder("models", name), device);
        model.AddAdapters(new LoraOptions { Targets = targets }, new Initializer(device, 1));
        AdapterFiles.Save(folder.Path, model, null);
        return [.. JsonNode.Parse(File.ReadAllText(folder[AdapterFiles.Config]))!["target_modules"]!.AsArray().Select(item => item!.ToString())];
    }

    private static string Refused(Action action) => Assert.ThrowsAny<UserException>(action).Message;

    private static void Close(float[] expected, float[] actual)
    {
        float largest = expected.Max(MathF.Abs);
        Assert.All(expected.Zip(actual), pair => Assert.True(MathF.Abs(pair.First - pair.Second) <= 1e-6f * largest, $"{pair}"));
    }

    private float[] Logits(LanguageModel model)
    {
        var tape = new Tape(device) { IsRecording = false, IsTraining = false };
        float[] logits = model.Logits(tape, new TokenBatch(Tokens, 2) { DecoderTokens = model.HasEncoder ? Tokens[..6] : [] }).ToArray();
        tape.Reset();
        return logits;
    }
}
