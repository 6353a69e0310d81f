using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>Reads <c>tokenizer.json</c>: byte-level BPE (GPT-2, Llama 3 and their like) and WordPiece (BERT). Anything else is refused by name.</summary>
internal static class HuggingFaceTokenizer
{
    /// <summary>Whether a file is of a kind that <see cref="Open"/> reads.</summary>
    public static bool IsSupported(string path) => TokenizerFiles.Guard(path, () =>
    {
        using JsonDocument json = JsonDocument.Parse(File.ReadAllBytes(path));
        return Refusal(json.RootElement) is null;
    });

    /// <exception cref="UserException">The file is damaged, or of another kind.</exception>
    public static ITokenizer Open(string path, IReadOnlyList<(string Name, byte[] Contents)> files) => TokenizerFiles.Guard(path, () =>
    {
        using JsonDocument json = JsonDocument.Parse(File.ReadAllBytes(path));
        JsonElement root = json.RootElement;
        if (Refusal(root) is { } reason)
            throw new UserException($"{path}: {reason}");
        JsonElement model = root.GetProperty("model");
        Dictionary<string, int> vocabulary = model.GetProperty("vocab").EnumerateObject().ToDictionary(item => item.Name, item => item.Value.GetInt32());
        var special = new Dictionary<string, int>();
        if (root.TryGetProperty("added_tokens", out JsonElement added) && added.ValueKind == JsonValueKind.Array)
        {
            foreach (JsonElement token in added.EnumerateArray())
                special[token.GetProperty("content").GetString()!] = token.GetProperty("id").GetInt32();
        }

        int size = Math.Max(vocabulary.Values.DefaultIfEmpty(-1).Max(), special.Values.DefaultIfEmpty(-1).Max()) + 1;
        if (TypeOf(model) == "WordPiece")
        {
            foreach ((string token, int id) in special)
                vocabulary[token] = id;
            string[] lines = new string[size];
            Array.Fill(lines, "[unused]");
            foreach ((string token, int id) in vocabulary)
                lines[id] = token;
            JsonElement normalizer = root.TryGetProperty("normalizer", out JsonElement found) ? found : default;
            bool lower = Flag(normalizer, "lowercase") ?? true;
            return TokenizerFiles.WordPieceOf(Encoding.UTF8.GetBytes(string.Join('\n', lines) + "\n"), lower, Flag(normalizer, "strip_accents") ?? lower, files);
        }

        IEnumerable<string> merges = model.GetProperty("merges").EnumerateArray()
            .Select(merge => merge.ValueKind == JsonValueKind.String ? merge.GetString()! : $"{merge[0].GetString()} {merge[1].GetString()}");
        return new LibraryTokenizer("bpe", TokenizerFiles.ByteLevel(vocabulary, [.. merges], WordsOf(root), special), size, files) { Start = StartOf(root, special) };
    });

    /// <summary>Why a file cannot be read, or null.</summary>
    private static string? Refusal(JsonElement root)
    {
        if (!root.TryGetProperty("model", out JsonElement model))
            return "it has no model";
        string type = TypeOf(model);
        if (type == "WordPiece")
            return null;
        if (type != "BPE")
            return $"models of type \"{type}\" are not supported; byte-level BPE and WordPiece are. Is there a tokenizer.model (SentencePiece) beside it?";
        if (Flag(model, "byte_fallback") == true)
            return "it is SentencePiece's BPE in Hugging Face's form; take the tokenizer.model beside it";
        if (root.TryGetProperty("normalizer", out JsonElement normalizer) && normalizer.ValueKind == JsonValueKind.Object)
            return $"a normalizer ({TypeOf(normalizer)}) before BPE is not supported";
        int splits = 0;
        foreach (JsonElement step in Steps(root, "pre_tokenizer"))
        {
            string kind = TypeOf(step);
            splits += kind == "Split" ? 1 : 0;
            if (kind == "Split" && (splits > 1 || Flag(step, "invert") == true || !step.GetProperty("pattern").TryGetProperty("Regex", out _)
                || (step.TryGetProperty("behavior", out JsonElement behavior) && behavior.GetString() != "Isolated")))
                return "only one Split by a regular expression that keeps its matches apart is supported before BPE";
            if (kind == "ByteLevel" && Flag(step, "use_regex") == false && splits == 0)
                return "BPE over whole texts (use_regex false, no Split) is not supported";
            if (kind is not ("ByteLevel" or "Split"))
                return $"a pre-tokenizer of type \"{kind}\" is not supported; ByteLevel and Split are";
            if (Flag(step, "add_prefix_space") == true)
                return "add_prefix_space is not supported; put the space into the text";
        }

        return Steps(root, "pre_tokenizer").Any(step => TypeOf(step) == "ByteLevel") ? null : "its BPE is not byte-level";
    }

    /// <summary>The cut into words: a pattern of its own, or GPT-2's.</summary>
    private static Regex WordsOf(JsonElement root)
    {
        foreach (JsonElement step in Steps(root, "pre_tokenizer"))
        {
            if (TypeOf(step) == "Split" && step.GetProperty("pattern").TryGetProperty("Regex", out JsonElement pattern))
                return new Regex(pattern.GetString()!, RegexOptions.Compiled | RegexOptions.CultureInvariant);
        }

        return TokenizerFiles.Gpt2Words;
    }

    /// <summary>The special token that the template of a post-processor puts before a single text, such as Llama 3's begin-of-text.</summary>
    private static int? StartOf(JsonElement root, Dictionary<string, int> special)
    {
        foreach (JsonElement step in Steps(root, "post_processor").Where(step => TypeOf(step) == "TemplateProcessing"))
        {
            if (step.GetProperty("single").EnumerateArray().FirstOrDefault() is { ValueKind: JsonValueKind.Object } first
                && first.TryGetProperty("SpecialToken", out JsonElement token) && special.TryGetValue(token.GetProperty("id").GetString()!, out int id))
                return id;
        }

        return null;
    }

    private static IEnumerable<JsonElement> Steps(JsonElement root, string name)
    {
        if (!root.TryGetProperty(name, out JsonElement step) || step.ValueKind != JsonValueKind.Object)
            return [];
        return TypeOf(step) == "Sequence" ? step.GetProperty(name == "post_processor" ? "processors" : "pretokenizers").EnumerateArray() : [step];
    }

    private static string TypeOf(JsonElement element) => element.TryGetProperty("type", out JsonElement type) ? type.GetString() ?? "" : element.TryGetProperty("merges", out _) ? "BPE" : "";

    private static bool? Flag(JsonElement element, string name) =>
        element.ValueKind == JsonValueKind.Object && element.TryGetProperty(name, out JsonElement value) && value.ValueKind is JsonValueKind.True or JsonValueKind.False ? value.GetBoolean() : null;
}
