using System.Text;
using ILGpuOptim.Data;
using ILGpuOptim.Files;

namespace ILGpuOptim.Models;

/// <summary>The types of tokens; the numbers are those of the format.</summary>
internal enum GgufTokenType
{
    /// <summary>Text.</summary>
    Normal = 1,

    /// <summary>The token of unknown text.</summary>
    Unknown = 2,

    /// <summary>A control token, such as end of text.</summary>
    Control = 3,

    /// <summary>A token that is found in text before all others.</summary>
    UserDefined = 4,

    /// <summary>A token that nothing produces.</summary>
    Unused = 5,

    /// <summary>A byte of an unknown character.</summary>
    Byte = 6,
}

/// <summary>A tokenizer as llama.cpp knows it.</summary>
/// <param name="Model">The algorithm: <c>gpt2</c> (byte-level BPE), <c>llama</c> (merges by score), <c>t5</c> (the most probable tokens) or <c>rwkv</c> (the longest token that matches).</param>
/// <param name="Size">The vocabulary size of the model; ids without a token get a placeholder.</param>
internal sealed class GgufVocabulary(string Model, int Size)
{
    /// <summary>A score with which no token is chosen.</summary>
    private const float Lowest = -10000;

    private readonly Dictionary<int, (string Text, GgufTokenType Type, float Score)> tokens = [];

    /// <summary>How text is split into words, for <c>gpt2</c>.</summary>
    public string? PreTokenizer { get; init; }

    /// <summary>Pairs of tokens in the order of their ranks, for <c>gpt2</c>.</summary>
    public IReadOnlyList<string>? Merges { get; init; }

    /// <summary>A space is put before a text, for <c>llama</c> and <c>t5</c>.</summary>
    public bool? AddsSpace { get; init; }

    /// <summary>SentencePiece's replacements of characters, for <c>t5</c>; null: none.</summary>
    public byte[]? CharacterMap { get; init; }

    /// <summary>The token that begins prompts; null: none.</summary>
    public int? PromptStart { get; init; }

    /// <summary>The special tokens of a T5, whose inputs have the end token after the text; null: another model.</summary>
    public SpanTokens? Spans { get; private set; }

    /// <summary>The template of conversations.</summary>
    public string? ChatTemplate { get; init; }

    /// <summary>Sets the token of an id.</summary>
    public void Set(int id, string text, GgufTokenType type, float score = 0) => tokens[id] = (text, type, score);

    /// <summary>Sets the special tokens of a T5, and names those that the tokenizer does not have.</summary>
    public void Set(SpanTokens spans)
    {
        Spans = spans;
        Name(spans.Padding, "<pad>", GgufTokenType.Control);
        if (spans.End is { } end)
            Name(end, "</s>", GgufTokenType.Control);
        foreach ((int number, int id) in spans.Sentinels.Index())
            Name(id, SentinelTokenizer.TextOf(number), GgufTokenType.UserDefined);

        void Name(int id, string text, GgufTokenType type) => tokens.TryAdd(id, (text, type, 0));
    }

    /// <summary>The sentinels among the tokens of a file, in order.</summary>
    public static IEnumerable<int> SentinelsOf(GgufFile file)
    {
        string[] texts = file.Metadata.GetValueOrDefault("tokenizer.ggml.tokens") as string[] ?? [];
        return Enumerable.Range(0, texts.Length).Select(number => Array.IndexOf(texts, SentinelTokenizer.TextOf(number))).TakeWhile(id => id >= 0);
    }

    /// <summary>The first id of a control token with one of some texts; null if there is none.</summary>
    public int? ControlOf(params ReadOnlySpan<string> texts)
    {
        foreach (string text in texts)
        {
            foreach ((int id, (string other, GgufTokenType type, _)) in tokens)
            {
                if (type == GgufTokenType.Control && other == text)
                    return id;
            }
        }

        return null;
    }

    /// <summary>The text of an id's token.</summary>
    public string TextOf(int id) => tokens.TryGetValue(id, out var token) ? token.Text : $"[PAD{id}]";

    /// <summary>Keys and values.</summary>
    /// <param name="endTokens">Tokens that end a text.</param>
    public IEnumerable<(string Key, object Value)> Metadata(IReadOnlyList<int> endTokens)
    {
        yield return ("tokenizer.ggml.model", Model);
        if (PreTokenizer is not null)
            yield return ("tokenizer.ggml.pre", PreTokenizer);
        int[] ids = [.. Enumerable.Range(0, Size)];
        string[] texts = [.. ids.Select(TextOf)];
        if (texts.GroupBy(text => text).FirstOrDefault(group => group.Count() > 1) is { } twice)
            throw new UserException($"the tokenizer cannot be exported to GGUF, because llama.cpp finds tokens by their text: two have the text \"{twice.Key}\"");
        int needed = Model == "gpt2" ? 12 : Model is "llama" or GgufUnigram.Name ? 3 : 0;
        if (Size < needed)
            throw new UserException($"the tokenizer cannot be exported to GGUF: llama.cpp needs at least {needed} tokens for this kind, and there are {Size}");
        yield return ("tokenizer.ggml.tokens", texts);
        yield return ("tokenizer.ggml.token_type", ids.Select(id => (int)(tokens.TryGetValue(id, out var token) ? token.Type : GgufTokenType.Unused)).ToArray());
        if (Model is "llama" or GgufUnigram.Name)
            yield return ("tokenizer.ggml.scores", ids.Select(id => tokens.TryGetValue(id, out var token) ? token.Score : Model == "llama" ? 0 : Lowest).ToArray());
        if (Merges is not null)
            yield return ("tokenizer.ggml.merges", Merges.ToArray());
        if (PromptStart is { } start)
            yield return ("tokenizer.ggml.bos_token_id", (uint)start);
        if (endTokens.Count > 0)
            yield return ("tokenizer.ggml.eos_token_id", (uint)endTokens[0]);
        if (endTokens.Count > 1)
            yield return ("tokenizer.ggml.eot_token_id", (uint)endTokens[1]);
        if (tokens.Where(token => token.Value.Type == GgufTokenType.Unknown).Select(token => (int?)token.Key).FirstOrDefault() is { } unknown)
            yield return ("tokenizer.ggml.unknown_token_id", (uint)unknown);
        yield return ("tokenizer.ggml.add_bos_token", PromptStart is not null);
        yield return ("tokenizer.ggml.add_eos_token", Spans?.End is not null);
        if (Spans is not null)
            yield return ("tokenizer.ggml.padding_token_id", (uint)Spans.Padding);
        if (AddsSpace is { } adds)
            yield return ("tokenizer.ggml.add_space_prefix", adds);
        if (Model == GgufUnigram.Name)
            yield return ("tokenizer.ggml.remove_extra_whitespaces", true);
        if (CharacterMap is not null)
            yield return ("tokenizer.ggml.precompiled_charsmap", CharacterMap);
        if (ChatTemplate is not null)
            yield return ("tokenizer.chat_template", ChatTemplate);
    }

    /// <summary>The form of bytes that <c>rwkv</c> has: \xHH, and characters other than control characters and \ as they are.</summary>
    public static string Escaped(ReadOnlySpan<byte> bytes, bool isText)
    {
        var result = new StringBuilder();
        string text = isText ? Encoding.UTF8.GetString(bytes) : Encoding.Latin1.GetString(bytes);
        foreach (char c in text)
            result.Append(c is < ' ' or '\x7f' || (!isText && c > '~') ? $"\\x{(int)c:x2}" : c is '\\' ? "\\\\" : $"{c}");
        return result.ToString();
    }
}
