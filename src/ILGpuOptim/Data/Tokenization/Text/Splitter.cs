namespace ILGpuOptim.Data.Tokenization;

/// <summary>The handling of matches when a text is split.</summary>
internal enum SplitBehavior
{
    /// <summary>Matches are dropped.</summary>
    Removed,

    /// <summary>Each match is a part.</summary>
    Isolated,

    /// <summary>A match is appended to the part before it.</summary>
    MergedWithPrevious,

    /// <summary>A match is prepended to the part after it.</summary>
    MergedWithNext,

    /// <summary>Adjacent matches form one part.</summary>
    Contiguous,
}

/// <summary>A segment of a text: a match, or the text between matches.</summary>
internal readonly record struct MatchSegment(int Start, int End, bool IsMatch);

/// <summary>Combines matches and the text between them into parts, as Hugging Face's library does.</summary>
internal static class Splitter
{
    /// <summary>Reads the field <c>behavior</c>.</summary>
    /// <exception cref="UserException">The value is unknown.</exception>
    public static SplitBehavior Read(Files.JsonFields fields, SplitBehavior? missing)
    {
        string? name = missing is null ? fields.RequiredText("behavior") : fields.Text("behavior");
        return name switch
        {
            null => missing!.Value,
            "Removed" => SplitBehavior.Removed,
            "Isolated" => SplitBehavior.Isolated,
            "MergedWithPrevious" => SplitBehavior.MergedWithPrevious,
            "MergedWithNext" => SplitBehavior.MergedWithNext,
            "Contiguous" => SplitBehavior.Contiguous,
            _ => throw fields.Error("behavior", $"is \"{name}\"; Removed, Isolated, MergedWithPrevious, MergedWithNext and Contiguous are supported"),
        };
    }

    /// <summary>The segments of a text, given its matches.</summary>
    public static List<MatchSegment> Segments(ReadOnlySpan<char> text, List<(int Start, int End)> matches)
    {
        var result = new List<MatchSegment>(matches.Count + 1);
        int end = 0;
        foreach ((int start, int next) in matches)
        {
            if (start > end)
                result.Add(new(end, start, false));
            result.Add(new(start, next, true));
            end = next;
        }

        if (end < text.Length)
            result.Add(new(end, text.Length, false));
        return result;
    }

    /// <summary>The segments of a text in which each character that satisfies a condition is a match.</summary>
    public static List<MatchSegment> Segments(ReadOnlySpan<char> text, Func<int, bool> isMatch)
    {
        var result = new List<MatchSegment>();
        int end = 0, position = 0;
        foreach (System.Text.Rune rune in text.EnumerateRunes())
        {
            int next = position + rune.Utf16SequenceLength;
            if (isMatch(rune.Value))
            {
                if (position > end)
                    result.Add(new(end, position, false));
                result.Add(new(position, next, true));
                end = next;
            }

            position = next;
        }

        if (end < text.Length)
            result.Add(new(end, text.Length, false));
        return result;
    }

    /// <summary>Appends the non-empty parts of a piece.</summary>
    public static void Add(TextPiece piece, List<MatchSegment> segments, SplitBehavior behavior, List<TextPiece> parts)
    {
        if (behavior == SplitBehavior.MergedWithNext)
        {
            AddMergedWithNext(piece, segments, parts);
            return;
        }

        int start = 0, end = 0;
        bool any = false, previous = false;
        foreach (MatchSegment segment in segments)
        {
            bool joins = any && behavior switch
            {
                SplitBehavior.Contiguous => segment.IsMatch == previous,
                SplitBehavior.MergedWithPrevious => segment.IsMatch && !previous,
                _ => false,
            };
            if (!joins)
            {
                Slice(piece, start, end, parts);
                start = segment.Start;
            }

            if (behavior == SplitBehavior.Removed && segment.IsMatch)
                start = segment.End;
            end = segment.End;
            (any, previous) = (true, segment.IsMatch);
        }

        Slice(piece, start, end, parts);
    }

    private static void AddMergedWithNext(TextPiece piece, List<MatchSegment> segments, List<TextPiece> parts)
    {
        for (int i = 0; i < segments.Count; i++)
        {
            // A match is joined to the part after it unless that is a match too.
            int start = segments[i].Start;
            if (segments[i].IsMatch && i + 1 < segments.Count && !segments[i + 1].IsMatch)
                i++;
            Slice(piece, start, segments[i].End, parts);
        }
    }

    /// <summary>Appends a slice of a piece unless it is empty.</summary>
    public static void Slice(TextPiece piece, int start, int end, List<TextPiece> parts)
    {
        if (end > start)
            parts.Add(new(piece.Text[start..end], piece.AtStart && start == 0));
    }
}
