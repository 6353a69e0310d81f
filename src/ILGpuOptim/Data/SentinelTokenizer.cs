using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace ILGpuOptim.Data;

/// <summary>
/// Adds sentinel tokens to a tokenizer: <c>&lt;extra_id_0&gt;</c>, <c>&lt;extra_id_1&gt;</c>, … represent the hidden spans of a text. Only the base tokenizer is
/// saved.
/// </summary>
/// <param name="inner">The base tokenizer.</param>
/// <param name="sentinels">The ids of the sentinels, in order.</param>
public sealed partial class SentinelTokenizer(ITokenizer inner, IReadOnlyList<int> sentinels) : ITokenizer
{
    private readonly Dictionary<int, int> numbers = sentinels.Select((id, i) => (id, i)).ToDictionary(pair => pair.id, pair => pair.i);

    /// <inheritdoc/>
    public string Kind => inner.Kind;

    /// <inheritdoc/>
    public int VocabularySize => Math.Max(inner.VocabularySize, sentinels.Count == 0 ? 0 : sentinels.Max() + 1);

    /// <inheritdoc/>
    public int? PromptStart => inner.PromptStart;

    /// <inheritdoc/>
    public IReadOnlyList<int> PromptPrefix => inner.PromptPrefix;

    /// <summary>The text of a sentinel.</summary>
    public static string TextOf(int number) => string.Create(CultureInfo.InvariantCulture, $"<extra_id_{number}>");

    /// <inheritdoc/>
    public int? IdOf(string token) => SentinelText().Match(token) is { Success: true } match && match.Length == token.Length && IdOf(match) is { } id ? id : inner.IdOf(token);

    /// <inheritdoc/>
    public int[] Encode(ReadOnlySpan<char> text)
    {
        string whole = text.ToString();
        var ids = new List<int>();
        int start = 0;
        foreach (Match match in SentinelText().Matches(whole))
        {
            if (IdOf(match) is not { } id)
                continue;
            ids.AddRange(EncodePart(whole.AsSpan(start, match.Index - start)));
            ids.Add(id);
            start = match.Index + match.Length;
        }

        ids.AddRange(EncodePart(whole.AsSpan(start)));
        return [.. ids];
    }

    /// <inheritdoc/>
    public string Decode(ReadOnlySpan<int> ids)
    {
        var text = new StringBuilder();
        int start = 0;
        for (int i = 0; i <= ids.Length; i++)
        {
            int number = -1;
            if (i < ids.Length && !numbers.TryGetValue(ids[i], out number))
                continue;
            if (i > start)
                text.Append(inner.Decode(ids[start..i]));
            if (number >= 0 && i < ids.Length)
                text.Append(TextOf(number));
            start = i + 1;
        }

        return text.ToString();
    }

    /// <inheritdoc/>
    public void Save(string folder) => inner.Save(folder);

    private int[] EncodePart(ReadOnlySpan<char> text) => text.IsEmpty ? [] : inner.Encode(text);

    private int? IdOf(Match match) => int.TryParse(match.Groups[1].ValueSpan, NumberStyles.None, CultureInfo.InvariantCulture, out int number) && number < sentinels.Count ? sentinels[number] : null;

    [GeneratedRegex("<extra_id_([0-9]{1,9})>")]
    private static partial Regex SentinelText();
}
