using System.Text.Json.Nodes;
using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Models;

/// <summary>The closed lists of <c>config.json</c>: a field is supported, harmless and written back, or refused by name.</summary>
public class ConfigFieldsTests
{
    private const string Gpt2 = """{"model_type":"gpt2","vocab_size":61,"n_positions":24,"n_embd":16,"n_layer":3,"n_head":2}""";

    private const string Llama = """{"model_type":"llama","vocab_size":61,"hidden_size":16,"intermediate_size":24,"num_hidden_layers":3,"num_attention_heads":2,"max_position_embeddings":24}""";

    private const string Bert = """{"model_type":"bert","vocab_size":61,"hidden_size":16,"intermediate_size":24,"num_hidden_layers":3,"num_attention_heads":2,"max_position_embeddings":24}""";

    private static readonly Dictionary<string, string> Families = new() { ["gpt2"] = Gpt2, ["llama"] = Llama, ["bert"] = Bert };

    [Theory]
    [InlineData("gpt2", "n_layer", "\"3\"")]
    [InlineData("gpt2", "n_layer", "1000000000")]
    [InlineData("gpt2", "n_layer", "0")]
    [InlineData("gpt2", "n_head", "3")]
    [InlineData("gpt2", "n_embd", "2000000000")]
    [InlineData("gpt2", "vocab_size", "2147483647")]
    [InlineData("gpt2", "n_positions", "-1")]
    [InlineData("gpt2", "n_inner", "1e3")]
    [InlineData("gpt2", "hidden_size", "17")]
    [InlineData("gpt2", "layer_norm_epsilon", "1e39")]
    [InlineData("gpt2", "layer_norm_epsilon", "1e-60")]
    [InlineData("gpt2", "layer_norm_epsilon", "0")]
    [InlineData("gpt2", "layer_norm_epsilon", "-1e-5")]
    [InlineData("gpt2", "layer_norm_epsilon", "\"NaN\"")]
    [InlineData("gpt2", "initializer_range", "-1")]
    [InlineData("gpt2", "initializer_range", "1e39")]
    [InlineData("gpt2", "attn_pdrop", "1")]
    [InlineData("gpt2", "activation_function", "\"gelu_10\"")]
    [InlineData("gpt2", "scale_attn_weights", "1")]
    [InlineData("gpt2", "reorder_and_upcast_attn", "\"yes\"")]
    [InlineData("gpt2", "add_cross_attention", "true")]
    [InlineData("gpt2", "quantization_config", """{"quant_method": "gptq"}""")]
    [InlineData("gpt2", "auto_map", """{"AutoModelForCausalLM": "m.M"}""")]
    [InlineData("gpt2", "pruned_heads", """{"0": [1]}""")]
    [InlineData("gpt2", "alibi", "true")]
    [InlineData("llama", "num_key_value_heads", "3")]
    [InlineData("llama", "head_dim", "7")]
    [InlineData("llama", "head_dim", "16777216")]
    [InlineData("llama", "rms_norm_eps", "1e39")]
    [InlineData("llama", "rope_theta", "\"10000\"")]
    [InlineData("llama", "rope_theta", "-1")]
    [InlineData("llama", "rope_scaling", """{"rope_type": "yarn"}""")]
    [InlineData("llama", "rope_scaling", """{"type": "dynamic", "factor": 2.0, "original_max_position_embeddings": 12}""")]
    [InlineData("llama", "rope_scaling", """{"factor": 2.0}""")]
    [InlineData("llama", "rope_scaling", """{"type": "linear", "rope_type": "llama3", "factor": 2.0}""")]
    [InlineData("llama", "rope_scaling", """{"rope_type": "linear", "factor": 2.0, "attention_factor": 2}""")]
    [InlineData("llama", "rope_scaling", """{"rope_type": "linear", "factor": 0}""")]
    [InlineData("llama", "rope_parameters", """{"rope_type": "default", "partial_rotary_factor": 0.5}""")]
    [InlineData("llama", "rope_parameters", """{"full_attention": {"rope_type": "default"}}""")]
    [InlineData("llama", "partial_rotary_factor", "0.5")]
    [InlineData("llama", "sliding_window", "8")]
    [InlineData("llama", "layer_types", """["full_attention", "sliding_attention", "full_attention"]""")]
    [InlineData("llama", "hidden_act", "\"quick_gelu\"")]
    [InlineData("llama", "hidden_act", "\"gelu_fast\"")]
    [InlineData("llama", "final_logit_softcapping", "30.0")]
    [InlineData("llama", "attn_logit_softcapping", "50.0")]
    [InlineData("llama", "residual_multiplier", "0.2")]
    [InlineData("bert", "is_decoder", "true")]
    [InlineData("bert", "add_cross_attention", "true")]
    [InlineData("bert", "position_embedding_type", "\"relative_key\"")]
    [InlineData("bert", "hidden_act", "\"gelu_10\"")]
    [InlineData("bert", "directionality", "\"uni\"")]
    [InlineData("bert", "layer_norm_eps", "0")]
    [InlineData("bert", "embedding_size", "8")]
    [InlineData("bert", "mask_token_id", "61")]
    public void WhatIsNotModelledIsRefusedByName(string family, string field, string value)
    {
        string message = Assert.ThrowsAny<UserException>(() => ModelConfig.Parse(With(family, field, value), "config.json")).Message;
        Assert.StartsWith("config.json: ", message, StringComparison.Ordinal);
        Assert.Contains(field, message, StringComparison.Ordinal);
        Assert.DoesNotContain("System.", message, StringComparison.Ordinal);
        Assert.DoesNotContain(nameof(Gpt2Config), message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Theory]
    [InlineData("gpt2", "reorder_and_upcast_attn", "true")]
    [InlineData("gpt2", "n_ctx", "24")]
    [InlineData("gpt2", "task_specific_params", """{"text-generation": {"do_sample": true}}""")]
    [InlineData("gpt2", "summary_type", "\"cls_index\"")]
    [InlineData("gpt2", "use_cache", "true")]
    [InlineData("gpt2", "is_decoder", "true")]
    [InlineData("gpt2", "eos_token_id", "[1, 2]")]
    [InlineData("gpt2", "top_k", "50")]
    [InlineData("gpt2", "pruned_heads", "{}")]
    [InlineData("gpt2", "add_cross_attention", "false")]
    [InlineData("llama", "pretraining_tp", "2")]
    [InlineData("llama", "sliding_window", "24")]
    [InlineData("llama", "layer_types", """["full_attention", "full_attention", "full_attention"]""")]
    [InlineData("llama", "id2label", """{"0": "a"}""")]
    [InlineData("llama", "partial_rotary_factor", "1.0")]
    [InlineData("bert", "is_decoder", "false")]
    [InlineData("bert", "classifier_dropout", "0.1")]
    [InlineData("bert", "chunk_size_feed_forward", "4")]
    [InlineData("bert", "directionality", "\"bidi\"")]
    [InlineData("bert", "gradient_checkpointing", "true")]
    public void HarmlessFieldsAreWrittenBack(string family, string field, string value)
    {
        ModelConfig config = ModelConfig.Parse(With(family, field, value), "config.json");
        JsonNode written = JsonNode.Parse(ModelConfig.Parse(config.ToJson(), "again").ToJson())!;
        Assert.True(JsonNode.DeepEquals(JsonNode.Parse(value), written[field]), written.ToJsonString());
    }

    [Theory]
    [InlineData("gpt2")]
    [InlineData("llama")]
    [InlineData("bert")]
    public void AnUnknownFieldThatIsNullIsNoField(string family) => ModelConfig.Parse(With(family, "new_feature", "null"), "config.json");

    [Fact]
    public void SizesOfGpt2HaveTwoNames()
    {
        var config = (Gpt2Config)ModelConfig.Parse("""{"model_type":"gpt2","vocab_size":61,"max_position_embeddings":24,"hidden_size":16,"num_hidden_layers":3,"num_attention_heads":2}""", "config.json");
        Assert.Equal((24, 16, 3, 2), (config.ContextLength, config.HiddenSize, config.Layers, config.Heads));
    }

    [Theory]
    [InlineData("""{"rope_theta": 5000.0, "rope_type": "default"}""", "null", "null", 5000)]
    [InlineData("null", """{"rope_type": "linear", "factor": 4.0, "rope_theta": 7000.0}""", "null", 7000)]
    [InlineData("null", "null", "600.0", 600)]
    [InlineData("null", "null", "null", 10000)]
    public void TheBaseOfRotaryFrequenciesMayStandInThreePlaces(string parameters, string scaling, string theta, double expected)
    {
        JsonNode json = JsonNode.Parse(Llama)!;
        (json["rope_parameters"], json["rope_scaling"], json["rope_theta"]) = (JsonNode.Parse(parameters), JsonNode.Parse(scaling), JsonNode.Parse(theta));
        Assert.Equal(expected, ((LlamaConfig)ModelConfig.Parse(json.ToJsonString(), "config.json")).Theta);
    }

    [Fact]
    public void PlacesThatContradictEachOtherAreRefused()
    {
        JsonNode json = JsonNode.Parse(Llama)!;
        (json["rope_scaling"], json["rope_theta"]) = (JsonNode.Parse("""{"rope_type": "default", "rope_theta": 5000.0}"""), 10000.0);
        Assert.Contains("rope_theta", Assert.Throws<UserException>(() => ModelConfig.Parse(json.ToJsonString(), "config.json")).Message, StringComparison.Ordinal);
        (json["rope_parameters"], json["rope_scaling"]) = (JsonNode.Parse("""{"rope_type": "linear", "factor": 2.0}"""), JsonNode.Parse("""{"type": "linear", "factor": 4.0}"""));
        Assert.Contains("contradict", Assert.Throws<UserException>(() => ModelConfig.Parse(json.ToJsonString(), "config.json")).Message, StringComparison.Ordinal);
    }

    /// <summary>Sizes are compared with the weights' file before memory is taken for them.</summary>
    [Theory]
    [InlineData("n_layer", 10_000)]
    [InlineData("n_layer", 1_000_000)]
    [InlineData("vocab_size", 1 << 28)]
    [InlineData("n_positions", 1 << 28)]
    [InlineData("n_embd", 1 << 24)]
    [InlineData("n_inner", 1 << 24)]
    public void SizesBeyondTheWeightsFileTakeNoMemory(string field, int value)
    {
        using var folder = new TemporaryFolder();
        File.Copy(Path.Combine(Goldens.Folder("models", "gpt2-tiny"), "model.safetensors"), folder["model.safetensors"]);
        JsonNode json = JsonNode.Parse(File.ReadAllText(Path.Combine(Goldens.Folder("models", "gpt2-tiny"), "config.json")))!;
        json[field] = value;
        File.WriteAllText(folder["config.json"], json.ToJsonString());
        using var device = new ILGpuOptim.Compute.CpuDevice(1);
        long before = GC.GetAllocatedBytesForCurrentThread();
        Assert.ThrowsAny<UserException>(() => ModelFiles.Load(folder.Path, device));
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 8 << 20);
        Assert.Equal(0, device.Pool.UsedBytes);
    }

    private static string With(string family, string field, string value)
    {
        JsonNode json = JsonNode.Parse(Families[family])!;
        json[field] = JsonNode.Parse(value);
        return json.ToJsonString();
    }
}
