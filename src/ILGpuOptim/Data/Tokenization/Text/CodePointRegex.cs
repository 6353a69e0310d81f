using System.Buffers;
using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using static ILGpuOptim.Data.Tokenization.PatternNode;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>
/// A regular expression in Oniguruma's syntax that sees code points, not UTF-16 halves. It is translated for .NET's engine: every set is
/// spelled out, and code points beyond U+FFFF that no set of the pattern tells apart share a stand-in from the range of surrogates, which no
/// text has by itself. A text with surrogate pairs is translated to one char for each code point before it is matched.
/// </summary>
/// <remarks>
/// Matching cannot hang. Patterns are matched by backtracking, which is fast but for rare texts. One that takes too long is matched by .NET's
/// automata, in linear time but about 5 µs a character, unless the pattern has look-around or atomic groups: then it is an error.
/// </remarks>
internal sealed class CodePointRegex
{
    private const int FirstStandIn = 0xD800, StandIns = 0x800;

    /// <summary>After this many characters a pattern is compiled to machine code, which costs about as much as matching them.</summary>
    private const long CompileAfter = 1 << 18;

    /// <summary>Patterns that are kept; reading many damaged files must not fill the memory.</summary>
    private const int MaxCached = 256;

    private static readonly TimeSpan MatchLimit = TimeSpan.FromSeconds(2), TextLimit = TimeSpan.FromSeconds(5), SwitchLimit = TimeSpan.FromSeconds(0.2);

    private static readonly ConcurrentDictionary<string, CodePointRegex> Cache = new();

    private readonly string pattern, translated;
    private readonly int[] bounds;
    private readonly char[] standIns;
    private readonly Lazy<Regex> compiled;
    private readonly Regex interpreted;
    private readonly Regex? automaton;
    private long matched;
    private volatile bool explodes;

    private CodePointRegex(string pattern)
    {
        this.pattern = pattern;
        PatternNode root = PatternParser.Parse(pattern);
        CodePointSet[] sets = [.. root.All.OfType<Characters>().Select(characters => characters.Set).Distinct()];

        // Code points between two bounds belong to the same sets.
        bounds = [.. sets.SelectMany(set => set.Ranges).SelectMany(range => new[] { range.First, range.Last + 1 })
            .Where(point => point is > 0x10000 and < CodePointSet.Limit).Append(0x10000).Distinct().Order()];
        var classes = new Dictionary<string, char>();
        standIns = [.. bounds.Select(point =>
        {
            string key = string.Concat(sets.Select(set => set.Contains(point) ? '1' : '0'));
            if (!classes.TryGetValue(key, out char standIn))
                classes[key] = standIn = (char)(FirstStandIn + classes.Count);
            return standIn;
        })];
        if (classes.Count > StandIns)
            throw Refuse($"has sets that overlap in more than {StandIns} ways, which is not supported");
        var text = new StringBuilder();
        Write(root, text);
        translated = text.ToString();
        automaton = root.All.Any(node => node is Look or Atomic or Anchor { Where: Place.LineStart }) ? null : Automaton(translated);
        interpreted = Build(RegexOptions.None);
        compiled = new(() => Build(RegexOptions.Compiled));
    }

    /// <summary>The regular expression of a pattern, which is built once.</summary>
    /// <exception cref="UserException">The pattern is malformed, or uses what is not supported.</exception>
    public static CodePointRegex Of(string pattern)
    {
        if (Cache.TryGetValue(pattern, out CodePointRegex? known))
            return known;
        if (Cache.Count >= MaxCached)
            Cache.Clear();
        return Cache.GetOrAdd(pattern, static pattern => new(pattern));
    }

    /// <summary>A pattern for a message: cut after 60 characters.</summary>
    public static string Describe(string pattern) => $"\"{(pattern.Length <= 60 ? pattern : pattern[..60] + "…")}\"";

    /// <summary>
    /// Appends the matches of a text from left to right, as offsets of chars. Empty ones count unless they touch the match before.
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

    private void Find(ReadOnlySpan<char> text, ReadOnlySpan<char> translation, List<(int Start, int End)> matches)
    {
        int before = matches.Count;
        if (!explodes)
        {
            Regex regex = Interlocked.Add(ref matched, text.Length) > CompileAfter ? compiled.Value : interpreted;
            if (TryFind(regex, automaton is null ? TextLimit : SwitchLimit + TimeSpan.FromMicroseconds(text.Length), text, translation, matches))
                return;
            matches.RemoveRange(before, matches.Count - before);
            explodes = automaton is not null;
        }

        if (automaton is null || !TryFind(automaton, TextLimit + TimeSpan.FromMicroseconds(10L * text.Length), text, translation, matches))
            throw Refuse($"takes too long on a text of {text.Length:N0} characters; its parts match the same text in very many ways");
    }

    private static bool TryFind(Regex regex, TimeSpan limit, ReadOnlySpan<char> text, ReadOnlySpan<char> translation, List<(int Start, int End)> matches)
    {
        long started = Stopwatch.GetTimestamp();
        int known = 0, offset = 0, last = -1, count = 0;
        bool direct = text.Length == translation.Length;
        try
        {
            foreach (ValueMatch match in regex.EnumerateMatches(translation))
            {
                int end = match.Index + match.Length;
                if ((++count & 0xFF) == 0 && Stopwatch.GetElapsedTime(started) > limit)
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

    /// <summary>The offset of a code point; they are asked for in ascending order.</summary>
    private static int OffsetOf(ReadOnlySpan<char> text, int codePoint, ref int known, ref int offset)
    {
        for (; known < codePoint; known++)
            offset += char.IsHighSurrogate(text[offset]) ? 2 : 1;
        return offset;
    }

    private char StandInOf(int point)
    {
        int index = Array.BinarySearch(bounds, point);
        return standIns[index < 0 ? ~index - 1 : index];
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
                text.Append(plain ? "" : ")").Append(CultureInfo.InvariantCulture, $"{{{repeat.Minimum},{repeat.Maximum}}}").Append(repeat.Lazy ? "?" : "");
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
            .Concat(bounds.Zip(standIns).Where(pair => set.Contains(pair.First)).Select(pair => (First: (int)pair.Second, Last: (int)pair.Second)));
        IReadOnlyList<(int First, int Last)> chars = CodePointSet.Of(ranges).Ranges;
        text.Append(chars.Count == 0 ? @"[^\u0000-\uFFFF" : "[");
        foreach ((int first, int last) in chars)
            text.Append(CultureInfo.InvariantCulture, $"\\u{first:X4}").Append(last == first ? "" : $"-\\u{last:X4}");
        text.Append(']');
    }

    private UserException Refuse(string problem) => new($"the regular expression {Describe(pattern)} {problem}");
}
