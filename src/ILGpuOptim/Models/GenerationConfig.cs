using System.Text.Json;
using ILGpuOptim.Files;

namespace ILGpuOptim.Models;

/// <summary>
/// What a model's folder says about generation: <c>generation_config.json</c>, or else the fields of old <c>config.json</c> files. The tokens
/// that end a text are used; how tokens are drawn is the caller's choice, so other settings are only named.
/// </summary>
public sealed class GenerationConfig
{
    /// <summary>The name of the file.</summary>
    public const string FileName = "generation_config.json";

    /// <summary>The largest file that is read.</summary>
    internal const long MaxFileBytes = 16 << 20;

    /// <summary>Fields without influence on what is drawn.</summary>
    private static readonly string[] Ignored =
    [
        "_from_model_config", "transformers_version", "bos_token_id", "pad_token_id", "use_cache", "cache_implementation", "cache_config", "return_legacy_cache", "output_attentions", "output_hidden_states",
        "output_scores", "output_logits", "return_dict_in_generate", "num_return_sequences", "max_length", "max_new_tokens", "max_time", "trust_remote_code",
        "compile_config", "disable_compile", "prefill_chunk_size", "is_assistant", "token_healing", "low_memory", "decoder_start_token_id",
    ];

    /// <summary>Settings of drawing, with the values that change nothing.</summary>
    private static readonly Dictionary<string, string[]> Neutral = new()
    {
        ["do_sample"] = ["true", "false"],
        ["temperature"] = ["1", "1.0"],
        ["top_p"] = ["1", "1.0"],
        ["top_k"] = ["0"],
        ["min_p"] = ["0", "0.0"],
        ["typical_p"] = ["1", "1.0"],
        ["repetition_penalty"] = ["1", "1.0"],
        ["encoder_repetition_penalty"] = ["1", "1.0"],
        ["epsilon_cutoff"] = ["0", "0.0"],
        ["eta_cutoff"] = ["0", "0.0"],
        ["num_beams"] = ["1"],
        ["num_beam_groups"] = ["1"],
        ["early_stopping"] = ["true", "false"],
        ["length_penalty"] = ["1", "1.0"],
        ["diversity_penalty"] = ["0", "0.0"],
        ["no_repeat_ngram_size"] = ["0"],
        ["encoder_no_repeat_ngram_size"] = ["0"],
        ["min_length"] = ["0"],
        ["remove_invalid_values"] = ["true", "false"],
        ["renormalize_logits"] = ["true", "false"],
        ["guidance_scale"] = ["1", "1.0"],
    };

    private GenerationConfig(JsonFields? own, JsonFields? model)
    {
        EndTokens = TokensOf(own, "eos_token_id") ?? TokensOf(model, "eos_token_id") ?? [];
        own?.Ignore(Ignored);
        NotApplied = own is null ? [] : [.. own.Unread.Where(field => Changes(field.Key, field.Value)).Select(field => $"{field.Key} = {JsonFields.Describe(field.Value)}")];
    }

    /// <summary>The tokens after which a text is complete; empty when none is known.</summary>
    public IReadOnlyList<int> EndTokens { get; }

    /// <summary>Settings of <c>generation_config.json</c> that would change what is drawn and are not applied, such as <c>temperature = 0.6</c>.</summary>
    public IReadOnlyList<string> NotApplied { get; }

    /// <summary>Reads what a folder says; a folder without the files says nothing.</summary>
    /// <exception cref="UserException">A file is damaged, or an id is none.</exception>
    public static GenerationConfig Of(string folder)
    {
        folder = ModelFiles.ConfigFolder(folder);
        return new GenerationConfig(Open(folder, FileName), Open(folder, ModelFiles.Config));
    }

    private static JsonFields? Open(string folder, string name)
    {
        string path = Path.Combine(folder, name);
        return File.Exists(path) ? JsonFields.Open(path, MaxFileBytes) : null;
    }

    private static int[]? TokensOf(JsonFields? fields, string name)
    {
        if (fields?.Element(name) is not { } value)
            return null;
        int Id(JsonElement id) => id.ValueKind == JsonValueKind.Number && id.TryGetInt32(out int token) && token >= 0
            ? token
            : throw fields.Error(name, $"is {JsonFields.Describe(value)}; it must be a token id or an array of them");
        return value.ValueKind == JsonValueKind.Array ? [.. value.EnumerateArray().Select(Id)] : [Id(value)];
    }

    private static bool Changes(string name, JsonElement value) =>
        value.ValueKind != JsonValueKind.Null && !ConfigFields.IsEmpty(value) && !(Neutral.TryGetValue(name, out string[]? neutral) && neutral.Contains(value.GetRawText()));
}
