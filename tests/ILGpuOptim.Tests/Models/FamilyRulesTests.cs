using System.Text.Json.Nodes;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.Tests.Models;

/// <summary>What the rules of each family make of its fields.</summary>
public class FamilyRulesTests
{
    /// <summary>The keys before each layer's queries: a window of w has w - 1 of them; a dash is a full layer.</summary>
    [Theory]
    [InlineData("qwen2", """{"use_sliding_window":true,"sliding_window":7,"max_window_layers":2}""", "- - 6 6 6 6")]
    [InlineData("qwen2", """{"use_sliding_window":false,"sliding_window":7,"max_window_layers":2}""", "- - - - - -")]
    [InlineData("qwen2", """{"use_sliding_window":true,"sliding_window":7,"max_window_layers":2,"layer_types":["sliding_attention","full_attention","full_attention","full_attention","full_attention","sliding_attention"]}""", "6 - - - - 6")]
    [InlineData("qwen3", """{"use_sliding_window":true,"sliding_window":1,"max_window_layers":5}""", "- - - - - 0")]
    [InlineData("mistral", """{"sliding_window":9}""", "8 8 8 8 8 8")]
    [InlineData("mistral", """{"sliding_window":null}""", "- - - - - -")]
    [InlineData("mistral", """{"max_position_embeddings":5000}""", "4095 4095 4095 4095 4095 4095")]
    [InlineData("mistral", """{"max_position_embeddings":4096}""", "4095 4095 4095 4095 4095 4095")]
    [InlineData("mixtral", "{}", "- - - - - -")]
    [InlineData("mixtral", """{"sliding_window":9}""", "8 8 8 8 8 8")]
    [InlineData("phi3", """{"sliding_window":9}""", "8 8 8 8 8 8")]
    [InlineData("phi3", "{}", "- - - - - -")]
    [InlineData("smollm3", """{"sliding_window":9,"use_sliding_window":true}""", "- - - 8 - -")]
    [InlineData("smollm3", """{"sliding_window":9}""", "- - - - - -")]
    [InlineData("smollm3", """{"sliding_window":9,"use_sliding_window":true,"no_rope_layers":[0,1,1,1,1,0]}""", "8 - - - - 8")]
    [InlineData("gemma2", """{"sliding_window":9}""", "8 - 8 - 8 -")]
    [InlineData("gemma2", """{"sliding_window":null}""", "- - - - - -")]
    [InlineData("gemma3_text", """{"sliding_window":9}""", "8 8 8 8 8 -")]
    [InlineData("gemma3_text", """{"sliding_window":9,"sliding_window_pattern":3}""", "8 8 - 8 8 -")]
    [InlineData("gemma3_text", """{"sliding_window":9,"_sliding_window_pattern":2}""", "8 - 8 - 8 -")]
    [InlineData("qwen3_moe", """{"sliding_window":9,"use_sliding_window":true,"max_window_layers":4}""", "8 8 8 8 8 8")]
    [InlineData("qwen3_moe", """{"sliding_window":9}""", "- - - - - -")]
    [InlineData("modernbert", """{"local_attention":10}""", "- 5 5 - 5 5")]
    [InlineData("modernbert", """{"local_attention":9,"global_attn_every_n_layers":2}""", "- 4 - 4 - 4")]
    [InlineData("modernbert", """{"local_attention":9,"layer_types":["full_attention","full_attention","sliding_attention","full_attention","full_attention","full_attention"]}""", "- - 4 - - -")]
    [InlineData("olmo2", "{}", "- - - - - -")]
    public void WindowsFollowTheRule(string family, string fields, string expected)
    {
        TransformerDescription description = Describe(family, fields);
        Assert.Equal(expected, string.Join(' ', description.Blocks.Select(block => block.Attention.KeysBefore?.ToString() ?? "-")));
        Assert.All(description.Blocks, block => Assert.Equal(description.IsCausal ? null : block.Attention.KeysBefore, block.Attention.KeysAfter));
    }

    /// <summary>The base of each layer's rotary positions; a dash is a layer without them.</summary>
    [Theory]
    [InlineData("qwen2", "{}", "10000 10000 10000 10000 10000 10000")]
    [InlineData("mixtral", "{}", "1000000 1000000 1000000 1000000 1000000 1000000")]
    [InlineData("smollm3", "{}", "2000000 2000000 2000000 - 2000000 2000000")]
    [InlineData("smollm3", """{"no_rope_layers":[0,1,0,1,0,1],"rope_theta":7}""", "- 7 - 7 - 7")]
    [InlineData("smollm3", """{"no_rope_layer_interval":2,"rope_parameters":{"rope_theta":8,"rope_type":"default"},"rope_theta":7}""", "8 - 8 - 8 -")]
    [InlineData("gemma3_text", "{}", "10000 10000 10000 10000 10000 1000000")]
    [InlineData("gemma3_text", """{"rope_theta":7,"rope_local_base_freq":8}""", "8 8 8 8 8 7")]
    [InlineData("gemma3_text", """{"rope_theta":7,"rope_local_base_freq":8,"rope_parameters":{"full_attention":{"rope_theta":3},"sliding_attention":{"rope_theta":4}}}""", "4 4 4 4 4 3")]
    [InlineData("gemma3_text", """{"rope_parameters":{"full_attention":{"rope_type":"default"}}}""", "10000 10000 10000 10000 10000 1000000")]
    [InlineData("gemma2", """{"rope_theta":5}""", "5 5 5 5 5 5")]
    [InlineData("modernbert", "{}", "160000 10000 10000 160000 10000 10000")]
    [InlineData("modernbert", """{"global_rope_theta":5,"local_rope_theta":null}""", "5 5 5 5 5 5")]
    [InlineData("modernbert", """{"rope_parameters":{"full_attention":{"rope_theta":3},"sliding_attention":{"rope_theta":4}}}""", "3 4 4 3 4 4")]
    [InlineData("gpt_neox", "{}", "10000 10000 10000 10000 10000 10000")]
    [InlineData("gpt_neox", """{"rotary_emb_base":5}""", "5 5 5 5 5 5")]
    [InlineData("gpt_neox", """{"rope_parameters":{"rope_theta":6,"partial_rotary_factor":0.5},"rotary_emb_base":5}""", "6 6 6 6 6 6")]
    public void BasesFollowTheRule(string family, string fields, string expected) =>
        Assert.Equal(expected, string.Join(' ', Describe(family, fields).Blocks.Select(block => block.Attention.Rotary?.Theta.ToString() ?? "-")));

    [Fact]
    public void OnlyFullLayersOfGemma3AreScaledByTheOldField()
    {
        TransformerDescription old = Describe("gemma3_text", """{"rope_scaling":{"rope_type":"linear","factor":8}}""");
        Assert.Equal([null, null, null, null, null, "linear"], old.Blocks.Select(block => block.Attention.Rotary!.Scaling?.Name));
        TransformerDescription both = Describe("gemma3_text", """{"rope_parameters":{"full_attention":{"rope_type":"linear","factor":8},"sliding_attention":{"rope_type":"linear","factor":2}}}""");
        Assert.Equal([2, 2, 2, 2, 2, 8], both.Blocks.Select(block => block.Attention.Rotary!.Scaling?.Factor));
    }

    [Theory]
    [InlineData("gpt_neox", "{}", 2)]
    [InlineData("gpt_neox", """{"rotary_pct":0.5}""", 4)]
    [InlineData("gpt_neox", """{"rope_parameters":{"partial_rotary_factor":1.0}}""", 8)]
    [InlineData("gpt_neox", """{"rope_scaling":{"partial_rotary_factor":0.5,"type":"default"}}""", 4)]
    [InlineData("phi3", "{}", 8)]
    [InlineData("phi3", """{"partial_rotary_factor":0.75}""", 6)]
    [InlineData("phi3", """{"rope_parameters":{"partial_rotary_factor":0.5},"partial_rotary_factor":0.75}""", 4)]
    public void PartOfAHeadIsRotated(string family, string fields, int size) =>
        Assert.All(Describe(family, fields).Blocks, block => Assert.Equal(size, block.Attention.Rotary!.Size));

    [Fact]
    public void PhisOwnFieldHasTheContextOfTheFirstTraining()
    {
        const string Factors = "\"long_factor\":[1,2,3,4],\"short_factor\":[5,6,7,8]";
        foreach ((string fields, int expected) in ((string, int)[])[("", 4096), ("\"original_max_position_embeddings\":16,", 16)])
        {
            foreach (string kind in (string[])["longrope", "su", "yarn"])
            {
                RotaryDescription rotary = Describe("phi3", $"{{{fields}\"rope_scaling\":{{\"type\":\"{kind}\",\"original_max_position_embeddings\":32,{Factors}}}}}").Blocks[0].Attention.Rotary!;
                Assert.Equal(("longrope", (int?)expected, 64), (rotary.Scaling!.Name, rotary.Scaling.OriginalPositions, rotary.MaxPositions));
            }
        }
    }

    [Theory]
    [InlineData("qwen3", """{"num_attention_heads":32}""", 32, 32, 128)]
    [InlineData("qwen3", """{"num_key_value_heads":null,"head_dim":null}""", 4, 4, 8)]
    [InlineData("mistral", """{"num_attention_heads":16}""", 16, 8, 2)]
    [InlineData("gemma2", "{}", 4, 4, 256)]
    [InlineData("gemma3_text", """{"num_key_value_heads":2}""", 4, 2, 256)]
    [InlineData("smollm3", "{}", 4, 4, 8)]
    [InlineData("qwen3_moe", "{}", 4, 4, 8)]
    [InlineData("phi3", "{}", 4, 4, 8)]
    [InlineData("olmo2", """{"num_key_value_heads":1}""", 4, 1, 8)]
    public void HeadsHaveTheirDefaults(string family, string fields, int heads, int keyHeads, int size)
    {
        AttentionDescription attention = Describe(family, fields).Blocks[0].Attention;
        Assert.Equal((heads, keyHeads, size), (attention.Heads, attention.KeyHeads, attention.HeadSize));
    }

    [Theory]
    [InlineData("gemma2", """{"query_pre_attn_scalar":144}""", 1 / 12.0, 50, 30)]
    [InlineData("gemma2", """{"attn_logit_softcapping":null,"final_logit_softcapping":null}""", 1 / 16.0, 0, 0)]
    [InlineData("gemma3_text", "{}", 1 / 16.0, 0, 0)]
    [InlineData("gemma3_text", """{"final_logit_softcapping":20,"attn_logit_softcapping":4}""", 1 / 16.0, 0, 20)]
    [InlineData("qwen2", """{"head_dim":16}""", 1 / 4.0, 0, 0)]
    [InlineData("t5", "{}", 1, 0, 0)]
    public void ScoresAreScaledAndCapped(string family, string fields, double scale, float cap, float finalCap)
    {
        TransformerDescription description = Describe(family, fields);
        AttentionDescription attention = description.Blocks[0].Attention;
        Assert.Equal(((float)scale, cap, finalCap), (attention.Scale, attention.SoftCap ?? 0, description.Head.SoftCap ?? 0));
    }

    [Theory]
    [InlineData("qwen2", "{}", false)]
    [InlineData("qwen3", "{}", false)]
    [InlineData("mistral", "{}", false)]
    [InlineData("phi3", "{}", false)]
    [InlineData("olmo2", "{}", false)]
    [InlineData("gpt_neox", "{}", false)]
    [InlineData("mixtral", "{}", false)]
    [InlineData("qwen3_moe", "{}", false)]
    [InlineData("smollm3", "{}", true)]
    [InlineData("gemma2", "{}", true)]
    [InlineData("gemma3_text", "{}", true)]
    [InlineData("modernbert", "{}", true)]
    [InlineData("roberta", "{}", true)]
    [InlineData("t5", "{}", true)]
    [InlineData("qwen2", """{"tie_word_embeddings":true}""", true)]
    [InlineData("gemma2", """{"tie_word_embeddings":false}""", false)]
    [InlineData("modernbert", """{"tie_word_embeddings":false}""", false)]
    public void HeadsAreTiedByDefaultOrNot(string family, string fields, bool isTied)
    {
        TransformerDescription description = Describe(family, fields);
        Assert.Equal(isTied, description.Head.Projection is null);
        ModelConfig config = ModelConfig.Parse(Json(family, fields).ToJsonString(), "config.json");
        Assert.Equal(isTied, config.TiedCopies.ContainsKey(config.HeadTensor));
        Assert.Equal(config.HeadTensor, config.Untied().Describe()!.Head.Projection!.Name + ".weight");
    }

    [Theory]
    [InlineData("{}", "relu", false, true, true)]
    [InlineData("""{"feed_forward_proj":"gelu"}""", "gelu", false, true, true)]
    [InlineData("""{"feed_forward_proj":"gated-gelu","tie_word_embeddings":false}""", "gelu_new", true, false, false)]
    [InlineData("""{"feed_forward_proj":"gated-silu","scale_decoder_outputs":false}""", "silu", true, false, true)]
    [InlineData("""{"tie_word_embeddings":false,"scale_decoder_outputs":true}""", "relu", false, true, false)]
    public void T5HasTwoVersions(string fields, string activation, bool isGated, bool scales, bool isTied)
    {
        TransformerDescription description = Describe("t5", fields);
        FeedForwardDescription part = description.Blocks[^1].FeedForward;
        Assert.Equal((activation, isGated, isTied), (part.Activation, part.Gate is not null, description.Head.Projection is null));
        Assert.Equal(scales ? (float)(1 / Math.Sqrt(512)) : 1, description.Head.Scale, 1e-9f);
        TransformerDescription untied = ModelConfig.Parse(Json("t5", fields).ToJsonString(), "config.json").Untied().Describe()!;
        Assert.Equal((description.Head.Scale, true), (untied.Head.Scale, untied.Head.Projection is not null));
    }

    [Fact]
    public void T5DescribesAnEncoderAndADecoder()
    {
        TransformerDescription decoder = Describe("t5", """{"num_layers":2,"num_decoder_layers":3,"d_model":16,"d_kv":4,"d_ff":9,"num_heads":5,"initializer_factor":2.0,"decoder_start_token_id":7}""");
        TransformerDescription encoder = decoder.Encoder!;
        Assert.Equal((3, 2, true, false, 7), (decoder.Blocks.Count, encoder.Blocks.Count, decoder.IsCausal, encoder.IsCausal, decoder.DecoderStartToken));
        Assert.All(decoder.Blocks, block => Assert.NotNull(block.CrossAttention));
        Assert.All(encoder.Blocks, block => Assert.Null(block.CrossAttention));
        Assert.All(decoder.Blocks, block => Assert.Equal(("decoder.block.0.layer.0.SelfAttention.relative_attention_bias", false), (block.Attention.RelativeBias!.Name, block.Attention.RelativeBias.IsBidirectional)));
        Assert.All(encoder.Blocks, block => Assert.Equal(("encoder.block.0.layer.0.SelfAttention.relative_attention_bias", true), (block.Attention.RelativeBias!.Name, block.Attention.RelativeBias.IsBidirectional)));
        AttentionDescription attention = decoder.Blocks[1].Attention;
        Assert.Equal([2 / 8f, 2 / 4f, 2 / 4f], attention.Inputs.Select(input => input.StandardDeviation));
        Assert.Equal(2 / MathF.Sqrt(20), attention.Output.StandardDeviation);
        Assert.Equal((2 / 4f, 2 / 3f), (decoder.Blocks[0].FeedForward.Up.StandardDeviation, decoder.Blocks[0].FeedForward.Down.StandardDeviation));
        Assert.Equal((2f, 2 / 4f), (decoder.Embedding.StandardDeviation, attention.RelativeBias!.StandardDeviation));
        Assert.Null(decoder.Embedding.PaddingToken);
    }

    [Fact]
    public void ModernBertHasTwoStandardDeviationsAndACut()
    {
        TransformerDescription description = Describe("modernbert", """{"initializer_range":0.3,"initializer_cutoff_factor":1.5,"norm_bias":true,"classifier_bias":true}""");
        BlockDescription block = description.Blocks[0];
        float small = 0.3f / MathF.Sqrt(12);
        Assert.Equal([0.3f, small, 0.3f, small, small, 0.3f], new[] { block.Attention.Inputs[0].StandardDeviation, block.Attention.Output.StandardDeviation, block.FeedForward.Up.StandardDeviation, block.FeedForward.Down.StandardDeviation, description.Head.Transform!.Dense.StandardDeviation, description.Embedding.StandardDeviation });
        Assert.Equal([1.5f, 1.5f, 1.5f], new[] { block.Attention.Inputs[0].Truncation, block.FeedForward.Down.Truncation, description.Embedding.Truncation });
        Assert.Null(block.AttentionNorm);
        Assert.True(description.Blocks[1].AttentionNorm!.HasBias && description.Head.Transform.Norm.HasBias && description.Head.Transform.Dense.HasBias && description.FinalNorm!.HasBias);
    }

    [Theory]
    [InlineData("{}", "eeeeee")]
    [InlineData("""{"mlp_only_layers":[0,4]}""", "deeede")]
    [InlineData("""{"decoder_sparse_step":2}""", "dedede")]
    [InlineData("""{"decoder_sparse_step":3,"mlp_only_layers":[5]}""", "ddeddd")]
    public void SomeLayersOfQwen3MoeHaveExperts(string fields, string expected)
    {
        TransformerDescription description = Describe("qwen3_moe", fields);
        Assert.Equal(expected, string.Concat(description.Blocks.Select(block => block.FeedForward.Experts is null ? 'd' : 'e')));
        Assert.All(description.Blocks, block => Assert.Equal(block.FeedForward.Experts is null ? 24 : 768, block.FeedForward.IntermediateSize));
    }

    [Theory]
    [InlineData("mixtral", "{}", 0)]
    [InlineData("mixtral", """{"output_router_logits":true}""", 0.001f)]
    [InlineData("mixtral", """{"output_router_logits":true,"router_aux_loss_coef":0.5}""", 0.5f)]
    [InlineData("qwen3_moe", """{"router_aux_loss_coef":0.5}""", 0)]
    [InlineData("qwen3_moe", """{"output_router_logits":true,"router_aux_loss_coef":0.5}""", 0.5f)]
    public void TheRouterLossCountsWhereTheFileSaysSo(string family, string fields, float expected) =>
        Assert.Equal(expected, Describe(family, fields).RouterLossCoefficient);

    [Theory]
    [InlineData("llama", """{"pad_token_id":3}""", 3)]
    [InlineData("llama", """{"pad_token_id":-1}""", 60)]
    [InlineData("llama", "{}", null)]
    [InlineData("gemma2", "{}", 0)]
    [InlineData("gemma2", """{"pad_token_id":null}""", null)]
    [InlineData("olmo2", "{}", 1)]
    [InlineData("phi3", "{}", null)]
    [InlineData("phi3", """{"vocab_size":32001}""", 32000)]
    [InlineData("modernbert", """{"vocab_size":50368}""", 50283)]
    [InlineData("gpt_neox", """{"pad_token_id":3}""", null)]
    [InlineData("t5", "{}", null)]
    public void ThePaddingRowFollowsTheFile(string family, string fields, int? expected) =>
        Assert.Equal(expected, Describe(family, fields).Embedding.PaddingToken);

    [Fact]
    public void PositionsOfRobertaBeginBehindThePaddingId()
    {
        ModelConfig config = ModelConfig.Parse(Json("roberta", """{"max_position_embeddings":514}""").ToJsonString(), "config.json");
        TransformerDescription description = config.Describe()!;
        Assert.Equal((512, 512, 514, 1), (config.ContextLength, description.MaxPositions, description.Embedding.Positions!.Rows, description.Embedding.Positions.PaddingToken));
        Assert.Equal("gelu", ModelConfig.Parse(Json("roberta", """{"hidden_act":"relu"}""").ToJsonString(), "config.json").Describe()!.Head.Transform!.Activation);

        // A text without a padding id gets one behind its vocabulary.
        ModelConfig fresh = config.Resized(vocabulary: 30, positions: 8).WithNewMask();
        fresh.Check("fresh");
        Assert.Equal((32, 30, 31, 8, 40), (fresh.VocabularySize, fresh.MaskToken!.Value, fresh.PadToken!.Value, fresh.ContextLength, fresh.Describe()!.Embedding.Positions!.Rows));
    }

    [Fact]
    public void GemmaScalesEmbeddingsAndAddsOneToItsNorms()
    {
        TransformerDescription description = Describe("gemma3_text", "{}");
        BlockDescription block = description.Blocks[0];
        Assert.Equal(MathF.Sqrt(32), description.Embedding.Scale);
        Assert.All([block.AttentionNorm!, block.AttentionOutputNorm!, block.FeedForwardNorm!, block.FeedForwardOutputNorm!, block.Attention.QueryNorm!, block.Attention.KeyNorm!, description.FinalNorm!], norm => Assert.True(norm.AddsOne));
    }

    private static TransformerDescription Describe(string family, string fields) => ModelConfig.Parse(Json(family, fields).ToJsonString(), "config.json").Describe()!;

    private static JsonObject Json(string family, string fields)
    {
        JsonObject json = JsonNode.Parse(family == "t5"
            ? """{"vocab_size":61}"""
            : """{"vocab_size":61,"hidden_size":32,"intermediate_size":24,"num_hidden_layers":6,"num_attention_heads":4,"max_position_embeddings":64}""")!.AsObject();
        json["model_type"] = family;
        if (family is ("qwen2" or "qwen3" or "mistral" or "mixtral") && !fields.Contains("heads\"", StringComparison.Ordinal))
            json["num_key_value_heads"] = 4;
        foreach ((string name, JsonNode? value) in JsonNode.Parse(fields)!.AsObject())
            json[name] = value?.DeepClone();
        return json;
    }
}
