namespace ILGpuOptim.Data.Tokenization;

/// <summary>An immutable set of code points: sorted ranges that are neither overlapping nor adjacent.</summary>
internal sealed class CodePointSet : IEquatable<CodePointSet>
{
    /// <summary>The last code point plus one.</summary>
    public const int Limit = 0x110000;

    private CodePointSet(IReadOnlyList<(int First, int Last)> ranges) => Ranges = ranges;

    /// <summary>The empty set.</summary>
    public static CodePointSet Empty { get; } = new([]);

    /// <summary>All code points.</summary>
    public static CodePointSet All { get; } = new([(0, Limit - 1)]);

    /// <summary>First and last code points of the ranges, in ascending order.</summary>
    public IReadOnlyList<(int First, int Last)> Ranges { get; }

    /// <summary>The union of ranges, in any order.</summary>
    public static CodePointSet Of(IEnumerable<(int First, int Last)> ranges)
    {
        var result = new List<(int First, int Last)>();
        foreach ((int first, int last) in ranges.Order())
        {
            if (result.Count > 0 && first <= result[^1].Last + 1)
                result[^1] = (result[^1].First, Math.Max(result[^1].Last, last));
            else
                result.Add((first, last));
        }

        return new CodePointSet(result);
    }

    /// <summary>The set of one code point.</summary>
    public static CodePointSet Of(int codePoint) => new([(codePoint, codePoint)]);

    /// <summary>The set of one range.</summary>
    public static CodePointSet Of(int first, int last) => new([(first, last)]);

    /// <summary>The code points that satisfy a condition, which is evaluated for each code point.</summary>
    public static CodePointSet Where(Func<int, bool> condition)
    {
        var result = new List<(int, int)>();
        int first = -1;
        for (int i = 0; i <= Limit; i++)
        {
            bool inside = i < Limit && condition(i);
            if (inside && first < 0)
                first = i;
            if (inside || first < 0)
                continue;
            result.Add((first, i - 1));
            first = -1;
        }

        return new CodePointSet(result);
    }

    /// <summary>True if the set contains a code point.</summary>
    public bool Contains(int codePoint)
    {
        int low = 0, high = Ranges.Count - 1;
        while (low <= high)
        {
            int middle = (low + high) / 2;
            if (codePoint < Ranges[middle].First)
                high = middle - 1;
            else if (codePoint > Ranges[middle].Last)
                low = middle + 1;
            else
                return true;
        }

        return false;
    }

    /// <summary>True if both sets have the same code points.</summary>
    public bool Equals(CodePointSet? other) => other is not null && Ranges.SequenceEqual(other.Ranges);

    /// <inheritdoc/>
    public override bool Equals(object? obj) => Equals(obj as CodePointSet);

    /// <inheritdoc/>
    public override int GetHashCode() => Ranges.Aggregate(Ranges.Count, static (hash, range) => HashCode.Combine(hash, range));

    /// <summary>The union with another set.</summary>
    public CodePointSet Union(CodePointSet other) => Of(Ranges.Concat(other.Ranges));

    /// <summary>The intersection with another set.</summary>
    public CodePointSet Intersect(CodePointSet other) => Negate().Union(other.Negate()).Negate();

    /// <summary>The complement of the set.</summary>
    public CodePointSet Negate()
    {
        var result = new List<(int, int)>();
        int next = 0;
        foreach ((int first, int last) in Ranges)
        {
            if (first > next)
                result.Add((next, first - 1));
            next = last + 1;
        }

        if (next < Limit)
            result.Add((next, Limit - 1));
        return new CodePointSet(result);
    }
}
