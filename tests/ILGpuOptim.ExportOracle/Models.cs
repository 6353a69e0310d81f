using ILGpuOptim.Compute;
using ILGpuOptim.Files;
using ILGpuOptim.Generation;
using ILGpuOptim.Layers;
using ILGpuOptim.Models;

namespace ILGpuOptim.ExportOracle;

/// <summary>The models that are exported: the recorded ones, and for each family one whose rows are whole blocks.</summary>
internal static class Models
{
    /// <summary>Configurations that no recorded model has.</summary>
    private static readonly (string Name, string Config)[] More =
    [
        ("qwen3_moe-all", """{"model_type":"qwen3_moe","vocab_size":96,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":32,"max_position_embeddings":64,"num_experts":4,"num_experts_per_tok":2,"moe_intermediate_size":32,"norm_topk_prob":true}"""),
        ("qwen2-yarn", """{"model_type":"qwen2","vocab_size":96,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":128,"rope_scaling":{"rope_type":"yarn","factor":4,"original_max_position_embeddings":32}}"""),
        ("llama-llama3", """{"model_type":"llama","vocab_size":96,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":128,"rope_theta":500000,"rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":32}}"""),
        ("llama-yarn-attention", """{"model_type":"llama","vocab_size":96,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":128,"rope_scaling":{"rope_type":"yarn","factor":4,"original_max_position_embeddings":32,"attention_factor":1.3}}"""),
        ("llama-yarn-betas-refused", """{"model_type":"llama","vocab_size":96,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":128,"rope_scaling":{"rope_type":"yarn","factor":4,"original_max_position_embeddings":32,"beta_fast":16,"beta_slow":2}}"""),
        ("phi3-longrope", """{"model_type":"phi3","vocab_size":96,"pad_token_id":0,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":4096,"original_max_position_embeddings":2048,"rope_scaling":{"rope_type":"longrope","short_factor":[1,1.1,1.2,1.3,1.4,1.5,1.6,1.7],"long_factor":[1,2,3,4,5,6,7,8]}}"""),
        ("gemma3-pattern", """{"model_type":"gemma3_text","vocab_size":96,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":4,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":32,"query_pre_attn_scalar":32,"max_position_embeddings":128,"sliding_window":8,"sliding_window_pattern":2,"rope_scaling":{"rope_type":"linear","factor":4}}"""),
        ("gpt2-inner", """{"model_type":"gpt2","vocab_size":96,"n_positions":64,"n_embd":64,"n_layer":2,"n_head":4,"n_inner":96,"tie_word_embeddings":false}"""),
        ("mistral-wide", """{"model_type":"mistral","vocab_size":96,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":32,"max_position_embeddings":64,"sliding_window":null}"""),
        ("mixtral-wide", """{"model_type":"mixtral","vocab_size":96,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":64,"num_local_experts":4}"""),
        ("gemma2-wide", """{"model_type":"gemma2","vocab_size":96,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":32,"query_pre_attn_scalar":32,"max_position_embeddings":64,"sliding_window":8}"""),
        ("gpt_neox-wide", """{"model_type":"gpt_neox","vocab_size":96,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"max_position_embeddings":64,"tie_word_embeddings":true}"""),
        ("olmo2-wide", """{"model_type":"olmo2","vocab_size":96,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":64,"tie_word_embeddings":true}"""),
        ("smollm3-wide", """{"model_type":"smollm3","vocab_size":96,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":4,"num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":64,"pad_token_id":0}"""),
        ("qwen3-wide", """{"model_type":"qwen3","vocab_size":96,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":32,"max_position_embeddings":64}"""),
        ("t5-wide", """{"model_type":"t5","vocab_size":96,"d_model":64,"d_kv":32,"d_ff":96,"num_layers":3,"num_decoder_layers":2,"num_heads":4,"n_positions":300,"decoder_start_token_id":3,"pad_token_id":0}"""),
        ("t5v11-wide", """{"model_type":"t5","vocab_size":96,"d_model":64,"d_kv":16,"d_ff":96,"num_layers":2,"num_heads":4,"n_positions":300,"feed_forward_proj":"gated-gelu","tie_word_embeddings":false,"pad_token_id":0}"""),
        ("t5v11-tied", """{"model_type":"t5","vocab_size":96,"d_model":64,"d_kv":16,"d_ff":96,"num_layers":2,"num_heads":4,"n_positions":300,"feed_forward_proj":"gated-gelu","tie_word_embeddings":true,"scale_decoder_outputs":false,"pad_token_id":0}"""),
        ("t5-distances", """{"model_type":"t5","vocab_size":96,"d_model":64,"d_kv":16,"d_ff":96,"num_layers":2,"num_heads":4,"n_positions":128,"relative_attention_num_buckets":16,"relative_attention_max_distance":40,"pad_token_id":0}"""),
        ("t5-silu-refused", """{"model_type":"t5","vocab_size":96,"d_model":64,"d_kv":16,"d_ff":96,"num_layers":1,"num_heads":4,"feed_forward_proj":"gated-silu"}"""),
        ("llama-bias", """{"model_type":"llama","vocab_size":96,"hidden_size":64,"intermediate_size":96,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"max_position_embeddings":64,"attention_bias":true,"mlp_bias":true}"""),
    ];

    /// <summary>The models; the caller disposes them.</summary>
    /// <param name="goldens">The folder of recorded models.</param>
    /// <param name="device">Where they are made.</param>
    public static IEnumerable<(string Name, string? Folder, LanguageModel Model)> All(string goldens, Device device)
    {
        foreach (string folder in new[] { "models", "variants" }.Select(name => Path.Combine(goldens, name)).SelectMany(Directory.EnumerateDirectories).Order(StringComparer.Ordinal))
            yield return (Path.GetFileName(folder), folder, ModelFiles.Load(folder, device));
        foreach ((string name, string config) in More)
            yield return (name, null, Spread(ModelConfig.Parse(config, name).Create(new Initializer(device, 1))));
    }

    /// <summary>The logits after each token of a sequence.</summary>
    /// <param name="model">The model.</param>
    /// <param name="device">Where it is.</param>
    /// <param name="tokens">The sequence.</param>
    /// <param name="read">What the encoder reads; empty for models without one.</param>
    public static float[] Logits(LanguageModel model, Device device, int[] tokens, int[] read)
    {
        using var tape = new Tape(device);
        return model.Logits(tape, read.Length == 0 ? new TokenBatch(tokens, 1) : new TokenBatch(read, 1) { DecoderTokens = tokens }).ToArray();
    }

    /// <summary>The most probable tokens after a prompt.</summary>
    public static int[] Continue(LanguageModel model, Device device, IReadOnlyList<int> prompt, int count) =>
        [.. new TextGenerator(model, device).Continue(prompt, count, new SamplingOptions { Temperature = 0 })];

    /// <summary>Weights far from each other, biases and norms included, so that the logits are not alike.</summary>
    private static LanguageModel Spread(LanguageModel model)
    {
        var random = new Random(7);
        // Weights of T5 begin far from each other, and its scores are not scaled.
        float factor = model.Config is T5Config ? 1 : 6;
        foreach (Parameter parameter in model.Parameters)
        {
            float[] values = parameter.ToArray();
            for (int i = 0; i < values.Length; i++)
                values[i] = parameter.Shape.Count > 1 ? factor * values[i] : values[i] + 0.2f * (random.NextSingle() - 0.5f);
            parameter.Load(values);
        }

        return model;
    }
}
