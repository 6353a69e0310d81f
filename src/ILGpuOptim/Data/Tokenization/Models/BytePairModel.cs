using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>The options of <see cref="BytePairModel"/>.</summary>
internal sealed record BytePairOptions
{
    /// <summary>The token for unknown characters; null if there is none.</summary>
    public string? Unknown { get; init; }

    /// <summary>Merges consecutive unknown characters into one token.</summary>
    public bool FuseUnknown { get; init; }

    /// <summary>Encodes unknown characters as the tokens <c>&lt;0x00&gt;</c> … <c>&lt;0xFF&gt;</c> of their UTF-8 bytes, if all of these exist.</summary>
    public bool ByteFallback { get; init; }

    /// <summary>Encodes a piece that is a token as that token, without merges.</summary>
    public bool IgnoreMerges { get; init; }

    /// <summary>The prefix of every character but the first in the vocabulary; dropped when two tokens are merged.</summary>
    public string SubwordPrefix { get; init; } = "";

    /// <summary>The suffix of a piece's last character in the vocabulary.</summary>
    public string WordSuffix { get; init; } = "";
}

/// <summary>Byte-pair encoding as in Hugging Face's library: each character becomes a token, then tokens are merged in order of rank.</summary>
internal sealed class BytePairModel : ITokenModel
{
    private const int CachedPieces = 1 << 16, CachedLength = 64;

    private readonly Vocabulary vocabulary;
    private readonly BytePairOptions options;
    private readonly MergeTable merges;
    private readonly (int Left, int Right)[] pairs;
    private readonly ConcurrentDictionary<string, int[]> cache = new();
    private readonly ConcurrentDictionary<string, int[]>.AlternateLookup<ReadOnlySpan<char>> cached;
    private int cachedPieces;

    /// <summary>Creates a model; checks the merges against the vocabulary.</summary>
    /// <param name="vocabulary">The tokens.</param>
    /// <param name="merges">Pairs of tokens; the index is the rank. The last of equal pairs is used.</param>
    /// <param name="options">The options.</param>
    /// <param name="source">The file and the position of the merges in it, for messages.</param>
    /// <exception cref="UserException">A merge uses or yields a token that is not in the vocabulary.</exception>
    public BytePairModel(Vocabulary vocabulary, IReadOnlyList<(string Left, string Right)> merges, BytePairOptions options, string source)
    {
        (this.vocabulary, this.options) = (vocabulary, options);
        cached = cache.GetAlternateLookup<ReadOnlySpan<char>>();
        int[] targets = new int[merges.Count];
        pairs = new (int, int)[targets.Length];
        this.merges = new MergeTable(targets);
        for (int rank = 0; rank < targets.Length; rank++)
        {
            (string left, string right) = merges[rank];
            if (right.Length < options.SubwordPrefix.Length)
                throw new UserException($"{source}[{rank}]: \"{right}\" is shorter than the continuing_subword_prefix \"{options.SubwordPrefix}\"");
            targets[rank] = Find(left + right[options.SubwordPrefix.Length..]);
            pairs[rank] = (Find(left), Find(right));
            this.merges.Add(pairs[rank].Left, pairs[rank].Right, rank);

            int Find(string token) => vocabulary.IdOf(token)
                ?? throw new UserException($"{source}[{rank}] ({left} {right}) needs the token \"{token}\", which is not in the vocabulary");
        }
    }

    /// <inheritdoc/>
    public int VocabularySize => vocabulary.Size;

    /// <summary>The merges in the order of their ranks.</summary>
    public IReadOnlyList<(int Left, int Right)> Merges => pairs;

    /// <summary>The options.</summary>
    public BytePairOptions Options => options;

    /// <summary>Reads a model of type BPE.</summary>
    public static BytePairModel Read(JsonFields model)
    {
        model.Only("dropout", value => value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double dropout) && dropout == 0,
            "random merges are not supported; set it to null");
        var options = new BytePairOptions
        {
            Unknown = model.Text("unk_token"),
            FuseUnknown = model.Flag("fuse_unk") ?? false,
            ByteFallback = model.Flag("byte_fallback") ?? false,
            IgnoreMerges = model.Flag("ignore_merges") ?? false,
            SubwordPrefix = model.Text("continuing_subword_prefix") ?? "",
            WordSuffix = model.Text("end_of_word_suffix") ?? "",
        };
        IReadOnlyList<JsonElement> lines = model.Array("merges") ?? throw model.Error("merges", "is missing");
        var merges = new List<(string, string)>(lines.Count);
        foreach (JsonElement line in lines)
        {
            string place = $"merges[{merges.Count}]";
            string[]? pair = line.ValueKind switch
            {
                JsonValueKind.String => model.Text(place, line).Split(' '),
                JsonValueKind.Array => [.. line.EnumerateArray().Select(part => model.Text(place, part))],
                _ => null,
            };
            if (line.ValueKind == JsonValueKind.String && pair![0].StartsWith("#version", StringComparison.Ordinal))
                continue;
            if (pair is not [{ } left, { } right])
                throw model.Error(place, $"is {JsonFields.Describe(line)}; it must be two tokens");
            merges.Add((left, right));
        }

        return new BytePairModel(Vocabulary.Read(model), merges, options, $"{model.Source}: {model.Path}.merges");
    }

    /// <inheritdoc/>
    public int? IdOf(string token) => vocabulary.IdOf(token);

    /// <inheritdoc/>
    public string? TokenOf(int id) => vocabulary.TokenOf(id);

    /// <inheritdoc/>
    public void Encode(ReadOnlySpan<char> piece, List<int> ids)
    {
        if (options.IgnoreMerges && vocabulary.IdOf(piece) is { } whole)
        {
            ids.Add(whole);
            return;
        }

        if (piece.Length <= CachedLength && cached.TryGetValue(piece, out int[]? known))
        {
            ids.AddRange(known);
            return;
        }

        int begin = ids.Count;
        AppendCharacters(piece, ids);
        Span<int> symbols = CollectionsMarshal.AsSpan(ids)[begin..];
        int count = merges.Apply(symbols);
        if (piece.Length <= CachedLength && cachedPieces < CachedPieces && cache.TryAdd(piece.ToString(), symbols[..count].ToArray()))
            Interlocked.Increment(ref cachedPieces);
        ids.RemoveRange(begin + count, symbols.Length - count);
    }

    /// <summary>Appends the tokens of single characters, before merging.</summary>
    private void AppendCharacters(ReadOnlySpan<char> piece, List<int> ids)
    {
        bool pending = false;
        for (int i = 0; i < piece.Length;)
        {
            Rune.DecodeFromUtf16(piece[i..], out Rune character, out int length);
            bool first = i == 0, last = i + length == piece.Length;
            ReadOnlySpan<char> token = piece.Slice(i, length);
            i += length;
            if ((!first && options.SubwordPrefix.Length > 0) || (last && options.WordSuffix.Length > 0))
                token = $"{(first ? "" : options.SubwordPrefix)}{token}{(last ? options.WordSuffix : "")}";
            if (vocabulary.IdOf(token) is { } id)
            {
                if (pending)
                    ids.Add(UnknownId(character));
                pending = false;
                ids.Add(id);
            }
            else if (!options.ByteFallback || !ByteTokens.TryAppend(token, vocabulary.IdOf, ids))
            {
                // The unknown token is added before the next known character. As in Hugging Face's library, byte tokens may precede it.
                int unknown = UnknownId(character);
                if (pending && !options.FuseUnknown)
                    ids.Add(unknown);
                pending = true;
            }
        }

        if (pending)
            ids.Add(UnknownId(default));
    }

    private int UnknownId(Rune character)
    {
        if (options.Unknown is null)
            throw new UserException($"the tokenizer has no token for U+{character.Value:X4} and no unknown token; remove the character or use another tokenizer");
        return vocabulary.IdOf(options.Unknown)
            ?? throw new UserException($"the tokenizer has no token for U+{character.Value:X4}, and its unknown token \"{options.Unknown}\" is not in the vocabulary");
    }
}
