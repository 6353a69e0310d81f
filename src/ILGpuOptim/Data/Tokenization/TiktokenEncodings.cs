using System.Text.Json.Nodes;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>
/// tiktoken's encodings. Their files contain ranks only. The word-splitting pattern and the special tokens are defined here and selected by
/// the number of ranks.
/// </summary>
internal static class TiktokenEncodings
{
    private const string Cl100kWords = @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    private const string O200kWords = @"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        + @"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        + @"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

    /// <summary>An encoding.</summary>
    /// <param name="Name">The name, for messages.</param>
    /// <param name="Ranks">The number of ranks.</param>
    /// <param name="Words">The word-splitting pattern.</param>
    /// <param name="Special">Special tokens, which are matched in text.</param>
    /// <param name="Begin">The token that prompts begin with; null for none.</param>
    /// <param name="Composes">Normalizes text to NFC.</param>
    private sealed record Encoding(string Name, int Ranks, string Words, IReadOnlyList<(string Token, int Id)> Special, string? Begin = null, bool Composes = false);

    private static readonly Encoding[] Known =
    [
        new("r50k_base", 50256, PreTokenizers.Gpt2, [("<|endoftext|>", 50256)]),
        new("p50k_base", 50280, PreTokenizers.Gpt2, [("<|endoftext|>", 50256)]),
        new("cl100k_base", 100256, Cl100kWords,
            [("<|endoftext|>", 100257), ("<|fim_prefix|>", 100258), ("<|fim_middle|>", 100259), ("<|fim_suffix|>", 100260), ("<|endofprompt|>", 100276)]),
        new("Llama 3", 128000, Cl100kWords, [.. Llama3Special().Select((token, i) => (token, 128000 + i))], "<|begin_of_text|>"),
        new("Qwen", 151643, BytePairFiles.Qwen2Words, [.. QwenSpecial().Select((token, i) => (token, 151643 + i))], Composes: true),
        new("o200k_base", 199998, O200kWords, [("<|endoftext|>", 199999), ("<|endofprompt|>", 200018)]),
    ];

    /// <summary>Opens a file of ranks.</summary>
    /// <param name="path">The path of the file.</param>
    /// <param name="files">All files of the tokenizer, the ranks first.</param>
    /// <exception cref="UserException">The file is damaged, or the encoding is unknown.</exception>
    public static PipelineTokenizer Open(string path, IReadOnlyList<(string Name, byte[] Contents)> files)
    {
        ReadOnlySpan<byte> contents = files[0].Contents;
        int lines = contents.Count((byte)'\n') + (contents[^1] == '\n' ? 0 : 1);
        Encoding encoding = Known.FirstOrDefault(known => known.Ranks == lines)
            ?? throw new UserException($"{path}: a tiktoken vocabulary with {lines:N0} ranks, which is none of {string.Join(", ", Known.Select(known => $"{known.Name} ({known.Ranks:N0})"))}; the file does not contain its word-splitting pattern, so convert it to a tokenizer.json");
        return Compose("tiktoken", encoding, TiktokenFile.Read(contents, path), path, files);
    }

    /// <summary>A bundled encoding.</summary>
    /// <param name="name">One of <see cref="TokenizerFiles.Encodings"/>.</param>
    public static PipelineTokenizer Bundled(string name)
    {
        byte[] note = System.Text.Encoding.UTF8.GetBytes(new JsonObject { ["kind"] = "tiktoken", ["encoding"] = name }.ToJsonString());
        return Compose(name, Known.Single(known => known.Name == name + "_base"), BundledRanks(name), name, [(Tokenizers.FileName, note)]);
    }

    /// <summary>The ranks of a bundled encoding.</summary>
    /// <exception cref="UserException">The package that holds them is missing.</exception>
    public static List<(byte[] Token, int Rank)> BundledRanks(string name)
    {
        using var lines = new StreamReader(DataFormats.Ranks(name));
        // The number of ranks, then a token in Base64 per line, in order of rank.
        lines.ReadLine();
        var ranks = new List<(byte[] Token, int Rank)>();
        while (lines.ReadLine() is { } line)
            ranks.Add((Convert.FromBase64String(line), ranks.Count));
        return ranks;
    }

    private static PipelineTokenizer Compose(string kind, Encoding encoding, List<(byte[], int)> ranks, string source, IReadOnlyList<(string, byte[])> files) =>
        new(kind, new TiktokenModel(ranks, source), files)
        {
            Added = new AddedTokens(encoding.Special.Select(token => new AddedToken(token.Id, token.Token) { Special = true }), null, source),
            Normalizer = encoding.Composes ? Normalizers.Read(JsonFields.Parse("""{"type": "NFC"}"""u8.ToArray(), source)) : null,
            PreTokenizer = PreTokenizers.InOrder([PreTokenizers.Isolated(encoding.Words), PreTokenizers.ByteLevel(addPrefixSpace: false, useRegex: false)]),
            WordPatterns = [encoding.Words],
            Decoder = new ByteLevelDecoder(),
            PromptPrefix = encoding.Begin is null ? [] : [encoding.Special.Single(token => token.Token == encoding.Begin).Id],
        };

    /// <summary>The 256 special tokens of Meta's reference code for Llama 3.</summary>
    private static IEnumerable<string> Llama3Special() =>
    [
        "<|begin_of_text|>", "<|end_of_text|>", .. Enumerable.Range(0, 4).Select(Reserved), "<|start_header_id|>", "<|end_header_id|>", Reserved(4), "<|eot_id|>",
        .. Enumerable.Range(5, 246).Select(Reserved),
    ];

    private static string Reserved(int i) => $"<|reserved_special_token_{i}|>";

    /// <summary>The special tokens of Qwen's reference code.</summary>
    private static IEnumerable<string> QwenSpecial() => ["<|endoftext|>", "<|im_start|>", "<|im_end|>", .. Enumerable.Range(0, 205).Select(i => $"<|extra_{i}|>")];
}
