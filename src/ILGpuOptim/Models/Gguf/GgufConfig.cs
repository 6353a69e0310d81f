using System.Text.Json.Nodes;
using ILGpuOptim.Files;

namespace ILGpuOptim.Models;

/// <summary>Reads the configuration of a model from the metadata of a GGUF file. Each key of the architecture is read, known to change nothing, or refused by name.</summary>
internal sealed class GgufConfig
{
    /// <summary>Keys of architectures that change no result here.</summary>
    private static readonly string[] Ignored = ["tensor_data_layout", "rope.scaling.finetuned", "vocab_size"];

    private readonly GgufFile file;
    private readonly string architecture;
    private readonly HashSet<string> read = new(StringComparer.Ordinal);

    /// <summary>Prepares to read.</summary>
    /// <exception cref="UserException">The file names no architecture that is supported.</exception>
    public GgufConfig(GgufFile file)
    {
        this.file = file;
        architecture = file.Metadata.GetValueOrDefault("general.architecture") as string ?? throw new UserException($"{file.Path}: general.architecture is missing");
        string[] known = [.. GgufArchitecture.ByFamily.Values.Select(other => other.Name).Distinct()];
        if (!known.Contains(architecture))
            throw new UserException($"{file.Path}: general.architecture is \"{architecture}\", which is not supported; there are {string.Join(", ", known)}");
        if (file.Metadata.GetValueOrDefault("general.type") is string kind and not "model")
            throw new UserException($"{file.Path}: general.type is \"{kind}\"; only models are read");
        if (file.Metadata.GetValueOrDefault("split.count") is long and > 1 and var parts)
            throw new UserException($"{file.Path}: one of {parts} parts of a model; join them with llama.cpp's gguf-split first");
    }

    /// <summary>The tensors that hold constants, which the configuration describes.</summary>
    public IReadOnlyCollection<string> Constants { get; private set; } = [];

    private bool IsGpt2 => architecture == "gpt2";

    private bool IsLayerNorm => architecture is "gpt2" or "gptneox";

    private bool HasExperts => file.Metadata.ContainsKey($"{architecture}.expert_count") && Optional("expert_count") > 0;

    private string Family => architecture == "llama" && HasExperts ? "mixtral" : GgufArchitecture.ByFamily.First(pair => pair.Value.Name == architecture).Key;

    /// <summary>Reads the configuration.</summary>
    /// <exception cref="UserException">A key is missing, has an impossible value, or is not supported.</exception>
    public ModelConfig Read()
    {
        GgufEntry tokens = file.Tensors.GetValueOrDefault("token_embd.weight") is { Shape.Count: 2 } entry ? entry
            : throw new UserException($"{file.Path}: there is no tensor token_embd.weight of two dimensions");
        var json = new JsonObject { ["model_type"] = Family, ["vocab_size"] = tokens.Shape[0], ["tie_word_embeddings"] = !file.Tensors.ContainsKey("output.weight") };
        if (architecture == GgufT5.Name)
            ReadT5(json);
        else
            ReadDecoder(json);
        foreach (string key in file.Metadata.Keys.Where(key => key.StartsWith(architecture + ".", StringComparison.Ordinal)).Order(StringComparer.Ordinal))
        {
            if (!read.Contains(key) && !Ignored.Contains(key[(architecture.Length + 1)..]))
                throw new UserException($"{file.Path}: {key} is not supported, and it may change the model's results");
        }

        return ModelConfig.Parse(json.ToJsonString(), file.Path);
    }

    private void ReadT5(JsonObject json)
    {
        long heads = Required("attention.head_count"), layers = Required("block_count"), width = Required("embedding_length");
        long size = Optional("attention.key_length") ?? (heads > 0 ? width / heads : 0);
        foreach ((string key, long value) in ((string, long)[])[("attention.head_count_kv", heads), ("attention.value_length", size)])
        {
            if (Optional(key) is { } other && other != value)
                throw Refused(key, $"is {other} where T5 has {value}");
        }

        json["d_model"] = width;
        json["d_kv"] = size;
        json["d_ff"] = Required("feed_forward_length");
        json["num_layers"] = layers;
        json["num_decoder_layers"] = Optional("decoder_block_count") ?? layers;
        json["num_heads"] = heads;
        json["n_positions"] = Required("context_length");
        json["layer_norm_epsilon"] = Number("attention.layer_norm_rms_epsilon");
        // Files that were converted elsewhere have it; the norms of T5 are RMS norms.
        read.Add("t5.attention.layer_norm_epsilon");
        long buckets = Required("attention.relative_buckets_count");
        json["relative_attention_num_buckets"] = Plain(GgufT5.Buckets) ?? buckets;
        json["relative_attention_max_distance"] = Plain(GgufT5.MaxDistance) ?? GgufT5.Farthest;
        json["feed_forward_proj"] = file.Tensors.ContainsKey("dec.blk.0.ffn_gate.weight") ? "gated-gelu" : "relu";
        json["dropout_rate"] = 0;
        if (file.Metadata.ContainsKey(GgufT5.OriginalOf(GgufT5.ScaledNorm)))
            json["scale_decoder_outputs"] = true;
        json["decoder_start_token_id"] = Required("decoder_start_token_id");
        json["pad_token_id"] = Plain("tokenizer.ggml.padding_token_id");
        json["eos_token_id"] = Plain("tokenizer.ggml.eos_token_id");
        int[] sentinels = [.. GgufVocabulary.SentinelsOf(file)];
        if (sentinels.Length > 0)
            json["sentinel_token_ids"] = new JsonArray([.. sentinels.Select(id => (JsonNode)id)]);
        Constants = [GgufT5.Unused];

        long? Plain(string key) => file.Metadata.GetValueOrDefault(key) switch
        {
            null => null,
            long and >= 0 and <= int.MaxValue and var number => number,
            _ => throw new UserException($"{file.Path}: {key} must be a natural number below 2^31"),
        };
    }

    private void ReadDecoder(JsonObject json)
    {
        long layers = Required("block_count"), heads = Required("attention.head_count");
        (string width, string inner, string count, string head, string positions) = IsGpt2
            ? ("n_embd", "n_inner", "n_layer", "n_head", "n_positions")
            : ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings");
        json[width] = Required("embedding_length");
        json[inner] = Required("feed_forward_length");
        json[count] = layers;
        json[head] = heads;
        json[positions] = Required("context_length");
        json[IsGpt2 ? "layer_norm_epsilon" : architecture == "gptneox" ? "layer_norm_eps" : "rms_norm_eps"] = Number(IsLayerNorm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon");
        long keyHeads = Optional("attention.head_count_kv") ?? heads;
        if (IsLayerNorm && keyHeads != heads)
            throw Refused("attention.head_count_kv", $"is {keyHeads}, not the number of query heads");
        if (!IsLayerNorm)
            json["num_key_value_heads"] = keyHeads;
        ReadFamily(json);
        ReadHeads(json, heads);
        if (!IsGpt2)
            ReadRotary(json);
    }

    private void ReadFamily(JsonObject json)
    {
        if (Flag("attention.causal") == false)
            throw Refused("attention.causal", "is false; only causal models are supported");
        bool hasBias = file.Tensors.ContainsKey("blk.0.attn_q.bias");
        switch (architecture)
        {
            case "gpt2":
                json["activation_function"] = "gelu_new";
                foreach (string dropout in (string[])["resid_pdrop", "embd_pdrop", "attn_pdrop"])
                    json[dropout] = 0;
                break;
            case "gptneox":
                json["use_parallel_residual"] = Flag("use_parallel_residual") ?? true;
                json["hidden_act"] = Text("hidden_activation") ?? "gelu";
                break;
            case "llama" when HasExperts:
                json["num_local_experts"] = Required("expert_count");
                json["num_experts_per_tok"] = Required("expert_used_count");
                break;
            case "llama":
                json["attention_bias"] = hasBias;
                json["mlp_bias"] = file.Tensors.ContainsKey("blk.0.ffn_gate.bias");
                break;
            case "smollm3":
                json["attention_bias"] = hasBias;
                json["mlp_bias"] = file.Tensors.ContainsKey("blk.0.ffn_gate.bias");
                json["no_rope_layer_interval"] = 4;
                break;
            case "qwen3moe":
                json["num_experts"] = Required("expert_count");
                json["num_experts_per_tok"] = Required("expert_used_count");
                json["moe_intermediate_size"] = Required("expert_feed_forward_length");
                json["norm_topk_prob"] = true;
                break;
            case "gemma2":
                json["attn_logit_softcapping"] = Number("attn_logit_softcapping", 50);
                json["final_logit_softcapping"] = Number("final_logit_softcapping", 30);
                json["sliding_window"] = Optional("attention.sliding_window") ?? 4096;
                break;
            case "gemma3":
                json["sliding_window"] = Required("attention.sliding_window");
                json["sliding_window_pattern"] = Optional("attention.sliding_window_pattern") ?? 6;
                break;
            case "phi3":
                // llama.cpp reads Phi-3's window and computes without it.
                json["sliding_window"] = null;
                read.Add("phi3.attention.sliding_window");
                break;
        }

        // The padding row only matters to training; no family has one by default here.
        if (architecture != "gpt2")
            json["pad_token_id"] = null;
        if (!HasExperts && Optional("expert_used_count") is > 0 and var used)
            throw Refused("expert_used_count", $"is {used}, but there are no experts");
    }

    private void ReadHeads(JsonObject json, long heads)
    {
        long size = Optional("attention.key_length") ?? (heads > 0 ? (json["n_embd"] ?? json["hidden_size"])!.GetValue<long>() / heads : 0);
        if (Optional("attention.value_length") is { } values && values != size)
            throw Refused("attention.value_length", $"is {values}, but keys have {size}; such heads are not supported");
        long rotated = Optional("rope.dimension_count") ?? size;
        GgufArchitecture known = GgufArchitecture.ByFamily[Family];
        if (!known.DividesHeads)
            json["head_dim"] = size;
        else if (size * heads != (json["n_embd"] ?? json["hidden_size"])!.GetValue<long>())
            throw Refused("attention.key_length", $"is {size}, but {heads} heads are as wide as the model");
        if (architecture is "gemma2" or "gemma3")
        {
            json["query_pre_attn_scalar"] = json["num_hidden_layers"]!.GetValue<long>() == known.HiddenScaleLayers ? json["hidden_size"]!.GetValue<long>() / heads : size;
        }

        if (architecture is "phi3" or "gptneox" && size > 0)
            json[architecture == "phi3" ? "partial_rotary_factor" : "rotary_pct"] = (double)rotated / size;
        else if (rotated != size && !IsGpt2)
            throw Refused("rope.dimension_count", $"is {rotated} of heads of {size}; rotating part of a head is not supported for {architecture}");
    }

    private void ReadRotary(JsonObject json)
    {
        json[architecture == "gptneox" ? "rotary_emb_base" : "rope_theta"] = Number("rope.freq_base", 10000);
        if (architecture == "gemma3")
            json["rope_local_base_freq"] = Number("rope.freq_base_swa", 10000);
        double? factor = Positive("rope.scaling.factor") ?? Positive("rope.scale_linear");
        // llama.cpp scales linearly where a file names no type, and not at all where it names "none".
        string kind = Text("rope.scaling.type") ?? (factor is null or 1 ? "none" : "linear");
        long? original = Optional("rope.scaling.original_context_length");
        double? attention = Positive("rope.scaling.attn_factor"), fast = Positive("rope.scaling.yarn_beta_fast"), slow = Positive("rope.scaling.yarn_beta_slow");
        long positions = json["max_position_embeddings"]!.GetValue<long>();
        GgufTensorNames(out GgufEntry? divisors, out GgufEntry? longs, out GgufEntry? shorts);
        bool isLong = kind is "none" or "linear" or "longrope" && longs is not null && shorts is not null;
        if (attention is not null and not 1 && kind != "yarn" && !isLong)
            throw Refused("rope.scaling.attn_factor", $"is not supported with the scaling \"{kind}\"");
        if (!isLong && (longs ?? shorts) is { } unused)
            throw new UserException($"{file.Path}: {unused.Name} is not supported with the scaling \"{kind}\"");
        if (divisors is not null && (isLong || kind != "none") && file.Read(divisors).Any(divisor => divisor != 1))
            throw new UserException($"{file.Path}: {divisors.Name} is not supported with the scaling \"{kind}\"");
        switch (kind)
        {
            case "none" when divisors is not null:
                json["rope_scaling"] = Llama3Scaling.Find(file.Read(divisors), Number("rope.freq_base", 10000), original, positions)
                    ?? throw new UserException($"{file.Path}: {divisors.Name} has divisors of frequencies that are none of rope_scaling \"llama3\" with low_freq_factor 1 and high_freq_factor 4");
                break;
            case "none" or "linear" when longs is not null && shorts is not null:
            case "longrope" when longs is not null && shorts is not null:
                long first = original ?? positions;
                json["original_max_position_embeddings"] = first;
                json["rope_scaling"] = new JsonObject
                {
                    ["rope_type"] = "longrope",
                    ["long_factor"] = new JsonArray([.. file.Read(longs).Select(value => (JsonNode)value)]),
                    ["short_factor"] = new JsonArray([.. file.Read(shorts).Select(value => (JsonNode)value)]),
                    ["attention_factor"] = attention ?? 1,
                };
                break;
            case "none":
                if (architecture == "phi3")
                    json["original_max_position_embeddings"] = original ?? positions;
                break;
            case "linear":
                json["rope_scaling"] = new JsonObject { ["rope_type"] = "linear", ["factor"] = factor ?? 1 };
                break;
            case "yarn":
                var yarn = new JsonObject { ["rope_type"] = "yarn", ["factor"] = factor ?? 1, ["original_max_position_embeddings"] = original ?? positions };
                if (attention is { } multiplier)
                    yarn["attention_factor"] = multiplier * (0.1 * Math.Log(Math.Max(factor ?? 1, 1)) + 1);
                if (fast is not null)
                    yarn["beta_fast"] = fast;
                if (slow is not null)
                    yarn["beta_slow"] = slow;
                json["rope_scaling"] = yarn;
                break;
            default:
                throw Refused("rope.scaling.type", $"is \"{kind}\", which is not supported, or tensors that it needs are missing");
        }
    }

    private void GgufTensorNames(out GgufEntry? divisors, out GgufEntry? longs, out GgufEntry? shorts)
    {
        divisors = file.Tensors.GetValueOrDefault(GgufModelMetadata.Divisors);
        longs = file.Tensors.GetValueOrDefault(GgufModelMetadata.LongDivisors);
        shorts = file.Tensors.GetValueOrDefault(GgufModelMetadata.ShortDivisors);
        Constants = [.. new[] { divisors, longs, shorts }.OfType<GgufEntry>().Select(entry => entry.Name)];
    }

    private object? Value(string key)
    {
        read.Add($"{architecture}.{key}");
        return file.Metadata.GetValueOrDefault($"{architecture}.{key}");
    }

    private long Required(string key) => Optional(key) ?? throw new UserException($"{file.Path}: {architecture}.{key} is missing");

    /// <summary>An integer from 0 to 2^31 - 1. An array with one value for every layer counts as that value.</summary>
    private long? Optional(string key) => Value(key) switch
    {
        null => null,
        long and >= 0 and <= int.MaxValue and var number => number,
        long[] and [>= 0 and <= int.MaxValue and var first, ..] all when all.All(value => value == first) => first,
        long[] => throw Refused(key, "differs from layer to layer, which is not supported"),
        _ => throw Refused(key, "must be a natural number below 2^31"),
    };

    private double? Positive(string key) => Value(key) switch
    {
        null => null,
        double and > 0 and < 1e30 and var number => number,
        _ => throw Refused(key, "must be a positive number"),
    };

    private double Number(string key, double? missing = null) => Positive(key) ?? missing ?? throw new UserException($"{file.Path}: {architecture}.{key} is missing");

    private bool? Flag(string key) => Value(key) is { } value ? value as bool? ?? throw Refused(key, "must be true or false") : null;

    private string? Text(string key) => Value(key) is { } value ? value as string ?? throw Refused(key, "must be text") : null;

    private UserException Refused(string key, string problem) => new($"{file.Path}: {architecture}.{key} {problem}");
}

/// <summary>Finds the settings of the rotary scaling "llama3" from the divisors of frequencies that follow from them.</summary>
internal static class Llama3Scaling
{
    private const double Low = 1, High = 4;

    /// <summary>The field <c>rope_scaling</c>; null if the divisors are of no settings that are tried.</summary>
    /// <param name="divisors">The divisor of each pair's frequency.</param>
    /// <param name="theta">The base.</param>
    /// <param name="original">The original context length, if the file has it.</param>
    /// <param name="positions">The context length.</param>
    public static JsonObject? Find(float[] divisors, double theta, long? original, long positions)
    {
        double factor = divisors.Length == 0 ? 1 : divisors.Max();
        long[] tried = original is { } known ? [known] : [8192, positions, (long)Math.Round(positions / factor), 4096, 2048, 1024, 512, 256, 128, 64, 32, 16];
        foreach (long context in tried.Where(context => context is > 0 and <= int.MaxValue).Distinct())
        {
            var scaling = new Layers.RotaryScaling { Kind = "llama3", Factor = factor, LowFactor = Low, HighFactor = High, OriginalPositions = (int)context };
            double[] frequencies = new Layers.RotaryFrequencies(new(theta, 2 * divisors.Length, scaling) { MaxPositions = (int)context }).Of(0);
            if (divisors.Select((divisor, k) => Math.Abs(Math.Pow(theta, -2.0 * k / (2 * divisors.Length)) / frequencies[k] / divisor - 1)).All(error => error < 1e-5))
                return new() { ["rope_type"] = "llama3", ["factor"] = factor, ["low_freq_factor"] = Low, ["high_freq_factor"] = High, ["original_max_position_embeddings"] = context };
        }

        return null;
    }
}
