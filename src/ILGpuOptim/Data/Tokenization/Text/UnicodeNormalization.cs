using System.Text;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>
/// Unicode's normalization forms (UAX #15), for the characters of Unicode 9.0. Later characters are unchanged, as in Hugging Face's library.
/// .NET's <c>string.Normalize</c> does nothing beyond ASCII without its native library.
/// </summary>
internal sealed class UnicodeNormalization
{
    private const int SyllableBase = 0xAC00, LeadBase = 0x1100, VowelBase = 0x1161, TrailBase = 0x11A7;
    private const int LeadCount = 19, VowelCount = 21, TrailCount = 28, SyllableCount = LeadCount * VowelCount * TrailCount;

    /// <summary>The version of the crate unicode-normalization-alignments.</summary>
    private static readonly Version Unicode = new(9, 0);

    private static readonly CodePointMap Classes = MakeClasses();

    private static readonly Lazy<Dictionary<(int, int), int>> Compositions = new(() => UnicodeData.Decompositions
        .Where(entry => !entry.Value.Compatible && entry.Value.Parts.Length == 2 && UnicodeData.IsAssigned(entry.Key, Unicode) && !UnicodeData.CompositionExclusions.Contains(entry.Key))
        .ToDictionary(entry => (entry.Value.Parts[0], entry.Value.Parts[1]), entry => entry.Key));

    private readonly bool composes;
    private readonly Dictionary<int, int[]> decompositions = [];

    private UnicodeNormalization(bool compatible, bool composes)
    {
        this.composes = composes;
        foreach ((int point, (bool onlyCompatible, _)) in UnicodeData.Decompositions)
        {
            if ((compatible || !onlyCompatible) && UnicodeData.IsAssigned(point, Unicode))
                decompositions.Add(point, [.. Expand(point)]);
        }

        IEnumerable<int> Expand(int point) => UnicodeData.Decompositions.TryGetValue(point, out var entry) && (compatible || !entry.Compatible)
            ? entry.Parts.SelectMany(Expand) : [point];
    }

    /// <summary>Canonical composition.</summary>
    public static UnicodeNormalization Nfc => field ??= new(compatible: false, composes: true);

    /// <summary>Canonical decomposition.</summary>
    public static UnicodeNormalization Nfd => field ??= new(compatible: false, composes: false);

    /// <summary>Compatibility composition.</summary>
    public static UnicodeNormalization Nfkc => field ??= new(compatible: true, composes: true);

    /// <summary>Compatibility decomposition.</summary>
    public static UnicodeNormalization Nfkd => field ??= new(compatible: true, composes: false);

    /// <summary>The normalized text; the same object if it is ASCII.</summary>
    public string Normalize(string text)
    {
        if (Ascii.IsValid(text))
            return text;
        var points = new List<int>(text.Length);
        foreach (Rune rune in text.EnumerateRunes())
            Decompose(rune.Value, points);
        Order(points);
        if (composes)
            Compose(points);
        var result = new StringBuilder(points.Count);
        Span<char> buffer = stackalloc char[2];
        foreach (int point in points)
            result.Append(buffer[..new Rune(point).EncodeToUtf16(buffer)]);
        return result.ToString();
    }

    private static CodePointMap MakeClasses()
    {
        var classes = new byte[CodePointSet.Limit];
        for (int point = 0; point < classes.Length; point++)
            classes[point] = UnicodeData.IsAssigned(point, Unicode) ? UnicodeData.CombiningClass(point) : (byte)0;
        return new CodePointMap(classes);
    }

    private void Decompose(int point, List<int> points)
    {
        int syllable = point - SyllableBase;
        if (point < 0x80)
        {
            points.Add(point);
        }
        else if (syllable is >= 0 and < SyllableCount)
        {
            points.Add(LeadBase + (syllable / (VowelCount * TrailCount)));
            points.Add(VowelBase + (syllable / TrailCount % VowelCount));
            if (syllable % TrailCount != 0)
                points.Add(TrailBase + (syllable % TrailCount));
        }
        else if (decompositions.TryGetValue(point, out int[]? parts))
        {
            points.AddRange(parts);
        }
        else
        {
            points.Add(point);
        }
    }

    /// <summary>Canonical ordering: a stable sort of the marks between two starters by combining class.</summary>
    private static void Order(List<int> points)
    {
        for (int i = 0; i < points.Count; i++)
        {
            if (Classes[points[i]] == 0)
                continue;
            int end = i;
            bool sorted = true;
            for (byte last = 0; end < points.Count && Classes[points[end]] is > 0 and var next; end++)
            {
                sorted &= next >= last;
                last = next;
            }

            if (!sorted)
            {
                int[] ordered = [.. points.GetRange(i, end - i).OrderBy(static point => Classes[point])];
                for (int j = 0; j < ordered.Length; j++)
                    points[i + j] = ordered[j];
            }

            i = end;
        }
    }

    /// <summary>Canonical composition, in place: each character is combined with the last starter unless a character of the same or a higher class is between them.</summary>
    private static void Compose(List<int> points)
    {
        int written = 0, starter = -1;
        byte last = 0;
        for (int i = 0; i < points.Count; i++)
        {
            byte next = Classes[points[i]];
            bool adjacent = starter == written - 1;
            if (starter >= 0 && (adjacent || (last < next && last != 0)) && Pair(points[starter], points[i]) is { } composed)
            {
                points[starter] = composed;
                continue;
            }

            if (next == 0)
                starter = written;
            last = next;
            points[written++] = points[i];
        }

        points.RemoveRange(written, points.Count - written);
    }

    private static int? Pair(int first, int second)
    {
        if (first - LeadBase is >= 0 and < LeadCount and var lead && second - VowelBase is >= 0 and < VowelCount and var vowel)
            return SyllableBase + (((lead * VowelCount) + vowel) * TrailCount);
        if (first - SyllableBase is >= 0 and < SyllableCount and var syllable && syllable % TrailCount == 0 && second - TrailBase is > 0 and < TrailCount and var trail)
            return first + trail;
        return Compositions.Value.TryGetValue((first, second), out int composed) ? composed : null;
    }
}
