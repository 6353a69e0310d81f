using System.Text.Json;
using ILGpuOptim.Files;

namespace ILGpuOptim.Models;

/// <summary>
/// Fields of <c>config.json</c> that every class of configurations in Hugging Face's library has. They do not change the
/// model, or are refused if they would.
/// </summary>
internal static class ConfigFields
{
    /// <summary>Notes on the file, and settings of the reference library.</summary>
    private static readonly string[] Notes =
    [
        "_name_or_path", "name_or_path", "_commit_hash", "transformers_version", "torch_dtype", "dtype", "use_bfloat16", "torchscript", "tf_legacy_loss",
        "_attn_implementation", "_attn_implementation_autoset", "attn_implementation", "_flash_attn_2_enabled", "_experts_implementation", "use_cache",
        "output_attentions", "output_hidden_states", "output_past", "return_dict", "gradient_checkpointing", "chunk_size_feed_forward", "tokenizer_class",
        "unsloth_fixed", "unsloth_version", "model_name",
    ];

    /// <summary>Special tokens, which tokenizers and samplers read themselves.</summary>
    private static readonly string[] Tokens =
        ["bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "cls_token_id", "unk_token_id", "mask_token_id", "decoder_start_token_id", "bos_token", "eos_token", "pad_token", "unk_token"];

    /// <summary>Other heads and tasks.</summary>
    private static readonly string[] Tasks =
        ["task_specific_params", "finetuning_task", "id2label", "label2id", "num_labels", "_num_labels", "problem_type"];

    /// <summary>Defaults of text generation in old files; <c>sample</c> takes them from its flags.</summary>
    private static readonly string[] Generation =
    [
        "max_length", "min_length", "max_new_tokens", "do_sample", "early_stopping", "num_beams", "num_beam_groups", "diversity_penalty", "temperature", "top_k", "top_p",
        "typical_p", "repetition_penalty", "length_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "num_return_sequences", "output_scores",
        "return_dict_in_generate", "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values", "exponential_decay_length_penalty", "suppress_tokens",
        "begin_suppress_tokens", "prefix",
    ];

    /// <summary>Fields that are not supported, with their meaning.</summary>
    private static readonly (string Name, Func<JsonElement, bool> Neutral, string Meaning)[] Refused =
    [
        ("quantization_config", IsEmpty, "the weights are stored in a quantised format, which is not read; take the model's files in F32, F16 or BF16"),
        ("compression_config", IsEmpty, "the weights are stored in a compressed format, which is not read; take the model's files in F32, F16 or BF16"),
        ("auto_map", IsEmpty, "the model is computed by Python code of its own, which cannot be run here"),
        ("pruned_heads", IsEmpty, "models with pruned attention heads are not supported"),
        ("add_cross_attention", IsFalse, "cross-attention is not supported"),
        ("cross_attention_hidden_size", IsEmpty, "cross-attention is not supported"),
        ("is_encoder_decoder", IsFalse, "models of an encoder and a decoder are not supported"),
        ("tie_encoder_decoder", IsFalse, "models of an encoder and a decoder are not supported"),
    ];

    /// <summary>Accepts the fields without effect and refuses those that are not supported.</summary>
    /// <exception cref="UserException">With the field, its value and what it means.</exception>
    public static void ReadCommon(JsonFields fields)
    {
        foreach ((string name, Func<JsonElement, bool> neutral, string meaning) in Refused)
        {
            // A family may know the field.
            if (!fields.IsRead(name))
                fields.Only(name, neutral, meaning);
        }

        fields.Ignore([.. Notes, .. Tokens, .. Tasks, .. Generation]);
    }

    /// <summary>True for the value false.</summary>
    public static bool IsFalse(JsonElement value) => value.ValueKind == JsonValueKind.False;

    /// <summary>True for the number 1.</summary>
    public static bool IsOne(JsonElement value) => value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double number) && number == 1;

    /// <summary>True for an empty object or array.</summary>
    public static bool IsEmpty(JsonElement value) =>
        value.ValueKind == JsonValueKind.Object ? !value.EnumerateObject().Any() : value.ValueKind == JsonValueKind.Array && value.GetArrayLength() == 0;
}
