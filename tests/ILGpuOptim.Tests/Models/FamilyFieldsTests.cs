using System.Text.Json.Nodes;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Models;

/// <summary>The fields of each family: supported, allowed at one value, or refused by name; and their defaults.</summary>
public class FamilyFieldsTests
{
    private const string Decoder = "\"vocab_size\":61,\"hidden_size\":16,\"intermediate_size\":24,\"num_hidden_layers\":4,\"num_attention_heads\":4,\"max_position_embeddings\":64";

    /// <summary>The least that a file of each family says.</summary>
    private static readonly Dictionary<string, string> Least = new()
    {
        ["qwen2"] = Decoder + ",\"num_key_value_heads\":2",
        ["qwen3"] = Decoder + ",\"num_key_value_heads\":2",
        ["mistral"] = Decoder + ",\"num_key_value_heads\":2",
        ["smollm3"] = Decoder,
        ["phi3"] = Decoder,
        ["olmo2"] = Decoder,
        ["gemma2"] = Decoder,
        ["gemma3_text"] = Decoder,
        ["gpt_neox"] = Decoder.Replace("\"hidden_size\":16", "\"hidden_size\":32", StringComparison.Ordinal),
        ["mixtral"] = Decoder + ",\"num_key_value_heads\":2",
        ["qwen3_moe"] = Decoder,
        ["modernbert"] = Decoder,
        ["roberta"] = Decoder,
        ["t5"] = "\"vocab_size\":61",
    };

    public static TheoryData<string> Families => [.. Least.Keys];

    [Theory]
    [InlineData("qwen2", "use_sliding_window", "true")]
    [InlineData("qwen2", "max_window_layers", "1")]
    [InlineData("qwen2", "sliding_window", "null")]
    [InlineData("qwen2", "use_mrope", "false")]
    [InlineData("qwen2", "attention_bias", "false")]
    [InlineData("qwen2", "head_dim", "6")]
    [InlineData("qwen3", "attention_bias", "true")]
    [InlineData("qwen3", "head_dim", "null")]
    [InlineData("qwen3", "layer_types", """["full_attention","full_attention","full_attention","full_attention"]""")]
    [InlineData("mistral", "sliding_window", "null")]
    [InlineData("mistral", "sliding_window", "3")]
    [InlineData("mistral", "num_key_value_heads", "null")]
    [InlineData("mistral", "mlp_bias", "false")]
    [InlineData("mistral", "hidden_act", "\"relu\"")]
    [InlineData("smollm3", "no_rope_layers", "[0,1,1,0]")]
    [InlineData("smollm3", "no_rope_layer_interval", "2")]
    [InlineData("smollm3", "attention_bias", "true")]
    [InlineData("smollm3", "mlp_bias", "true")]
    [InlineData("smollm3", "tie_word_embeddings", "false")]
    [InlineData("phi3", "partial_rotary_factor", "0.5")]
    [InlineData("phi3", "resid_pdrop", "0.25")]
    [InlineData("phi3", "embd_pdrop", "0.25")]
    [InlineData("phi3", "sliding_window", "5")]
    [InlineData("phi3", "auto_map", """{"AutoConfig":"configuration_phi3.Phi3Config","AutoModelForCausalLM":"modeling_phi3.Phi3ForCausalLM"}""")]
    [InlineData("phi3", "rope_scaling", """{"type":"su","long_factor":[1,2],"short_factor":[3,4]}""")]
    [InlineData("olmo2", "attention_bias", "true")]
    [InlineData("olmo2", "clip_qkv", "null")]
    [InlineData("gemma2", "attn_logit_softcapping", "null")]
    [InlineData("gemma2", "final_logit_softcapping", "null")]
    [InlineData("gemma2", "hidden_act", "\"anything\"")]
    [InlineData("gemma2", "use_bidirectional_attention", "false")]
    [InlineData("gemma2", "attention_bias", "true")]
    [InlineData("gemma2", "tie_word_embeddings", "false")]
    [InlineData("gemma3_text", "sliding_window_pattern", "2")]
    [InlineData("gemma3_text", "rope_local_base_freq", "5000.0")]
    [InlineData("gemma3_text", "rope_scaling", """{"rope_type":"linear","factor":8.0}""")]
    [InlineData("gemma3_text", "final_logit_softcapping", "20.0")]
    [InlineData("gemma3_text", "rope_parameters", """{"full_attention":{"rope_type":"linear","factor":8.0,"rope_theta":7.0},"sliding_attention":{"rope_type":"default"}}""")]
    [InlineData("gpt_neox", "use_parallel_residual", "false")]
    [InlineData("gpt_neox", "attention_bias", "false")]
    [InlineData("gpt_neox", "rotary_pct", "1.0")]
    [InlineData("gpt_neox", "rotary_emb_base", "500")]
    [InlineData("gpt_neox", "tie_word_embeddings", "true")]
    [InlineData("gpt_neox", "classifier_dropout", "0.1")]
    [InlineData("mixtral", "router_jitter_noise", "0.1")]
    [InlineData("mixtral", "num_experts_per_tok", "8")]
    [InlineData("qwen3_moe", "num_local_experts", "9")]
    [InlineData("qwen3_moe", "mlp_only_layers", "[0,3]")]
    [InlineData("qwen3_moe", "decoder_sparse_step", "2")]
    [InlineData("modernbert", "norm_bias", "true")]
    [InlineData("modernbert", "decoder_bias", "false")]
    [InlineData("modernbert", "local_rope_theta", "null")]
    [InlineData("modernbert", "tie_word_embeddings", "false")]
    [InlineData("modernbert", "position_embedding_type", "\"absolute\"")]
    [InlineData("modernbert", "rope_parameters", """{"full_attention":{"rope_type":"default","rope_theta":9.0},"sliding_attention":{"rope_type":"default","rope_theta":8.0}}""")]
    [InlineData("roberta", "pad_token_id", "0")]
    [InlineData("roberta", "type_vocab_size", "1")]
    [InlineData("roberta", "tie_word_embeddings", "false")]
    [InlineData("t5", "feed_forward_proj", "\"gated-silu\"")]
    [InlineData("t5", "num_decoder_layers", "null")]
    [InlineData("t5", "is_encoder_decoder", "true")]
    [InlineData("t5", "scale_decoder_outputs", "false")]
    [InlineData("t5", "dense_act_fn", "\"relu\"")]
    [InlineData("t5", "is_gated_act", "false")]
    [InlineData("t5", "eos_token_id", "null")]
    [InlineData("t5", "sentinel_token_ids", "[60,59,7]")]
    public void FieldsAreUnderstoodAndWrittenBack(string family, string field, string value)
    {
        ModelConfig config = Parse(family, field, value);
        Assert.NotEmpty(config.Describe()!.Blocks);
        ModelConfig again = ModelConfig.Parse(config.ToJson(), "again");
        Assert.Equal(config.ToJson(), again.ToJson());
        JsonNode? written = JsonNode.Parse(config.ToJson())![field == "num_local_experts" ? "num_experts" : field];
        Assert.True(JsonNode.DeepEquals(JsonNode.Parse(value), written), $"{value} {written}");
    }

    [Theory]
    [InlineData("qwen2", "attention_bias", "true")]
    [InlineData("qwen2", "use_mrope", "true")]
    [InlineData("qwen2", "hidden_act", "\"quick_gelu\"")]
    [InlineData("qwen2", "layer_types", """["sliding_attention","full_attention","full_attention","full_attention"]""")]
    [InlineData("qwen2", "layer_types", """["full_attention"]""")]
    [InlineData("qwen2", "layer_types", """["chunked_attention","full_attention","full_attention","full_attention"]""")]
    [InlineData("qwen2", "num_key_value_heads", "3")]
    [InlineData("qwen2", "partial_rotary_factor", "0.5")]
    [InlineData("qwen2", "pad_token_id", "61")]
    [InlineData("qwen2", "rope_parameters", """{"full_attention":{"rope_type":"default"}}""")]
    [InlineData("qwen3", "mlp_bias", "true")]
    [InlineData("qwen3", "head_dim", "5")]
    [InlineData("qwen3", "use_qk_norm", "true")]
    [InlineData("mistral", "layer_types", """["full_attention","full_attention","full_attention","full_attention"]""")]
    [InlineData("mixtral", "layer_types", """["sliding_attention","sliding_attention","sliding_attention","sliding_attention"]""")]
    [InlineData("qwen3_moe", "layer_types", """["full_attention","sliding_attention","full_attention","sliding_attention"]""")]
    [InlineData("mistral", "attention_bias", "true")]
    [InlineData("mistral", "sliding_window", "0")]
    [InlineData("smollm3", "no_rope_layers", "[0,1,1]")]
    [InlineData("smollm3", "no_rope_layers", "[0,1,1,2]")]
    [InlineData("smollm3", "no_rope_layer_interval", "0")]
    [InlineData("phi3", "rope_scaling", """{"rope_type":"linear","factor":2.0}""")]
    [InlineData("phi3", "rope_scaling", """{"rope_type":"longrope","long_factor":[1],"short_factor":[3,4]}""")]
    [InlineData("phi3", "rope_scaling", """{"rope_type":"longrope","long_factor":[1,"2"],"short_factor":[3,4]}""")]
    [InlineData("phi3", "rope_scaling", """{"rope_type":"longrope","long_factor":[1,0],"short_factor":[3,4]}""")]
    [InlineData("phi3", "rope_scaling", """{"rope_type":"longrope","long_factor":[1,2],"short_factor":[3,4],"long_mscale":1.1}""")]
    [InlineData("phi3", "partial_rotary_factor", "0.3")]
    [InlineData("phi3", "partial_rotary_factor", "1.5")]
    [InlineData("phi3", "auto_map", """{"AutoConfig":"configuration_other.OtherConfig"}""")]
    [InlineData("phi3", "original_max_position_embeddings", "0")]
    [InlineData("phi3", "rope_scaling", """{"rope_type":"default","partial_rotary_factor":0.3}""")]
    [InlineData("olmo2", "clip_qkv", "8.0")]
    [InlineData("olmo2", "sliding_window", "8")]
    [InlineData("gemma2", "use_bidirectional_attention", "true")]
    [InlineData("gemma2", "hidden_activation", "\"gelu_fast\"")]
    [InlineData("gemma2", "attn_logit_softcapping", "0.0")]
    [InlineData("gemma2", "query_pre_attn_scalar", "-1")]
    [InlineData("gemma3_text", "use_bidirectional_attention", "true")]
    [InlineData("gemma3_text", "rope_parameters", """{"rope_type":"default","rope_theta":9.0}""")]
    [InlineData("gemma3_text", "rope_parameters", """{"sliding_attention":{"rope_type":"yarn"}}""")]
    [InlineData("gemma3_text", "sliding_window_pattern", "0")]
    [InlineData("gpt_neox", "rotary_pct", "0.4")]
    [InlineData("gpt_neox", "hidden_dropout", "1.0")]
    [InlineData("mixtral", "num_experts_per_tok", "9")]
    [InlineData("mixtral", "router_jitter_noise", "-0.1")]
    [InlineData("qwen3_moe", "num_experts", "0")]
    [InlineData("qwen3_moe", "shared_expert_intermediate_size", "8")]
    [InlineData("modernbert", "position_embedding_type", "\"relative_key\"")]
    [InlineData("modernbert", "global_attn_every_n_layers", "0")]
    [InlineData("modernbert", "classifier_activation", "\"tanh\"")]
    [InlineData("modernbert", "rope_parameters", """{"rope_type":"default"}""")]
    [InlineData("roberta", "pad_token_id", "null")]
    [InlineData("roberta", "position_embedding_type", "\"relative_key\"")]
    [InlineData("roberta", "max_position_embeddings", "2")]
    [InlineData("roberta", "is_decoder", "true")]
    [InlineData("t5", "feed_forward_proj", "\"gated-gelu-gelu\"")]
    [InlineData("t5", "feed_forward_proj", "\"quick_gelu\"")]
    [InlineData("t5", "is_encoder_decoder", "false")]
    [InlineData("t5", "dense_act_fn", "\"gelu\"")]
    [InlineData("t5", "is_gated_act", "true")]
    [InlineData("t5", "relative_attention_num_buckets", "2")]
    [InlineData("t5", "relative_attention_max_distance", "16")]
    [InlineData("t5", "relative_attention_max_distance", "1048577")]
    [InlineData("t5", "decoder_start_token_id", "61")]
    public void WhatIsNotModelledIsRefusedByName(string family, string field, string value)
    {
        string message = Assert.ThrowsAny<UserException>(() => Parse(family, field, value)).Message;
        Assert.StartsWith("config.json: ", message, StringComparison.Ordinal);
        Assert.Contains(field, message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Theory]
    [MemberData(nameof(Families))]
    public void EveryFamilyRefusesWhatNobodyKnows(string family)
    {
        foreach ((string field, string value) in ((string, string)[])[("new_feature", "1"), ("quantization_config", """{"quant_method":"gptq"}"""), ("auto_map", """{"AutoConfig":"a.B"}"""), ("add_cross_attention", "true"), ("initializer_range", "\"x\"")])
            Assert.Contains(field, Assert.ThrowsAny<UserException>(() => Parse(family, field, value)).Message, StringComparison.Ordinal);
        JsonObject plain = Parse(family, "bos_token_id", "5").ToJsonObject();
        Assert.Equal(family, (string?)plain["model_type"]);
        Assert.Equal(5, (int?)plain["bos_token_id"]);
        JsonObject json = Json(family);
        json.Remove("vocab_size");
        Assert.Contains("vocab_size is missing", Assert.ThrowsAny<UserException>(() => ModelConfig.Parse(json.ToJsonString(), "config.json")).Message, StringComparison.Ordinal);
    }

    /// <summary>Other sizes of a family are a model of that family, with the same fields.</summary>
    [Theory]
    [MemberData(nameof(Families))]
    public void EveryFamilyTakesOtherSizes(string family)
    {
        ModelConfig config = Parse(family, "bos_token_id", "1");
        ModelConfig resized = config.Resized(vocabulary: 300, positions: 40, layers: 7, heads: 2, hiddenSize: 48, dropout: 0.25);
        resized.Check("resized");
        Assert.Equal((300, 40, 7, 2, 48), (resized.VocabularySize, resized.ContextLength, resized.Layers, resized.Heads, resized.HiddenSize));
        TransformerDescription description = resized.Describe()!;
        Assert.Equal((300, 40, 7, 48), (description.VocabularySize, description.MaxPositions, description.Blocks.Count, description.HiddenSize));
        Assert.All(description.Blocks, block => Assert.Equal((2, 0.25f), (block.Attention.Heads, block.Attention.Dropout)));
        Assert.Equal(resized.ToJson(), ModelConfig.Parse(resized.ToJson(), "again").ToJson());
        Assert.Equal(config.ToJson(), config.Resized().ToJson());
    }

    internal static ModelConfig Parse(string family, string field, string value)
    {
        JsonObject json = Json(family);
        json[field] = JsonNode.Parse(value);
        return ModelConfig.Parse(json.ToJsonString(), "config.json");
    }

    private static JsonObject Json(string family) => JsonNode.Parse($"{{\"model_type\":\"{family}\",{Least[family]}}}")!.AsObject();
}
