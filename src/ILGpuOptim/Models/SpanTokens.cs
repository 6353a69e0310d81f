using ILGpuOptim.Data;
using ILGpuOptim.Files;

namespace ILGpuOptim.Models;

/// <summary>The special tokens of span corruption (Raffel et al., 2020).</summary>
/// <param name="Padding">The padding token.</param>
/// <param name="End">The end token; null: none.</param>
/// <param name="Sentinels">The tokens that replace hidden spans, in order; empty if they are not known.</param>
public sealed record SpanTokens(int Padding, int? End, IReadOnlyList<int> Sentinels)
{
    /// <summary>The tokens of a tokenizer; those that it lacks get new ids after its vocabulary.</summary>
    /// <param name="tokenizer">Knows <c>&lt;pad&gt;</c>, <c>&lt;/s&gt;</c> and <c>&lt;extra_id_0&gt;</c>, …, or some of them.</param>
    /// <param name="vocabulary">Ids of the model lie below this; with new ones, below the value that it has afterwards.</param>
    /// <param name="spans">The number of sentinels needed.</param>
    public static SpanTokens For(ITokenizer tokenizer, ref int vocabulary, int spans)
    {
        int padding = tokenizer.IdOf("<pad>") ?? vocabulary++, end = tokenizer.IdOf("</s>") ?? vocabulary++;
        IReadOnlyList<int> sentinels = SentinelsOf(tokenizer.IdOf);
        if (sentinels.Count == 0)
            sentinels = Last(spans, vocabulary += spans);
        return new SpanTokens(padding, end, sentinels);
    }

    /// <summary>The last ids of a vocabulary, last first: the sentinels if none are named.</summary>
    public static IReadOnlyList<int> Last(int count, int vocabulary) => [.. Enumerable.Range(1, count).Select(i => vocabulary - i)];

    /// <summary>The sentinels among the added tokens of a folder's <c>tokenizer.json</c>; empty where there are none that the model knows.</summary>
    /// <exception cref="UserException">The file cannot be read.</exception>
    internal static IReadOnlyList<int> SentinelsOf(string folder, int vocabulary)
    {
        string path = Path.Combine(folder, "tokenizer.json");
        if (!File.Exists(path))
            return [];
        var ids = new Dictionary<string, int>();
        foreach (JsonFields token in JsonFields.Open(path).Objects("added_tokens") ?? [])
        {
            if (token.Text("content") is { } text && token.Int("id") is { } id)
                ids[text] = id;
        }

        return [.. SentinelsOf(text => ids.TryGetValue(text, out int id) ? id : null).TakeWhile(id => (uint)id < (uint)vocabulary)];
    }

    private static IReadOnlyList<int> SentinelsOf(Func<string, int?> idOf)
    {
        var sentinels = new List<int>();
        while (idOf(SentinelTokenizer.TextOf(sentinels.Count)) is { } id)
            sentinels.Add(id);
        return sentinels;
    }
}
