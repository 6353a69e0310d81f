using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;
using ILGpuOptim.Files;
using ILGpuOptim.Validation;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>
/// Trains a byte-level BPE vocabulary (Sennrich et al., ACL 2016; on bytes as in GPT-2): repeatedly merges the most frequent adjacent
/// pair within words. Ties go to the pair with the smaller ids, so the same text gives the same files.
/// </summary>
public sealed class BytePairTrainer
{
    /// <summary>The token between documents; id 0.</summary>
    public const string EndOfText = "<|endoftext|>";

    /// <summary>The range of vocabulary sizes: at least the 256 bytes, <see cref="EndOfText"/> and one merge.</summary>
    public static RangeAttribute VocabularyRange { get; } = new(258);

    /// <summary>The number of characters that one thread splits into words at a time.</summary>
    private const int ChunkCharacters = 1 << 20;

    private static readonly IPreTokenizer Words = PreTokenizers.ByteLevel(addPrefixSpace: false, useRegex: true);

    /// <summary>The counts of words, which are written in byte letters.</summary>
    private readonly Dictionary<string, long> words = [];

    /// <summary>Counts the words of a text. A long text may be added in parts; each should end with a line.</summary>
    public void Add(string text)
    {
        // Chunks end with a line, so that few words are split.
        var chunks = new List<(int Start, int Length)>();
        for (int start = 0; start < text.Length;)
        {
            int end = Math.Min(start + ChunkCharacters, text.Length), line = end < text.Length ? text.LastIndexOf('\n', end - 1, end - start) : end - 1;
            end = line > start ? line + 1 : end;
            if (end < text.Length && char.IsLowSurrogate(text[end]) && end - start > 1)
                end--;
            chunks.Add((start, end - start));
            start = end;
        }

        var counted = new Dictionary<string, long>[chunks.Count];
        Parallel.For(0, chunks.Count, i => counted[i] = Count(text.AsSpan(chunks[i].Start, chunks[i].Length)));
        foreach (Dictionary<string, long> chunk in counted)
        {
            foreach ((string word, long count) in chunk)
                words[word] = words.GetValueOrDefault(word) + count;
        }
    }

    /// <summary>Learns merges until the vocabulary has the requested size or no pair occurs twice.</summary>
    /// <param name="vocabularySize">The vocabulary size, including the 256 bytes and <see cref="EndOfText"/>.</param>
    /// <param name="progress">Called with the current size after each merge.</param>
    /// <exception cref="UserException">The size is too small for the bytes.</exception>
    public BytePairVocabulary Train(int vocabularySize, Action<int>? progress = null)
    {
        if (!VocabularyRange.Contains(vocabularySize))
            throw new UserException($"a vocabulary of {vocabularySize} has no room: 256 bytes, {EndOfText} and at least one merge make 258");

        // Sorted, so that the result does not depend on the order of counting.
        (int[] Tokens, long Count)[] sequences = [.. words.OrderBy(word => word.Key, StringComparer.Ordinal)
            .Select(word => (word.Key.Select(letter => ByteLetters.ByteOf(letter) + 1).ToArray(), word.Value))];
        List<string> tokens = [EndOfText, .. ByteLetters.All.ToArray().Select(letter => letter.ToString())];
        var merges = new List<(int Left, int Right)>();
        var counts = new Dictionary<(int, int), long>();
        var occurrences = new Dictionary<(int, int), HashSet<int>>();
        for (int i = 0; i < sequences.Length; i++)
        {
            for (int j = 1; j < sequences[i].Tokens.Length; j++)
                Change(counts, occurrences, (sequences[i].Tokens[j - 1], sequences[i].Tokens[j]), sequences[i].Count, i);
        }

        var queue = new PriorityQueue<(int Left, int Right), (long, int, int)>();
        foreach ((var pair, long count) in counts)
            queue.Enqueue(pair, (-count, pair.Item1, pair.Item2));
        while (tokens.Count < vocabularySize && queue.TryDequeue(out (int Left, int Right) pair, out (long Count, int, int) priority))
        {
            long count = counts.GetValueOrDefault(pair);
            if (count != -priority.Count)
            {
                // The count fell since the pair was queued; queue it again with its current count.
                if (count > 0)
                    queue.Enqueue(pair, (-count, pair.Left, pair.Right));
                continue;
            }

            if (count < 2)
                break;
            int merged = tokens.Count;
            tokens.Add(tokens[pair.Left] + tokens[pair.Right]);
            merges.Add(pair);
            var increased = new HashSet<(int, int)>();
            foreach (int i in occurrences[pair])
                sequences[i].Tokens = Merge(sequences[i].Tokens, sequences[i].Count, i, pair, merged, counts, occurrences, increased);
            foreach ((int, int) next in increased)
            {
                if (counts.GetValueOrDefault(next) is > 0 and var now)
                    queue.Enqueue(next, (-now, next.Item1, next.Item2));
            }

            counts.Remove(pair);
            occurrences.Remove(pair);
            progress?.Invoke(tokens.Count);
        }

        return new BytePairVocabulary(tokens, [.. merges.Select(pair => $"{tokens[pair.Left]} {tokens[pair.Right]}")]);
    }

    private static Dictionary<string, long> Count(ReadOnlySpan<char> text)
    {
        var result = new Dictionary<string, long>();
        var lookup = result.GetAlternateLookup<ReadOnlySpan<char>>();
        var parts = new List<TextPiece>();
        Words.Split(new TextPiece(Surrogates.WithoutHalves(text).AsMemory(), AtStart: true), parts);
        foreach (TextPiece part in parts)
            lookup[part.Text.Span] = lookup.TryGetValue(part.Text.Span, out long count) ? count + 1 : 1;
        return result;
    }

    private static int[] Merge(
        int[] tokens, long count, int index, (int Left, int Right) pair, int merged,
        Dictionary<(int, int), long> counts, Dictionary<(int, int), HashSet<int>> occurrences, HashSet<(int, int)> increased)
    {
        var result = new List<int>(tokens.Length);
        for (int j = 0; j < tokens.Length; j++)
        {
            if (j + 1 < tokens.Length && tokens[j] == pair.Left && tokens[j + 1] == pair.Right)
            {
                result.Add(merged);
                j++;
            }
            else
            {
                result.Add(tokens[j]);
            }
        }

        if (result.Count == tokens.Length)
            return tokens;
        for (int j = 1; j < tokens.Length; j++)
            Change(counts, null, (tokens[j - 1], tokens[j]), -count, index);
        for (int j = 1; j < result.Count; j++)
        {
            Change(counts, occurrences, (result[j - 1], result[j]), count, index);
            if (result[j - 1] == merged || result[j] == merged)
                increased.Add((result[j - 1], result[j]));
        }

        return [.. result];
    }

    private static void Change(Dictionary<(int, int), long> counts, Dictionary<(int, int), HashSet<int>>? occurrences, (int, int) pair, long change, int index)
    {
        counts[pair] = counts.GetValueOrDefault(pair) + change;
        if (occurrences is null)
            return;
        if (!occurrences.TryGetValue(pair, out HashSet<int>? found))
            occurrences[pair] = found = [];
        found.Add(index);
    }
}

/// <summary>The vocabulary that <see cref="BytePairTrainer"/> learned.</summary>
/// <param name="Tokens">The tokens in byte letters; the index is the id.</param>
/// <param name="Merges">Pairs of tokens, in order of rank.</param>
public sealed record BytePairVocabulary(IReadOnlyList<string> Tokens, IReadOnlyList<string> Merges)
{
    private static readonly JsonSerializerOptions Readable = new() { WriteIndented = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Writes <c>tokenizer.json</c>, <c>vocab.json</c>, <c>merges.txt</c> and <c>tokenizer_config.json</c> in Hugging Face's formats.</summary>
    /// <param name="folder">The folder; created if missing.</param>
    public void Save(string folder)
    {
        Directory.CreateDirectory(folder);
        Dictionary<string, int> vocabulary = Tokens.Select((token, id) => (token, id)).ToDictionary(pair => pair.token, pair => pair.id);
        JsonObject Bytes() => new() { ["type"] = "ByteLevel", ["add_prefix_space"] = false, ["trim_offsets"] = true, ["use_regex"] = true };
        JsonObject Vocabulary() => new(vocabulary.Select(entry => KeyValuePair.Create(entry.Key, (JsonNode?)entry.Value)));
        var contents = new JsonObject
        {
            ["version"] = "1.0",
            ["truncation"] = null,
            ["padding"] = null,
            ["added_tokens"] = new JsonArray(new JsonObject
            {
                ["id"] = 0,
                ["content"] = BytePairTrainer.EndOfText,
                ["single_word"] = false,
                ["lstrip"] = false,
                ["rstrip"] = false,
                ["normalized"] = false,
                ["special"] = true,
            }),
            ["normalizer"] = null,
            ["pre_tokenizer"] = Bytes(),
            ["post_processor"] = null,
            ["decoder"] = Bytes(),
            ["model"] = new JsonObject
            {
                ["type"] = "BPE",
                ["dropout"] = null,
                ["unk_token"] = null,
                ["continuing_subword_prefix"] = null,
                ["end_of_word_suffix"] = null,
                ["fuse_unk"] = false,
                ["byte_fallback"] = false,
                ["ignore_merges"] = false,
                ["vocab"] = Vocabulary(),
                ["merges"] = JsonNodes.Of(Merges),
            },
        };
        AtomicFolder.WriteText(Path.Combine(folder, TokenizerFiles.HuggingFace), contents.ToJsonString(Readable));
        AtomicFolder.WriteText(Path.Combine(folder, TokenizerFiles.Vocabulary), Vocabulary().ToJsonString(Readable));
        AtomicFolder.WriteText(Path.Combine(folder, TokenizerFiles.Merges), "#version: 0.2\n" + string.Join('\n', Merges) + "\n");
        var settings = new JsonObject
        {
            ["tokenizer_class"] = "GPT2Tokenizer",
            ["add_prefix_space"] = false,
            ["bos_token"] = BytePairTrainer.EndOfText,
            ["eos_token"] = BytePairTrainer.EndOfText,
            ["unk_token"] = BytePairTrainer.EndOfText,
        };
        AtomicFolder.WriteText(Path.Combine(folder, "tokenizer_config.json"), settings.ToJsonString(Readable));
    }
}
