using System.Globalization;
using System.Text;
using System.Text.Json;
using ILGpuOptim.Data;
using ILGpuOptim.Data.Tokenization;
using ILGpuOptim.Data.Tokenization.SentencePieces;
using ILGpuOptim.Files;

namespace ILGpuOptim.Models;

/// <summary>The metadata of GGUF that makes llama.cpp return the ids of a tokenizer.</summary>
internal static class GgufTokenizer
{
    private const string Numbers = @"\p{N}";

    private const string Llama3Words = @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    private const string Gpt4oWords = @"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        + @"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        + @"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    /// <summary>llama.cpp's names of ways to split text into words.</summary>
    public static IReadOnlyList<(string Name, IReadOnlyList<string> Patterns, bool IgnoresMerges)> WordSplittings { get; } =
    [
        ("gpt-2", [PreTokenizers.Gpt2], false),
        ("qwen2", [BytePairFiles.Qwen2Words], false),
        ("llama-bpe", [Llama3Words], true),
        ("dbrx", [Llama3Words], false),
        ("gpt-4o", [Gpt4oWords], false),
        ("starcoder", [Numbers, PreTokenizers.Gpt2], false),
    ];

    /// <summary>Texts by which the treatment of spaces is found.</summary>
    private static readonly string[] Probes = ["a b", " a", "a  b\n c ", "\n"];

    /// <summary>Keys and values.</summary>
    /// <param name="tokenizer">The tokenizer; null: ids only.</param>
    /// <param name="config">The model's configuration.</param>
    /// <param name="endTokens">Tokens that end a text.</param>
    /// <param name="notes">Receives what a user should know.</param>
    /// <exception cref="UserException">llama.cpp has no such tokenizer.</exception>
    public static IReadOnlyList<(string Key, object Value)> Of(ITokenizer? tokenizer, ModelConfig config, IReadOnlyList<int> endTokens, List<string> notes)
    {
        int vocabulary = config.VocabularySize;
        SpanTokens? spans = config.SpanTokens;
        if (spans?.End is { } last && endTokens.Count == 0)
            endTokens = [last];
        if (tokenizer is null && spans is null)
            return [("tokenizer.ggml.model", "none")];
        if (tokenizer is null)
            return [("tokenizer.ggml.model", "none"), ("tokenizer.ggml.padding_token_id", (uint)spans!.Padding), .. endTokens.Take(1).Select(end => ("tokenizer.ggml.eos_token_id", (object)(uint)end))];
        if (tokenizer.VocabularySize > vocabulary)
            throw new UserException($"the tokenizer has {tokenizer.VocabularySize:N0} ids and the model {vocabulary:N0}; they do not belong together");
        if (tokenizer.PromptPrefix.Count > 1)
            throw Refused($"it begins prompts with {tokenizer.PromptPrefix.Count} tokens, and llama.cpp with at most one");
        GgufVocabulary result = tokenizer switch
        {
            CharTokenizer characters => OfCharacters(characters, vocabulary),
            ByteTokenizer => OfBytes(vocabulary),
            SentencePieceTokenizer { Model.Algorithm: PieceAlgorithm.Unigram } pieces => GgufUnigram.Of(pieces, vocabulary),
            SentencePieceTokenizer pieces => OfPieces(pieces, vocabulary, notes),
            PipelineTokenizer { Model: UnigramModel model } unigram => OfUnigram(unigram, model, vocabulary, notes),
            PipelineTokenizer { WordPatterns: { } patterns } bytes => OfBytePairs(bytes, patterns, vocabulary, notes),
            PipelineTokenizer { Model: BytePairModel { Options.ByteFallback: true } model } merged => OfScores(merged, model, vocabulary, notes),
            _ => throw Refused($"llama.cpp has none that works like it (a {tokenizer.Kind} tokenizer, or one that splits text into words in its own way)"),
        };
        if (spans is not null)
            result.Set(spans);
        int[] ends = [.. endTokens.Where(id => id < vocabulary)];
        if (ends.Length == 0 && result.ControlOf("<|endoftext|>", "</s>", "<eos>", "<|end_of_text|>") is { } end)
            ends = [end];
        if (ends.Length == 0 && tokenizer is PipelineTokenizer or SentencePieceTokenizer)
            notes.Add($"the model names no token that ends a text, and llama.cpp takes token {(tokenizer is PipelineTokenizer { WordPatterns: not null } ? 11 : 2)}; set eos_token_id in generation_config.json");
        if (ends.Length > 2)
            notes.Add($"only two of the {ends.Length} tokens that end a text are written");
        return [.. result.Metadata(ends)];
    }

    /// <summary>The error for a tokenizer that llama.cpp does not have.</summary>
    public static UserException Refused(string why) => new($"the tokenizer cannot be exported to GGUF: {why}");

    private static GgufVocabulary OfUnigram(PipelineTokenizer tokenizer, UnigramModel model, int size, List<string> notes)
    {
        GgufVocabulary result = GgufUnigram.Of(tokenizer, model, size, notes);
        SetAdded(result, tokenizer.Added.All.Where(token => token.Id != model.Unknown), notes);
        return result;
    }

    private static GgufVocabulary OfCharacters(CharTokenizer tokenizer, int size)
    {
        var result = new GgufVocabulary("rwkv", size);
        foreach ((int id, Rune character) in tokenizer.Characters.Index())
            result.Set(id, GgufVocabulary.Escaped(Encoding.UTF8.GetBytes(character.ToString()), isText: true), GgufTokenType.Normal);
        return result;
    }

    private static GgufVocabulary OfBytes(int size)
    {
        var result = new GgufVocabulary("rwkv", size);
        for (int value = 0; value < 256; value++)
            result.Set(value, GgufVocabulary.Escaped([(byte)value], isText: false), GgufTokenType.Normal);
        return result;
    }

    private static GgufVocabulary OfBytePairs(PipelineTokenizer tokenizer, IReadOnlyList<string> patterns, int size, List<string> notes)
    {
        IReadOnlyList<(int Left, int Right)> merges;
        bool ignoresMerges;
        switch (tokenizer.Model)
        {
            case BytePairModel { Options: { SubwordPrefix: "", WordSuffix: "" } options } model:
                (merges, ignoresMerges) = (model.Merges, options.IgnoreMerges);
                break;
            case TiktokenModel ranks:
                // Every token is found by merges here, as there is a merge for each of its splits.
                (merges, ignoresMerges) = ([.. ranks.Merges], false);
                break;
            default:
                throw Refused("it is a byte-level tokenizer of another kind than BPE");
        }

        string name = WordSplittings.FirstOrDefault(known => known.Patterns.SequenceEqual(patterns) && known.IgnoresMerges == ignoresMerges).Name
            ?? throw Refused($"llama.cpp has no name for its way to split text into words ({string.Join(", then ", patterns)}{(ignoresMerges ? ", with ignore_merges" : "")})");
        if (tokenizer.Normalizer is not null)
        {
            if (tokenizer.Normalizer.Normalize("A\u0041\u030A  b") != "A\u00C5  b")
                throw Refused("it changes text before it is split (normalizer), which llama.cpp does not do for this kind");
            notes.Add("llama.cpp does not compose characters (NFC) before it tokenizes; most text is composed already");
        }

        if (name == "gpt-4o")
            notes.Add("llama.cpp approximates the way in which o200k splits words: texts with letters outside of ASCII may get other ids");
        var result = new GgufVocabulary("gpt2", size)
        {
            PreTokenizer = name,
            // The last of equal pairs counts here, and the first in llama.cpp.
            Merges = [.. merges.Reverse().Distinct().Reverse().Select(pair => $"{tokenizer.Model.TokenOf(pair.Left)} {tokenizer.Model.TokenOf(pair.Right)}")],
            PromptStart = tokenizer.PromptStart,
            ChatTemplate = ChatTemplateOf(tokenizer.Files),
        };
        for (int id = 0; id < tokenizer.Model.VocabularySize; id++)
        {
            if (tokenizer.Model.TokenOf(id) is { } text)
                result.Set(id, text, GgufTokenType.Normal);
        }

        SetAdded(result, tokenizer.Added.All, notes);
        return result;
    }

    /// <summary>SentencePiece's merges as tokenizer.json has them: the score of a token is the negated rank of the first merge that makes it.</summary>
    private static GgufVocabulary OfScores(PipelineTokenizer tokenizer, BytePairModel model, int size, List<string> notes)
    {
        bool? adds = null;
        foreach (bool prefix in (bool[])[true, false])
        {
            if (Probes.All(probe => tokenizer.Pieces(probe) is [var piece] && piece == ((prefix ? " " : "") + probe).Replace(' ', SentencePieceModel.Space)))
                adds = prefix;
        }

        if (adds is not { } addsSpace)
            throw Refused("llama.cpp replaces spaces by ▁ and may put one before a text; its normalizer and pre_tokenizer do something else");
        var scores = new Dictionary<string, float>(StringComparer.Ordinal);
        foreach ((int rank, (int left, int right)) in model.Merges.Index())
            scores.TryAdd(model.TokenOf(left) + model.TokenOf(right), -rank);
        CheckComplete(model, scores);
        var result = new GgufVocabulary("llama", size) { AddsSpace = addsSpace, PromptStart = tokenizer.PromptStart, ChatTemplate = ChatTemplateOf(tokenizer.Files) };
        for (int id = 0; id < model.VocabularySize; id++)
        {
            if (model.TokenOf(id) is { } text)
                result.Set(id, text, IsByte(text) ? GgufTokenType.Byte : text == model.Options.Unknown ? GgufTokenType.Unknown : GgufTokenType.Normal, scores.GetValueOrDefault(text));
        }

        SetAdded(result, tokenizer.Added.All.Where(token => token.Content != model.Options.Unknown), notes);
        return result;
    }

    /// <summary>llama.cpp merges any two tokens that make a token, so all such pairs must be merges here.</summary>
    private static void CheckComplete(BytePairModel model, Dictionary<string, float> made)
    {
        var merges = model.Merges.ToHashSet();
        foreach (string token in made.Keys)
        {
            for (int cut = 1; cut < token.Length; cut++)
            {
                if (model.IdOf(token[..cut]) is { } left && model.IdOf(token[cut..]) is { } right && !merges.Contains((left, right)))
                    throw Refused($"llama.cpp would also merge \"{token[..cut]}\" and \"{token[cut..]}\", which its merges do not have");
            }
        }
    }

    private static bool IsByte(string text) => text is ['<', '0', 'x', _, _, '>'] && byte.TryParse(text.AsSpan(3, 2), NumberStyles.HexNumber, CultureInfo.InvariantCulture, out _);

    private static GgufVocabulary OfPieces(SentencePieceTokenizer tokenizer, int size, List<string> notes)
    {
        SentencePieceModel model = tokenizer.Model;
        if (model.Algorithm != PieceAlgorithm.BytePair)
            throw Refused($"it is a SentencePiece model of the type {model.Algorithm}; unigram models and merges by score (BPE) can be exported");
        if (!model.ByteFallback)
            throw Refused("it has no pieces for the bytes of unknown characters (byte_fallback), which llama.cpp needs");
        if (model.Normalizer is not { Characters: null, RemoveExtraWhitespaces: false, EscapeWhitespaces: true } || model.WhitespaceIsSuffix)
            throw Refused("it changes text before it is split (normalizer_spec), which llama.cpp does not do for this kind");
        if (model.Normalizer.AddDummyPrefix && model.Pieces.FirstOrDefault(piece => piece.Type == PieceType.UserDefined) is { Text: { } symbol })
            throw Refused($"llama.cpp would put a space after the user-defined piece \"{JsonEncodedText.Encode(symbol)}\"");
        var result = new GgufVocabulary("llama", size) { AddsSpace = model.Normalizer.AddDummyPrefix, PromptStart = tokenizer.PromptStart, ChatTemplate = ChatTemplateOf(tokenizer.Files) };
        foreach ((int id, Piece piece) in model.Pieces.Index())
            result.Set(id, piece.Text, (GgufTokenType)piece.Type, piece.Score);
        SetAdded(result, tokenizer.Added.Where(pair => pair.Key >= model.Pieces.Count || model.Pieces[pair.Key].Type is not (PieceType.Unknown or PieceType.Control)).Select(pair => pair.Value.ToAdded(pair.Key)), notes);
        return result;
    }

    private static void SetAdded(GgufVocabulary vocabulary, IEnumerable<AddedToken> tokens, List<string> notes)
    {
        AddedToken? strips = null;
        foreach (AddedToken token in tokens)
        {
            vocabulary.Set(token.Id, token.Content, token.Special ? GgufTokenType.Control : GgufTokenType.UserDefined);
            strips ??= token.LeftStrip || token.RightStrip || token.SingleWord ? token : null;
        }

        if (strips is not null)
            notes.Add($"llama.cpp finds {strips.Content} everywhere and keeps the white space around it, unlike this tokenizer (lstrip, rstrip or single_word)");
    }

    /// <summary>The template of conversations among a tokenizer's files; null if there is none.</summary>
    public static string? ChatTemplateOf(IReadOnlyList<(string Name, byte[] Contents)> files)
    {
        if (files.FirstOrDefault(file => file.Name == "chat_template.jinja").Contents is { } template)
            return Encoding.UTF8.GetString(template);
        if (files.FirstOrDefault(file => file.Name == CompanionSettings.Config).Contents is not { } config)
            return null;
        JsonElement? value = JsonFields.Parse(config, CompanionSettings.Config).Element("chat_template");
        if (value is { ValueKind: JsonValueKind.Array } named)
            value = named.EnumerateArray().FirstOrDefault(item => item.GetProperty("name").GetString() == "default") is { ValueKind: JsonValueKind.Object } main ? main.GetProperty("template") : null;
        return value is { ValueKind: JsonValueKind.String } text ? text.GetString() : null;
    }
}
