using System.Text;
using System.Text.Json;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>
/// The unigram language model (Kudo, ACL 2018) as in Hugging Face's library: the segmentation with the largest sum of log-probabilities,
/// found by Viterbi's algorithm. An unknown character has the smallest score minus 10; consecutive unknown characters are looked up as one
/// token. Time is O(length of the text × length of the longest token).
/// </summary>
internal sealed class UnigramModel : ITokenModel
{
    private const double UnknownPenalty = 10;

    private readonly IReadOnlyList<(string Token, double Score)> tokens;
    private readonly Dictionary<string, int> ids = [];
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> lookup;
    private readonly Trie trie = new();
    private readonly double unknownScore;
    private readonly int? unknown;
    private readonly bool byteFallback;

    /// <summary>Creates a model.</summary>
    /// <param name="tokens">Tokens and their finite log-probabilities; the index is the id. The last of equal tokens is used.</param>
    /// <param name="unknown">The id of unknown characters; null if there is none.</param>
    /// <param name="byteFallback">Encodes unknown characters as byte tokens.</param>
    public UnigramModel(IReadOnlyList<(string Token, double Score)> tokens, int? unknown, bool byteFallback)
    {
        (this.tokens, this.unknown, this.byteFallback) = (tokens, unknown, byteFallback);
        for (int id = 0; id < tokens.Count; id++)
        {
            ids[tokens[id].Token] = id;
            if (tokens[id].Token.Length > 0)
                trie.Add(tokens[id].Token, id);
        }

        lookup = ids.GetAlternateLookup<ReadOnlySpan<char>>();
        unknownScore = tokens.Select(token => token.Score).DefaultIfEmpty().Min() - UnknownPenalty;
    }

    /// <inheritdoc/>
    public int VocabularySize => tokens.Count;

    /// <summary>The tokens and their log-probabilities.</summary>
    public IReadOnlyList<(string Token, double Score)> Tokens => tokens;

    /// <summary>The id of unknown characters; null if there is none.</summary>
    public int? Unknown => unknown;

    /// <summary>Unknown characters become byte tokens.</summary>
    public bool ByteFallback => byteFallback;

    /// <summary>Reads a model of type Unigram.</summary>
    public static UnigramModel Read(JsonFields model)
    {
        IReadOnlyList<JsonElement> entries = model.Array("vocab") ?? throw model.Error("vocab", "is missing");
        if (entries.Count > Vocabulary.IdLimit)
            throw model.Error("vocab", $"has {entries.Count} tokens; at most {Vocabulary.IdLimit} are supported");
        var tokens = new List<(string, double)>(entries.Count);
        foreach (JsonElement entry in entries)
        {
            if (entry.ValueKind != JsonValueKind.Array || entry.GetArrayLength() != 2 || entry[0].ValueKind != JsonValueKind.String
                || entry[1].ValueKind != JsonValueKind.Number || !entry[1].TryGetDouble(out double score) || !double.IsFinite(score))
                throw model.Error($"vocab[{tokens.Count}]", $"is {JsonFields.Describe(entry)}; it must be a token and a finite score");
            tokens.Add((model.Text($"vocab[{tokens.Count}]", entry[0]), score));
        }

        int? unknown = model.Int("unk_id");
        if (unknown is { } id && (uint)id >= (uint)tokens.Count)
            throw model.Error("unk_id", $"is {id}; ids must be below {tokens.Count}, the number of tokens");
        return new UnigramModel(tokens, unknown, model.Flag("byte_fallback") ?? false);
    }

    /// <inheritdoc/>
    public int? IdOf(string token) => ids.TryGetValue(token, out int id) ? id : null;

    /// <inheritdoc/>
    public string? TokenOf(int id) => (uint)id < (uint)tokens.Count ? tokens[id].Token : null;

    /// <inheritdoc/>
    public void Encode(ReadOnlySpan<char> piece, List<int> ids)
    {
        (int From, int Id)[] path = BestPath(piece);
        var cuts = new List<int> { piece.Length };
        for (int end = piece.Length; end > 0; cuts.Add(end))
        {
            // Consecutive unknown characters are looked up as one token.
            bool isUnknown = path[end].Id == unknown;
            do
                end = path[end].From;
            while (isUnknown && end > 0 && path[end].Id == unknown);
        }

        for (int i = cuts.Count - 1; i > 0; i--)
            AppendToken(piece[cuts[i]..cuts[i - 1]], ids);
    }

    /// <summary>For each position, the start and id of the last token of the best segmentation that ends there.</summary>
    private (int From, int Id)[] BestPath(ReadOnlySpan<char> piece)
    {
        var path = new (int From, int Id)[piece.Length + 1];
        double[] scores = new double[piece.Length + 1];
        scores.AsSpan(1).Fill(double.NaN);
        for (int start = 0; start < piece.Length;)
        {
            Rune.DecodeFromUtf16(piece[start..], out Rune character, out int length);
            bool known = false;
            int node = Trie.Root;
            for (int end = start; end < piece.Length && (node = trie.Child(node, piece[end])) >= 0;)
            {
                end++;
                if (trie.ValueOf(node) is >= 0 and var id)
                {
                    Offer(end, id, tokens[id].Score);
                    known |= end - start == length;
                }
            }

            if (!known)
                Offer(start + length, unknown ?? throw new UserException($"the tokenizer has no token for U+{character.Value:X4} and no unknown token; remove the character or use another tokenizer"), unknownScore);
            start += length;

            void Offer(int end, int id, double score)
            {
                // The first of equal scores is kept. A position that has not been reached has the score NaN.
                if (!(scores[start] + score <= scores[end]))
                    (scores[end], path[end]) = (scores[start] + score, (start, id));
            }
        }

        return path;
    }

    private void AppendToken(ReadOnlySpan<char> text, List<int> result)
    {
        if (lookup.TryGetValue(text, out int id))
        {
            result.Add(id);
            return;
        }

        if (!byteFallback || !ByteTokens.TryAppend(text, token => lookup.TryGetValue(token, out int found) ? found : null, result))
            result.Add(unknown!.Value);
    }
}
