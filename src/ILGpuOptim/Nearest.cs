namespace ILGpuOptim;

/// <summary>Suggestions for mistyped names.</summary>
internal static class Nearest
{
    /// <summary>The end of a message about an unknown name: "; did you mean …?" where a candidate is similar, else a full stop.</summary>
    public static string Question(string name, IEnumerable<string> candidates)
    {
        string[] all = [.. candidates];
        if (name.Length > 3 && all.FirstOrDefault(candidate => candidate.Contains(name, StringComparison.OrdinalIgnoreCase)) is { } longer)
            return $"; did you mean {longer}?";
        string nearest = all.MinBy(candidate => Distance(name, candidate)) ?? "";
        int distance = Distance(name, nearest);
        bool isSimilar = distance <= Math.Max(2, name.Length / 2) && distance < Math.Min(name.Length, nearest.Length);
        return isSimilar ? $"; did you mean {nearest}?" : ".";
    }

    /// <summary>The fewest insertions, deletions and replacements that lead from one name to the other.</summary>
    private static int Distance(string from, string to)
    {
        from = from.ToLowerInvariant();
        int[] row = [.. Enumerable.Range(0, to.Length + 1)];
        for (int i = 1; i <= from.Length; i++)
        {
            int diagonal = row[0];
            row[0] = i;
            for (int j = 1; j <= to.Length; j++)
            {
                int replaced = diagonal + (from[i - 1] == to[j - 1] ? 0 : 1);
                diagonal = row[j];
                row[j] = Math.Min(replaced, 1 + Math.Min(row[j], row[j - 1]));
            }
        }

        return row[^1];
    }
}
