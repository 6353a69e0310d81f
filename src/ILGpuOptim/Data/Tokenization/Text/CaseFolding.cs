namespace ILGpuOptim.Data.Tokenization;

/// <summary>Sets of code points without regard to case, by Unicode's simple case folding.</summary>
internal static class CaseFolding
{
    private static readonly Lazy<int[][]> Groups = new(() => [.. UnicodeData.SimpleFoldings
        .GroupBy(pair => pair.Value, pair => pair.Key).Select(group => group.Append(group.Key).ToArray())]);

    private static readonly Lazy<HashSet<string>> Sequences = new(() => [.. UnicodeData.FullFoldings.Values.Select(Key)]);

    /// <summary>The set with all code points that differ from one of its own only in case.</summary>
    public static CodePointSet Close(CodePointSet set) =>
        CodePointSet.Of(set.Ranges.Concat(Groups.Value.Where(group => group.Any(set.Contains)).SelectMany(group => group).Select(point => (point, point))));

    /// <summary>Whether a set has a code point that folds to several, as ß does to ss.</summary>
    public static bool HasFullFolding(CodePointSet set) => UnicodeData.FullFoldings.Keys.Any(set.Contains);

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
