namespace ILGpuOptim.Data.Tokenization;

/// <summary>Case-insensitive sets of code points, by Unicode's simple case folding.</summary>
internal static class CaseFolding
{
    /// <summary>The code points that differ only in case, for each code point that has such others.</summary>
    private static readonly Lazy<Dictionary<int, CodePointSet>> Groups = new(() => UnicodeData.SimpleFoldings
        .GroupBy(pair => pair.Value, pair => pair.Key).Select(group => CodePointSet.Of(group.Append(group.Key).Select(point => (point, point))))
        .SelectMany(group => group.Ranges.SelectMany(range => Enumerable.Range(range.First, range.Last - range.First + 1)).Select(point => (point, group))).ToDictionary());

    private static readonly Lazy<HashSet<string>> Sequences = new(() => [.. UnicodeData.FullFoldings.Values.Select(Key)]);

    /// <summary>The set, extended by all code points that differ from one of its members only in case.</summary>
    public static CodePointSet Close(CodePointSet set) =>
        CodePointSet.Of(set.Ranges.Concat(Groups.Value.Where(pair => set.Contains(pair.Key)).SelectMany(pair => pair.Value.Ranges)));

    /// <summary>A code point and all that differ from it only in case.</summary>
    public static CodePointSet Close(int point) => Groups.Value.GetValueOrDefault(point) ?? CodePointSet.Of(point);

    /// <summary>True if a set has a code point that folds to several, as ß to ss.</summary>
    public static bool HasFullFolding(CodePointSet set) => UnicodeData.FullFoldings.Keys.Any(set.Contains);

    /// <summary>True if a code point folds to several.</summary>
    public static bool HasFullFolding(int point) => UnicodeData.FullFoldings.ContainsKey(point);

    /// <summary>True if a sequence of code points contains the folding of a single code point, as ss for ß.</summary>
    public static bool HoldsFullFolding(IReadOnlyList<int> points)
    {
        int[] folded = [.. points.Select(point => UnicodeData.SimpleFoldings.TryGetValue(point, out int fold) ? fold : point)];
        for (int i = 0; i < folded.Length; i++)
        {
            for (int length = 2; length <= 3 && i + length <= folded.Length; length++)
            {
                if (Sequences.Value.Contains(Key(folded[i..(i + length)])))
                    return true;
            }
        }

        return false;
    }

    private static string Key(int[] points) => string.Join(' ', points);
}
