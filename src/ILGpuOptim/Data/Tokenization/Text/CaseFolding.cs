namespace ILGpuOptim.Data.Tokenization;

/// <summary>Sets of code points without regard to case, by Unicode's simple case folding.</summary>
internal static class CaseFolding
{
    /// <summary>Code points that differ from others only in case, and all of their group.</summary>
    private static readonly Lazy<Dictionary<int, CodePointSet>> Groups = new(() => UnicodeData.SimpleFoldings
        .GroupBy(pair => pair.Value, pair => pair.Key).Select(group => CodePointSet.Of(group.Append(group.Key).Select(point => (point, point))))
        .SelectMany(group => group.Ranges.SelectMany(range => Enumerable.Range(range.First, range.Last - range.First + 1)).Select(point => (point, group))).ToDictionary());

    private static readonly Lazy<HashSet<string>> Sequences = new(() => [.. UnicodeData.FullFoldings.Values.Select(Key)]);

    /// <summary>The set with all code points that differ from one of its own only in case.</summary>
    public static CodePointSet Close(CodePointSet set) =>
        CodePointSet.Of(set.Ranges.Concat(Groups.Value.Where(pair => set.Contains(pair.Key)).SelectMany(pair => pair.Value.Ranges)));

    /// <summary>A code point with all that differ from it only in case.</summary>
    public static CodePointSet Close(int point) => Groups.Value.GetValueOrDefault(point) ?? CodePointSet.Of(point);

    /// <summary>Whether a set has a code point that folds to several, as ß does to ss.</summary>
    public static bool HasFullFolding(CodePointSet set) => UnicodeData.FullFoldings.Keys.Any(set.Contains);

    /// <summary>Whether a code point folds to several.</summary>
    public static bool HasFullFolding(int point) => UnicodeData.FullFoldings.ContainsKey(point);

    /// <summary>Whether a sequence of code points holds one to which a single code point folds, as ß does to ss.</summary>
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
