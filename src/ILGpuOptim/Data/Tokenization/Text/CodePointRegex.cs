using System.Buffers;
using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;
using static ILGpuOptim.Data.Tokenization.PatternNode;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>
/// A regular expression in Oniguruma's syntax that matches code points, not UTF-16 units. It is translated to .NET's syntax: every set is
/// written as explicit ranges, and code points above U+FFFF that belong to the same sets of the pattern share a stand-in from the surrogate
/// range, which valid text does not use. A text with surrogate pairs is translated to one char per code point before matching.
/// </summary>
/// <remarks>
/// Matching time is bounded. Patterns are matched by backtracking, which is fast for almost all texts. After a time limit, .NET's automaton is
/// used, which takes linear time but about 5 µs per character. A pattern with look-around or atomic groups has no automaton; it fails instead.
/// </remarks>
internal sealed class CodePointRegex
{
    private const int FirstStandIn = 0xD800, StandIns = 0x800;

    /// <summary>The number of characters after which a pattern is compiled to machine code, which takes about as long as matching them.</summary>
    private const long CompileAfter = 1 << 18;

    /// <summary>The size limit of the cache: reading many damaged files must not fill the memory.</summary>
    private const int MaxCached = 256;

    private static readonly TimeSpan MatchLimit = TimeSpan.FromSeconds(2), SwitchLimit = TimeSpan.FromSeconds(0.2);

    private static readonly ConcurrentDictionary<string, CodePointRegex> Cache = new();

    private readonly string pattern, translated;
    private readonly int[] bounds;
    private readonly char[] standIns;

    /// <summary>The stand-ins, with one code point of each.</summary>
    private readonly (char StandIn, int Point)[] classes;
    private readonly Lazy<Regex> compiled;
    private readonly Regex interpreted;
    private readonly Regex? automaton;
    private long matched;
    private volatile bool isSlow;

    private CodePointRegex(string pattern)
    {
        this.pattern = pattern;
        PatternNode root = PatternParser.Parse(pattern);
        CodePointSet[] sets = [.. root.All.OfType<Characters>().Select(characters => characters.Set).Distinct()];

        // All code points between two bounds belong to the same sets.
        bounds = [.. sets.SelectMany(set => set.Ranges).SelectMany(range => new[] { range.First, range.Last + 1 })
            .Where(point => point is > 0x10000 and < CodePointSet.Limit).Append(0x10000).Distinct().Order()];
        standIns = StandInsOf(sets);
        classes = [.. standIns.Select((standIn, i) => (standIn, bounds[i])).DistinctBy(pair => pair.standIn)];
        var text = new StringBuilder();
        Write(root, text);
        translated = text.ToString();
        automaton = root.All.Any(node => node is Look or Atomic or Anchor { Where: Place.LineStart }) ? null : Automaton(translated);
        interpreted = Build(RegexOptions.None);
        compiled = new(() => Build(RegexOptions.Compiled));
    }

    /// <summary>The regular expression of a pattern, built once and cached.</summary>
    /// <exception cref="UserException">The pattern is malformed, or uses an unsupported feature.</exception>
    public static CodePointRegex Of(string pattern)
    {
        if (Cache.TryGetValue(pattern, out CodePointRegex? known))
            return known;
        if (Cache.Count >= MaxCached)
            Cache.Clear();
        return Cache.GetOrAdd(pattern, static pattern => new(pattern));
    }

    /// <summary>A pattern for a message, truncated after 60 characters.</summary>
    public static string Describe(string pattern) => $"\"{(pattern.Length <= 60 ? pattern : pattern[..60] + "…")}\"";

    /// <summary>
    /// Appends the matches of a text from left to right, as char offsets. An empty match directly after another match is skipped.
    /// </summary>
    /// <exception cref="UserException">Matching takes too long.</exception>
    public void Find(ReadOnlySpan<char> text, List<(int Start, int End)> matches)
    {
        if (text.IndexOfAnyInRange('\uD800', '\uDFFF') < 0)
        {
            Find(text, text, matches);
            return;
        }

        char[] translation = ArrayPool<char>.Shared.Rent(text.Length);
        int length = 0;
        foreach (Rune rune in text.EnumerateRunes())
            translation[length++] = rune.IsBmp ? (char)rune.Value : StandInOf(rune.Value);
        Find(text, translation.AsSpan(0, length), matches);
        ArrayPool<char>.Shared.Return(translation);
    }

    /// <summary>The time limit for all matches of a text.</summary>
    /// <param name="length">The length of the text; training and evaluation encode a whole text at once.</param>
    /// <param name="microseconds">Microseconds per character.</param>
    public static TimeSpan TimeLimit(int length, int microseconds) => TimeSpan.FromSeconds(5) + TimeSpan.FromMicroseconds((long)microseconds * length);

    private void Find(ReadOnlySpan<char> text, ReadOnlySpan<char> translation, List<(int Start, int End)> matches)
    {
        int before = matches.Count;
        if (!isSlow)
        {
            Regex regex = Interlocked.Add(ref matched, text.Length) > CompileAfter ? compiled.Value : interpreted;
            if (TryFind(regex, automaton is null ? TimeLimit(text.Length, 2) : SwitchLimit + TimeSpan.FromMicroseconds(text.Length), text, translation, matches))
                return;
            matches.RemoveRange(before, matches.Count - before);
            isSlow = automaton is not null;
        }

        if (automaton is null || !TryFind(automaton, TimeLimit(text.Length, 10), text, translation, matches))
            throw Refuse($"takes too long on a text of {text.Length:N0} characters; its parts match the same text in very many ways");
    }

    private static bool TryFind(Regex regex, TimeSpan limit, ReadOnlySpan<char> text, ReadOnlySpan<char> translation, List<(int Start, int End)> matches)
    {
        long deadline = Environment.TickCount64 + (long)limit.TotalMilliseconds;
        int known = 0, offset = 0, last = -1;
        bool direct = text.Length == translation.Length;
        try
        {
            foreach (ValueMatch match in regex.EnumerateMatches(translation))
            {
                int end = match.Index + match.Length;
                if (Environment.TickCount64 > deadline)
                    return false;
                if (match.Length == 0 && end == last)
                    continue;
                matches.Add(direct ? (match.Index, end) : (OffsetOf(text, match.Index, ref known, ref offset), OffsetOf(text, end, ref known, ref offset)));
                last = end;
            }

            return true;
        }
        catch (RegexMatchTimeoutException)
        {
            return false;
        }
    }

    /// <summary>The char offset of a code point; must be called in ascending order.</summary>
    private static int OffsetOf(ReadOnlySpan<char> text, int codePoint, ref int known, ref int offset)
    {
        for (; known < codePoint; known++)
            offset += char.IsHighSurrogate(text[offset]) ? 2 : 1;
        return offset;
    }

    /// <summary>
    /// The stand-ins of <see cref="bounds"/>: one for each combination of sets. A combination is identified by the exclusive or of random
    /// 128-bit numbers, one for each set, so time is linear in the number of ranges.
    /// </summary>
    private char[] StandInsOf(CodePointSet[] sets)
    {
        var random = new byte[16];
        var changes = new UInt128[bounds.Length + 1];
        foreach (CodePointSet set in sets)
        {
            RandomNumberGenerator.Fill(random);
            UInt128 number = BinaryPrimitives.ReadUInt128LittleEndian(random);
            foreach ((int first, int last) in set.Ranges.Where(range => range.Last >= bounds[0]))
            {
                changes[IndexOf(Math.Max(first, bounds[0]))] ^= number;
                changes[last + 1 == CodePointSet.Limit ? bounds.Length : IndexOf(last + 1)] ^= number;
            }
        }

        var known = new Dictionary<UInt128, char>();
        var result = new char[bounds.Length];
        UInt128 key = 0;
        for (int i = 0; i < result.Length; i++)
        {
            key ^= changes[i];
            if (!known.TryGetValue(key, out result[i]))
            {
                if (known.Count == StandIns)
                    throw Refuse($"has sets that overlap in more than {StandIns} ways, which is not supported");
                known[key] = result[i] = (char)(FirstStandIn + known.Count);
            }
        }

        return result;
    }

    private char StandInOf(int point) => standIns[IndexOf(point)];

    /// <summary>The index of the last bound at or below a code point.</summary>
    private int IndexOf(int point)
    {
        int index = Array.BinarySearch(bounds, point);
        return index < 0 ? ~index - 1 : index;
    }

    private static Regex? Automaton(string translated)
    {
        try
        {
            return new Regex(translated, RegexOptions.CultureInvariant | RegexOptions.NonBacktracking);
        }
        catch (NotSupportedException)
        {
            // The automaton would be too large.
            return null;
        }
    }

    private Regex Build(RegexOptions options) => new(translated, options | RegexOptions.CultureInvariant, automaton is null ? MatchLimit : SwitchLimit);

    private void Write(PatternNode node, StringBuilder text)
    {
        switch (node)
        {
            case Characters characters:
                WriteSet(characters.Set, text);
                break;
            case Sequence sequence:
                foreach (PatternNode part in sequence.Parts)
                    Write(part, text);
                break;
            case Choice choice:
                text.Append("(?:");
                for (int i = 0; i < choice.Alternatives.Count; i++)
                    Write(choice.Alternatives[i], i == 0 ? text : text.Append('|'));
                text.Append(')');
                break;
            case Repeat repeat:
                bool plain = repeat.Body is Characters;
                Write(repeat.Body, plain ? text : text.Append("(?:"));
                // .NET makes one loop of a repeated atomic loop, as if (?>a+)? were (?>a*); what always holds behind it prevents that.
                text.Append(repeat.Body.All.Any(node => node is Atomic) ? @"(?=[\u0000-\uFFFF]|\z)" : "").Append(plain ? "" : ")").Append(CultureInfo.InvariantCulture, $"{{{repeat.Minimum},{repeat.Maximum}}}").Append(repeat.Lazy ? "?" : "");
                break;
            case Atomic atomic:
                Write(atomic.Body, text.Append("(?>"));
                text.Append(')');
                break;
            case Look look:
                Write(look.Body, text.Append("(?").Append(look.Behind ? "<" : "").Append(look.Negative ? '!' : '='));
                text.Append(')');
                break;
            case Anchor anchor:
                text.Append(anchor.Where switch
                {
                    Place.LineStart => @"(?:(?m:^)(?!\z))",
                    Place.LineEnd => "(?m:$)",
                    Place.Start => @"\A",
                    Place.End => @"\z",
                    _ => @"\Z",
                });
                break;
        }
    }

    private void WriteSet(CodePointSet set, StringBuilder text)
    {
        var ranges = set.Ranges.Where(range => range.First < FirstStandIn).Select(range => (range.First, Last: Math.Min(range.Last, FirstStandIn - 1)))
            .Concat(set.Ranges.Where(range => range.First <= 0xFFFF && range.Last >= FirstStandIn + StandIns)
                .Select(range => (First: Math.Max(range.First, FirstStandIn + StandIns), Last: Math.Min(range.Last, 0xFFFF))))
            .Concat(classes.Where(pair => set.Contains(pair.Point)).Select(pair => (First: (int)pair.StandIn, Last: (int)pair.StandIn)));
        IReadOnlyList<(int First, int Last)> chars = CodePointSet.Of(ranges).Ranges;
        text.Append(chars.Count == 0 ? @"[^\u0000-\uFFFF" : "[");
        foreach ((int first, int last) in chars)
            text.Append(CultureInfo.InvariantCulture, $"\\u{first:X4}").Append(last == first ? "" : $"-\\u{last:X4}");
        text.Append(']');
    }

    private UserException Refuse(string problem) => new($"the regular expression {Describe(pattern)} {problem}");
}
