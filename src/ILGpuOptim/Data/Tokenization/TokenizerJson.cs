using System.Text.Json;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>Reads Hugging Face's <c>tokenizer.json</c>. Unsupported fields and types are refused by name.</summary>
internal static class TokenizerJson
{
    /// <summary>Reads a tokenizer.</summary>
    /// <param name="path">The file, for messages.</param>
    /// <param name="contents">The contents of the file.</param>
    /// <param name="files">The files that are saved with a model.</param>
    /// <exception cref="UserException">The file is damaged, contradicts itself, or has an unsupported setting.</exception>
    public static PipelineTokenizer Read(string path, byte[] contents, IReadOnlyList<(string Name, byte[] Contents)> files)
    {
        JsonFields root = JsonFields.Parse(contents, path);
        root.Only("version", value => value.ValueKind == JsonValueKind.String && value.ValueEquals("1.0"), "only version \"1.0\" is known");

        // Both only apply to batches of texts; single texts are neither truncated nor padded.
        root.Ignore("truncation", "padding");

        (string kind, ITokenModel model) = Model(root.RequiredObject("model"));
        INormalizer? normalizer = root.Object("normalizer") is { } normalizing ? Normalizers.Read(normalizing) : null;
        IPreTokenizer? preTokenizer = root.Object("pre_tokenizer") is { } cutting ? PreTokenizers.Read(cutting) : null;
        CheckBeginning(root);
        AddedToken[] tokens = [.. (root.Objects("added_tokens") ?? []).Select(AddedToken.Read)];
        CheckIds(tokens, model, path);
        CompanionSettings? companions = CompanionSettings.Read(Path.GetDirectoryName(Path.GetFullPath(path))!, files, besideWhole: true);
        if (companions is not null)
            tokens = [.. tokens, .. TokenizerJsonCompanions.Check(companions, root, tokens, model)];
        var added = new AddedTokens(tokens, normalizer, $"{path}: added_tokens");
        int? IdOf(string text) => added.IdOf(text) ?? model.IdOf(text);
        IReadOnlyList<int> prefix = root.Object("post_processor") is { } processing ? PostProcessors.ReadPrefix(processing, IdOf) : [];
        var tokenizer = new PipelineTokenizer(kind, model, files)
        {
            Added = added,
            Normalizer = normalizer,
            PreTokenizer = preTokenizer,
            WordPatterns = PreTokenizers.WordPatterns(root.Element("pre_tokenizer")),
            Decoder = root.Object("decoder") is { } decoding ? Decoders.Read(decoding) : null,
            PromptPrefix = TokenizerJsonCompanions.Prefix(companions, IdOf) ?? prefix,
        };
        if (tokenizer.PromptPrefix.Any(id => (uint)id >= (uint)tokenizer.VocabularySize))
            throw root.Error("post_processor", $"begins texts with the ids {string.Join(", ", tokenizer.PromptPrefix)}, but ids must be below {tokenizer.VocabularySize}");
        root.Finish();
        return tokenizer;
    }

    private static (string Kind, ITokenModel Model) Model(JsonFields model)
    {
        // Files of 2020 have no type.
        string type = model.Text("type") ?? (model.Has("merges") ? "BPE" : model.Has("continuing_subword_prefix") ? "WordPiece" : model.Has("unk_id") ? "Unigram" : "WordLevel");
        ITokenModel result = type switch
        {
            "BPE" => BytePairModel.Read(model),
            "WordPiece" => WordPieceModel.Read(model),
            "Unigram" => UnigramModel.Read(model),
            "WordLevel" => WordLevelModel.Read(model),
            _ => throw model.Error("type", $"is \"{type}\"; models are BPE, WordPiece, Unigram and WordLevel"),
        };
        model.Finish();
        return (type.ToLowerInvariant(), result);
    }

    /// <summary>
    /// Metaspace with "first" needs the position of a piece before normalization. It is known for normalizers that change one character at a
    /// time, but not after a Replace of several characters.
    /// </summary>
    private static void CheckBeginning(JsonFields root)
    {
        if (root.Element("normalizer") is { } normalizer && root.Element("pre_tokenizer") is { } cutting
            && Holds(cutting, step => Text(step, "type") == "Metaspace" && Text(step, "prepend_scheme") == "first")
            && Holds(normalizer, step => Text(step, "type") == "Replace" && !(step.TryGetProperty("pattern", out JsonElement pattern) && Text(pattern, "String") is { } text && text.EnumerateRunes().Count() < 2)))
        {
            throw root.Error("pre_tokenizer", "has Metaspace with prepend_scheme \"first\" behind a Replace of several characters, which is not supported; take \"always\" or \"never\"");
        }

        static string? Text(JsonElement item, string name) =>
            item.ValueKind == JsonValueKind.Object && item.TryGetProperty(name, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.ToString() : null;
        static bool Holds(JsonElement item, Func<JsonElement, bool> wanted) => item.ValueKind switch
        {
            JsonValueKind.Object => wanted(item) || item.EnumerateObject().Any(field => Holds(field.Value, wanted)),
            JsonValueKind.Array => item.EnumerateArray().Any(element => Holds(element, wanted)),
            _ => false,
        };
    }

    /// <summary>Refuses added tokens that contradict the model's vocabulary, since libraries disagree on such files.</summary>
    private static void CheckIds(AddedToken[] tokens, ITokenModel model, string path)
    {
        for (int i = 0; i < tokens.Length; i++)
        {
            (int id, string content) = tokens[i];
            if (content.Length == 0)
                continue;
            if (model.IdOf(content) is { } known && known != id)
                throw new UserException($"{path}: added_tokens[{i}] gives \"{content}\" the id {id}, but the model's vocabulary gives it {known}; make them equal");
            if (model.TokenOf(id) is { } other && other != content)
                throw new UserException($"{path}: added_tokens[{i}] gives \"{content}\" the id {id}, which is the id of \"{other}\" in the model's vocabulary; give it one of its own");
        }
    }
}
