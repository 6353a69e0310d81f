using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using ILGpuOptim.Data;
using ILGpuOptim.Data.Tokenization;
using ILGpuOptim.Data.Tokenization.SentencePieces;
using ILGpuOptim.Files;

namespace ILGpuOptim.Models;

/// <summary>The tokenizer of a GGUF file as files of Hugging Face, SentencePiece or this library.</summary>
/// <param name="Save">Writes them into a folder.</param>
internal sealed record GgufTokenizerFiles(Action<string> Save)
{
    private const string Prefix = "tokenizer.ggml.";

    /// <summary>The keys of special tokens, by the names of the tokens in <c>tokenizer_config.json</c>.</summary>
    private static readonly (string Name, string Key)[] Special =
    [
        ("bos_token", "bos_token_id"), ("eos_token", "eos_token_id"), ("unk_token", "unknown_token_id"), ("sep_token", "seperator_token_id"), ("pad_token", "padding_token_id"),
        ("cls_token", "cls_token_id"), ("mask_token", "mask_token_id"),
    ];

    /// <summary>Other keys that are read, or that do not change the ids of texts.</summary>
    private static readonly string[] Known =
    [
        "model", "pre", "tokens", "token_type", "token_type_count", "scores", "merges", "added_tokens", "add_bos_token", "add_eos_token", "add_sep_token", "add_space_prefix",
        "remove_extra_whitespaces", "precompiled_charsmap", "eot_token_id", "eom_token_id", "eog_token_ids", "prefix_token_id", "suffix_token_id", "middle_token_id", "fim_pre_token_id",
        "fim_suf_token_id", "fim_mid_token_id", "fim_pad_token_id", "fim_rep_token_id", "fim_sep_token_id",
    ];

    private static readonly JsonSerializerOptions Json = new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Reads a tokenizer; null if the file has none.</summary>
    /// <param name="file">The file.</param>
    /// <param name="vocabulary">The vocabulary size of the model.</param>
    /// <exception cref="UserException">Its kind is not supported, or it is damaged.</exception>
    public static GgufTokenizerFiles? Of(GgufFile file, int vocabulary)
    {
        string? kind = file.Metadata.GetValueOrDefault(Prefix + "model") as string;
        if (kind is null or "none" or "no_vocab")
            return null;
        string[] tokens = Values<string>("tokens") ?? throw Refused("tokens", "is missing");
        if (tokens.Length != vocabulary)
            throw Refused("tokens", $"has {tokens.Length:N0} tokens, but the model {vocabulary:N0}");
        long[] types = Values<long>("token_type") ?? [.. tokens.Select(_ => (long)GgufTokenType.Normal)];
        if (types.Length != tokens.Length || types.Any(type => type is < 0 or > 6))
            throw Refused("token_type", "does not have a known type for every token");
        foreach (string key in file.Metadata.Keys.Where(key => key.StartsWith(Prefix, StringComparison.Ordinal)).Select(key => key[Prefix.Length..]))
        {
            if (!Known.Contains(key) && Special.All(token => token.Key != key))
                throw Refused(key, "is not supported, and it may change the ids of texts");
        }

        return kind switch
        {
            "gpt2" => OfBytePairs(),
            "llama" => OfPieces(),
            GgufUnigram.Name => OfUnigram(),
            "rwkv" => OfLongest(),
            _ => throw Refused("model", $"is \"{kind}\"; gpt2, llama, t5, rwkv and none are supported"),
        };

        T[]? Values<T>(string key) => file.Metadata.GetValueOrDefault(Prefix + key) is { } value ? value as T[] ?? throw Refused(key, "is not a list of the right type") : null;

        UserException Refused(string key, string problem) => new($"{file.Path}: {Prefix}{key} {problem}");

        int? Id(string key) => file.Metadata.GetValueOrDefault(Prefix + key) switch
        {
            null => null,
            long id and >= 0 when id < tokens.Length => (int)id,
            _ => throw Refused(key, "is no id of a token"),
        };

        bool? Flag(string key) => file.Metadata.GetValueOrDefault(Prefix + key) is { } value ? value as bool? ?? throw Refused(key, "must be true or false") : null;

        void RefuseText()
        {
            // The configuration of a T5 has the end token that its inputs get.
            if (Flag("add_eos_token") == true && file.Metadata["general.architecture"] as string != GgufT5.Name)
                throw Refused("add_eos_token", "is true; tokens after a text are not supported");
            if (Flag("add_sep_token") == true)
                throw Refused("add_sep_token", "is true; tokens after a text are not supported");
        }

        GgufTokenizerFiles OfBytePairs()
        {
            RefuseText();
            string name = file.Metadata.GetValueOrDefault(Prefix + "pre") as string ?? "default";
            (string Name, IReadOnlyList<string> Patterns, bool IgnoresMerges) words = GgufTokenizer.WordSplittings.FirstOrDefault(known => known.Name == Alias(name));
            if (words.Name is null)
                throw Refused("pre", $"is \"{name}\", which is not supported; there are {string.Join(", ", GgufTokenizer.WordSplittings.Select(known => known.Name))}");
            if (Flag("add_space_prefix") == true)
                throw Refused("add_space_prefix", "is true, which is not supported for byte-level tokenizers");
            bool addsStart = Flag("add_bos_token") ?? words.IgnoresMerges;
            int? start = addsStart ? Id("bos_token_id") ?? throw Refused("bos_token_id", "is missing") : null;
            var model = new JsonObject { ["type"] = "BPE", ["ignore_merges"] = words.IgnoresMerges, ["vocab"] = Entries(), ["merges"] = Merges() };
            var steps = new JsonArray([.. words.Patterns.Select(pattern => (JsonNode)new JsonObject { ["type"] = "Split", ["pattern"] = new JsonObject { ["Regex"] = pattern }, ["behavior"] = "Isolated", ["invert"] = false })]);
            steps.Add((JsonNode)new JsonObject { ["type"] = "ByteLevel", ["add_prefix_space"] = false, ["trim_offsets"] = true, ["use_regex"] = false });
            var root = new JsonObject
            {
                ["version"] = "1.0",
                ["added_tokens"] = Added(),
                // Tokenizers with these words compose characters, which the file does not say.
                ["normalizer"] = words.Name == "qwen2" ? new JsonObject { ["type"] = "NFC" } : null,
                ["pre_tokenizer"] = new JsonObject { ["type"] = "Sequence", ["pretokenizers"] = steps },
                ["post_processor"] = start is null ? null : Template(start, null),
                ["decoder"] = new JsonObject { ["type"] = "ByteLevel", ["add_prefix_space"] = true, ["trim_offsets"] = true, ["use_regex"] = true },
                ["model"] = model,
            };
            return OfJson(root);
        }

        static string Alias(string name) => name switch
        {
            "gpt2" or "olmo" => "gpt-2",
            "llama3" or "llama-v3" => "llama-bpe",
            "smollm" or "refact" or "command-r" => "starcoder",
            "smaug-bpe" => "dbrx",
            "llama4" => "gpt-4o",
            _ => name,
        };

        bool IsAdded(int id) => (GgufTokenType)types[id] is GgufTokenType.Control or GgufTokenType.UserDefined or GgufTokenType.Unknown;

        JsonObject Entries()
        {
            var result = new JsonObject();
            foreach ((int id, string token) in tokens.Index())
            {
                if (!result.TryAdd(token, id))
                    throw Refused("tokens", $"has \"{token}\" twice");
            }

            return result;
        }

        JsonArray Added() => new([.. Enumerable.Range(0, tokens.Length).Where(IsAdded).Select(id => (JsonNode)new JsonObject
        {
            ["id"] = id,
            ["content"] = tokens[id],
            ["single_word"] = false,
            ["lstrip"] = false,
            ["rstrip"] = false,
            ["normalized"] = false,
            ["special"] = (GgufTokenType)types[id] != GgufTokenType.UserDefined,
        })]);

        JsonArray Merges()
        {
            string[] merges = Values<string>("merges") ?? throw Refused("merges", "is missing");
            return new([.. merges.Select(merge =>
            {
                int cut = merge.Length < 2 ? -1 : merge.IndexOf(' ', 1);
                return cut > 0 ? (JsonNode)new JsonArray(merge[..cut], merge[(cut + 1)..]) : throw Refused("merges", $"has \"{merge}\", which is not two tokens");
            })]);
        }

        JsonObject Template(int? start, int? end)
        {
            return new()
            {
                ["type"] = "TemplateProcessing",
                ["single"] = new JsonArray([.. Special(start), Sequence("A"), .. Special(end)]),
                ["pair"] = new JsonArray([.. Special(start), Sequence("A"), .. Special(end), Sequence("B"), .. Special(end)]),
                ["special_tokens"] = new JsonObject(new[] { start, end }.OfType<int>().Distinct()
                    .Select(id => KeyValuePair.Create(tokens[id], (JsonNode?)new JsonObject { ["id"] = tokens[id], ["ids"] = new JsonArray(id), ["tokens"] = new JsonArray(tokens[id]) }))),
            };

            JsonNode[] Special(int? id) => id is { } known ? [new JsonObject { ["SpecialToken"] = new JsonObject { ["id"] = tokens[known], ["type_id"] = 0 } }] : [];
        }

        GgufTokenizerFiles OfPieces()
        {
            RefuseText();
            double[] scores = Values<double>("scores") ?? throw Refused("scores", "is missing");
            if (scores.Length != tokens.Length)
                throw Refused("scores", "does not have a score for every token");
            byte[] contents = SentencePieceWriter.BytePairs(tokens.Index().Select(token => new Piece(token.Item, (float)scores[token.Index], TypeOf(token.Index))), Flag("add_space_prefix") ?? true);
            SentencePieceModel model = SentencePieceFile.Read(contents, $"{file.Path}: tokenizer");
            _ = new SentencePieceProcessor(model, $"{file.Path}: tokenizer");
            return new(folder =>
            {
                AtomicFolder.WriteBytes(Path.Combine(folder, TokenizerFiles.SentencePiece), contents);
                WriteCompanion(folder, new JsonObject
                {
                    ["tokenizer_class"] = "LlamaTokenizer",
                    ["add_bos_token"] = Flag("add_bos_token") ?? true,
                    ["add_eos_token"] = false,
                    ["legacy"] = true,
                    ["bos_token"] = tokens[Id("bos_token_id") ?? 1],
                    ["eos_token"] = tokens[Id("eos_token_id") ?? 2],
                    ["unk_token"] = tokens[Id("unknown_token_id") ?? 0],
                });
                WriteGeneration(folder);
            });
        }

        GgufTokenizerFiles OfUnigram()
        {
            RefuseText();
            double[] scores = Values<double>("scores") ?? throw Refused("scores", "is missing");
            if (scores.Length != tokens.Length)
                throw Refused("scores", "does not have a score for every token");
            if (scores.FirstOrDefault(value => !double.IsFinite(value)) is var score && !double.IsFinite(score))
                throw Refused("scores", $"has {score}, which is not finite");
            if (tokens.GroupBy(token => token, StringComparer.Ordinal).FirstOrDefault(group => group.Count() > 1) is { } twice)
                throw Refused("tokens", $"has \"{twice.Key}\" twice");
            if (types.Any(type => (GgufTokenType)type == GgufTokenType.Byte))
                throw Refused("token_type", "has bytes, which are not supported for unigram models");
            if (Flag("remove_extra_whitespaces") != true)
                throw Refused("remove_extra_whitespaces", "is not true, which is not supported for unigram models");
            byte[]? map = Values<long>("precompiled_charsmap") is { Length: > 0 } values
                ? Array.ConvertAll(values, value => value is >= sbyte.MinValue and <= byte.MaxValue ? (byte)value : throw Refused("precompiled_charsmap", $"has {value}, which is no byte")) : null;
            if (map is not null && new CharacterMap(map, $"{file.Path}: tokenizer").JoinsLetters)
                throw Refused("precompiled_charsmap", "replaces several letters at once, which is not supported");
            // The score of unknown characters follows from the lowest one, so that of unused tokens must not be lower.
            double lowest = scores.Where((_, id) => (GgufTokenType)types[id] == GgufTokenType.Normal).DefaultIfEmpty().Min();
            JsonObject root = GgufUnigram.ToJson(tokens.Zip(scores.Select(value => Math.Max(value, lowest))), Id("unknown_token_id") ?? 2, map);
            root["version"] = "1.0";
            root["added_tokens"] = Added();
            int? start = Flag("add_bos_token") == true ? Id("bos_token_id") ?? throw Refused("bos_token_id", "is missing") : null;
            int? end = Flag("add_eos_token") != false ? Id("eos_token_id") : null;
            root["post_processor"] = start is null && end is null ? null : Template(start, end);
            return OfJson(root);
        }

        GgufTokenizerFiles OfJson(JsonObject root)
        {
            byte[] contents = Encoding.UTF8.GetBytes(root.ToJsonString(Json));
            _ = TokenizerJson.Read($"{file.Path}: tokenizer", contents, []);
            return new(folder =>
            {
                AtomicFolder.WriteBytes(Path.Combine(folder, TokenizerFiles.HuggingFace), contents);
                var companion = new JsonObject { ["tokenizer_class"] = "PreTrainedTokenizerFast" };
                // Chat templates name them.
                foreach ((string name, string key) in Special)
                {
                    if (Id(key) is { } id && IsAdded(id))
                        companion[name] = tokens[id];
                }

                WriteCompanion(folder, companion);
                WriteGeneration(folder);
            });
        }

        PieceType TypeOf(int id) => types[id] == 0 ? PieceType.Normal : (PieceType)types[id];

        GgufTokenizerFiles OfLongest()
        {
            // A T5 has special tokens after those of its tokenizer.
            int count = Array.FindLastIndex(types, type => (GgufTokenType)type == GgufTokenType.Normal) + 1;
            byte[][] texts = [.. tokens[..count].Select(token => Unescaped(token) ?? throw Refused("tokens", $"has \"{token}\", whose escapes are not understood"))];
            if (texts.Length == 256 && texts.Index().All(text => text.Item is [var value] && value == text.Index))
                return new(new ByteTokenizer().Save);
            var characters = new List<Rune>();
            foreach (byte[] text in texts)
            {
                if (Rune.DecodeFromUtf8(text, out Rune character, out int length) != System.Buffers.OperationStatus.Done || length != text.Length || (characters.Count > 0 && character <= characters[^1]))
                    throw Refused("model", "is \"rwkv\" with tokens other than all bytes, or characters in the order of their code points; others are not supported");
                characters.Add(character);
            }

            return new(new CharTokenizer(characters).Save);
        }

        void WriteCompanion(string folder, JsonObject companion)
        {
            if (file.Metadata.GetValueOrDefault("tokenizer.chat_template") is string template)
                companion["chat_template"] = template;
            AtomicFolder.WriteText(Path.Combine(folder, CompanionSettings.Config), companion.ToJsonString(Json));
        }

        void WriteGeneration(string folder)
        {
            int[] ends = [.. new[] { Id("eos_token_id"), Id("eot_token_id") }.OfType<int>().Distinct()];
            if (ends.Length > 0)
                AtomicFolder.WriteText(Path.Combine(folder, GenerationConfig.FileName), new JsonObject { ["eos_token_id"] = new JsonArray([.. ends.Select(id => (JsonNode)id)]) }.ToJsonString(Json));
        }
    }

    private static JsonObject Sequence(string id) => new() { ["Sequence"] = new JsonObject { ["id"] = id, ["type_id"] = 0 } };

    /// <summary>The bytes of a token in rwkv's form; null if it is none.</summary>
    private static byte[]? Unescaped(string token)
    {
        var result = new List<byte>();
        for (int i = 0; i < token.Length; i++)
        {
            if (token[i] != '\\')
            {
                int length = char.IsHighSurrogate(token[i]) && i + 1 < token.Length ? 2 : 1;
                result.AddRange(Encoding.UTF8.GetBytes(token.Substring(i, length)));
                i += length - 1;
                continue;
            }

            if (++i == token.Length)
                return null;
            if (token[i] == 'x')
            {
                if (i + 2 >= token.Length || !byte.TryParse(token.AsSpan(i + 1, 2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out byte value))
                    return null;
                result.Add(value);
                i += 2;
                continue;
            }

            result.Add(token[i] switch { 't' => (byte)'\t', 'n' => (byte)'\n', 'r' => (byte)'\r', < '\x80' and var c => (byte)c, _ => 0 });
        }

        return [.. result];
    }
}
