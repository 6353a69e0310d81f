using System.Text.Json;
using System.Text.Json.Nodes;
using ILGpuOptim.Data;
using ILGpuOptim.Data.Tokenization;
using ILGpuOptim.Data.Tokenization.SentencePieces;

namespace ILGpuOptim.Models;

/// <summary>llama.cpp's tokenizer "t5": SentencePiece's unigram models, without bytes for unknown characters.</summary>
internal static class GgufUnigram
{
    /// <summary>The name of the algorithm.</summary>
    public const string Name = "t5";

    private const string Space = "▁";

    /// <summary>Texts by which the treatment of spaces and characters is found.</summary>
    private static readonly string[] Probes = ["a b", " a", "a  b ", "a\nb\t c", "a\u00A0b\u3000 \u200Bc", "e\u0301 \uFB01 \uFF21\u2460", "\u2581a\u2581\u2581b", "x \r\n y\u2028z"];

    private static void RefuseBytes(bool byteFallback)
    {
        if (byteFallback)
            throw GgufTokenizer.Refused("llama.cpp has no bytes for the unknown characters of unigram models (byte_fallback)");
    }

    /// <summary>The vocabulary of a <c>tokenizer.json</c>.</summary>
    /// <param name="tokenizer">The tokenizer.</param>
    /// <param name="model">Its model.</param>
    /// <param name="size">The vocabulary size of the model.</param>
    /// <param name="notes">Receives what a user should know.</param>
    /// <exception cref="UserException">llama.cpp gives other ids.</exception>
    public static GgufVocabulary Of(PipelineTokenizer tokenizer, UnigramModel model, int size, List<string> notes)
    {
        RefuseBytes(model.ByteFallback);
        if (model.Unknown is not { } unknown)
            throw GgufTokenizer.Refused("llama.cpp needs a token for unknown characters (unk_id)");
        byte[]? map = MapOf(tokenizer.Files);
        CharacterMap? characters = map is null ? null : new CharacterMap(map, "tokenizer");
        if (characters is { JoinsLetters: true })
            throw GgufTokenizer.Refused("llama.cpp replaces several letters at once, which its precompiled_charsmap has, and tokenizer.json does not");
        if (characters is not null)
            notes.Add("llama.cpp replaces characters as SentencePiece does, and tokenizer.json by groups of them: control characters and letters with several marks may get other ids");
        var reference = new SentencePieceNormalizer(new NormalizerSettings(characters), new Trie(), whitespaceIsSuffix: false);
        if (Probes.FirstOrDefault(probe => new[] { true, false }.Any(atStart => string.Concat(tokenizer.Pieces(probe, atStart)) != reference.Normalize(probe))) is { } other)
            throw GgufTokenizer.Refused($"llama.cpp puts one ▁ before each word and replaces characters as SentencePiece does; its normalizer and pre_tokenizer do something else, for example with \"{JsonEncodedText.Encode(other)}\"");
        if (tokenizer.Pieces("a b", atStart: true).Count > 1 && model.Tokens.FirstOrDefault(token => token.Token.IndexOf(Space, 1, StringComparison.Ordinal) > 0).Token is { } joined)
            throw GgufTokenizer.Refused($"llama.cpp would use \"{joined}\", which goes over the border of two words");
        var result = new GgufVocabulary(Name, size)
        {
            AddsSpace = true,
            CharacterMap = map,
            PromptStart = tokenizer.PromptStart,
            ChatTemplate = GgufTokenizer.ChatTemplateOf(tokenizer.Files),
        };
        foreach ((int id, (string token, double score)) in model.Tokens.Index())
            result.Set(id, token, id == unknown ? GgufTokenType.Unknown : GgufTokenType.Normal, (float)score);
        return result;
    }

    /// <summary>The vocabulary of a SentencePiece model.</summary>
    /// <exception cref="UserException">llama.cpp gives other ids.</exception>
    public static GgufVocabulary Of(SentencePieceTokenizer tokenizer, int size)
    {
        SentencePieceModel model = tokenizer.Model;
        RefuseBytes(model.ByteFallback);
        if (model.Normalizer is not { EscapeWhitespaces: true, RemoveExtraWhitespaces: true, AddDummyPrefix: true } || model.WhitespaceIsSuffix)
            throw GgufTokenizer.Refused("llama.cpp puts one ▁ before each word (add_dummy_prefix, remove_extra_whitespaces and escape_whitespaces are true, treat_whitespace_as_suffix is false)");
        if (model.Pieces.FirstOrDefault(piece => piece.Type is PieceType.UserDefined or PieceType.Unused) is { Text: { } other })
            throw GgufTokenizer.Refused($"llama.cpp treats the user-defined or unused piece \"{other}\" in another way");
        if (tokenizer.Added.Count > 0)
            throw GgufTokenizer.Refused("its companion files add tokens to a unigram model; convert it to a tokenizer.json");
        var result = new GgufVocabulary(Name, size)
        {
            AddsSpace = true,
            CharacterMap = model.Normalizer.Characters?.ToBytes(),
            PromptStart = tokenizer.PromptStart,
        };
        foreach ((int id, Piece piece) in model.Pieces.Index())
            result.Set(id, piece.Text, (GgufTokenType)piece.Type, piece.Score);
        return result;
    }

    /// <summary>The parts of a <c>tokenizer.json</c> that give llama.cpp's ids: the normalizer, the decoder and the model.</summary>
    /// <param name="tokens">The tokens and their scores.</param>
    /// <param name="unknown">The id of unknown characters.</param>
    /// <param name="map">The character map; null: none.</param>
    public static JsonObject ToJson(IEnumerable<(string Token, double Score)> tokens, int unknown, byte[]? map)
    {
        JsonObject[] characters = map is null ? [] : [new() { ["type"] = "Precompiled", ["precompiled_charsmap"] = Convert.ToBase64String(map) }];
        return new()
        {
            ["normalizer"] = new JsonObject
            {
                ["type"] = "Sequence",
                ["normalizers"] = new JsonArray([.. characters, Replace(@"\A +| +\z", ""), new JsonObject { ["type"] = "Prepend", ["prepend"] = Space }, Replace(" +", Space)]),
            },
            ["pre_tokenizer"] = null,
            ["decoder"] = new JsonObject { ["type"] = "Metaspace", ["replacement"] = Space, ["prepend_scheme"] = "always", ["split"] = true },
            ["model"] = new JsonObject
            {
                ["type"] = "Unigram",
                ["unk_id"] = unknown,
                ["vocab"] = new JsonArray([.. tokens.Select(token => (JsonNode)new JsonArray(token.Token, token.Score))]),
                ["byte_fallback"] = false,
            },
        };

        static JsonObject Replace(string pattern, string content) => new() { ["type"] = "Replace", ["pattern"] = new JsonObject { ["Regex"] = pattern }, ["content"] = content };
    }

    /// <summary>The character map of a <c>tokenizer.json</c>; null if it has none.</summary>
    private static byte[]? MapOf(IReadOnlyList<(string Name, byte[] Contents)> files)
    {
        JsonNode? normalizer = JsonNode.Parse(files.First(file => file.Name == TokenizerFiles.HuggingFace).Contents)!["normalizer"];
        IEnumerable<JsonNode?> steps = normalizer?["normalizers"] is JsonArray several ? several : [normalizer];
        return steps.Select(step => (string?)step?["precompiled_charsmap"]).OfType<string>().FirstOrDefault() is { Length: > 0 } text ? Convert.FromBase64String(text) : null;
    }
}
