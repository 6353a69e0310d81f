using System.Globalization;
using static ILGpuOptim.Data.Tokenization.PatternNode;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>
/// Parses regular expressions in Oniguruma's syntax, as used in <c>tokenizer.json</c>. Groups do not capture, since nothing refers to them.
/// Unsupported features (back references, calls, absence operators, …) are refused by name.
/// </summary>
internal sealed partial class PatternParser
{
    /// <summary>The maximum length of a pattern in code points.</summary>
    private const int MaxLength = 100_000;

    /// <summary>The maximum nesting depth of groups.</summary>
    private const int MaxDepth = 250;

    /// <summary>The maximum number of repetitions.</summary>
    private const int MaxRepeat = 100_000;

    private static readonly CodePointSet NewLine = CodePointSet.Of('\n');

    private readonly string pattern;
    private readonly int[] points;
    private int position, depth;

    private PatternParser(string pattern)
    {
        this.pattern = pattern;
        points = [.. pattern.EnumerateRunes().Select(rune => rune.Value)];
        if (points.Length > MaxLength)
            throw Refuse($"is longer than {MaxLength:N0} characters");
    }

    [Flags]
    private enum Options
    {
        None = 0,
        IgnoreCase = 1,
        DotMatchesLine = 2,
        Extended = 4,
    }

    /// <summary>Parses a pattern.</summary>
    /// <exception cref="UserException">The pattern is malformed, or uses an unsupported feature.</exception>
    public static PatternNode Parse(string pattern)
    {
        var parser = new PatternParser(pattern);
        PatternNode result = parser.Alternatives(Options.None);
        return parser.position == parser.points.Length ? result : throw parser.Refuse("has a ) without its (");
    }

    private PatternNode Alternatives(Options options)
    {
        if (++depth > MaxDepth)
            throw Refuse($"is nested more than {MaxDepth} deep");
        var alternatives = new List<PatternNode> { Branch(options) };
        while (Take('|'))
            alternatives.Add(Branch(options));
        depth--;
        return alternatives.Count == 1 ? alternatives[0] : new Choice(alternatives);
    }

    private PatternNode Branch(Options options)
    {
        var parts = new List<PatternNode>();
        var literals = new List<int>();
        while (position < points.Length && points[position] is not ('|' or ')'))
        {
            if (options.HasFlag(Options.Extended) && SkipExtended())
                continue;
            if (IsolatedOptions(options) is { } changed)
            {
                // The new options apply to the end of the group, including further alternatives.
                parts.Add(Alternatives(changed));
                break;
            }

            bool isPlace = IsPlace();
            (PatternNode? atom, int? literal) = Atom(options);
            if (atom is null)
                continue;
            PatternNode repeated = Quantified(atom, options);
            if (isPlace && !ReferenceEquals(repeated, atom))
                throw Refuse($"repeats a place (an anchor, a boundary or look-around) before character {position + 1}, which Oniguruma does not");
            if (literal is { } character && options.HasFlag(Options.IgnoreCase))
            {
                // No code point folds to more than three.
                if (literals.Count == 3)
                    literals.RemoveAt(0);
                literals.Add(character);
                if (CaseFolding.HoldsFullFolding(literals))
                    throw Refuse($"ignores case where several letters equal one (as ss and ß), which is not supported, before character {position + 1}");
            }

            if (literal is null || !ReferenceEquals(repeated, atom))
                literals.Clear();
            parts.Add(repeated);
        }

        return parts.Count == 1 ? parts[0] : new Sequence(parts);
    }

    /// <summary>True if an anchor, a boundary or look-around follows.</summary>
    private bool IsPlace()
    {
        ReadOnlySpan<int> rest = points.AsSpan(position);
        return rest is ['^' or '$', ..] or ['\\', 'b' or 'B' or 'A' or 'z' or 'Z', ..] or ['(', '?', '=' or '!', ..] or ['(', '?', '<', '=' or '!', ..];
    }

    /// <summary>Parses one element. The literal is its character, or null; the node is null for a comment.</summary>
    private (PatternNode? Node, int? Literal) Atom(Options options)
    {
        int next = points[position++];
        switch (next)
        {
            case '(':
                return (Group(options), null);
            case '[':
                return (new Characters(CharacterClass(options)), null);
            case '.':
                return (new Characters(options.HasFlag(Options.DotMatchesLine) ? CodePointSet.All : NewLine.Negate()), null);
            case '^':
                return (new Anchor(Place.LineStart), null);
            case '$':
                return (new Anchor(Place.LineEnd), null);
            case '*' or '+' or '?':
                throw Refuse($"has nothing to repeat before character {position}");
            case '\\':
                return Escape(options);
            default:
                return (Literal(next, options), next);
        }
    }

    private Characters Literal(int point, Options options)
    {
        if (!options.HasFlag(Options.IgnoreCase))
            return new Characters(CodePointSet.Of(point));
        if (CaseFolding.HasFullFolding(point))
            throw Refuse($"ignores the case of {char.ConvertFromUtf32(point)}, which equals several letters; this is not supported");
        return new Characters(CaseFolding.Close(point));
    }

    private (PatternNode Node, int? Literal) Escape(Options options)
    {
        if (position == points.Length)
            throw Refuse("ends with \\");
        switch (points[position])
        {
            case 'A': return Anchored(Place.Start);
            case 'z': return Anchored(Place.End);
            case 'Z': return Anchored(Place.EndOrLastLine);
            case 'b': position++; return (Boundary(negative: false), null);
            case 'B': position++; return (Boundary(negative: true), null);
            case 'N': position++; return (new Characters(NewLine.Negate()), null);
            case 'O': position++; return (new Characters(CodePointSet.All), null);
            case 'R':
                position++;
                return (new Atomic(new Choice([new Sequence([new Characters(CodePointSet.Of('\r')), new Characters(NewLine)]),
                    new Characters(CodePointSet.Of([('\n', '\r'), (0x85, 0x85), (0x2028, 0x2029)]))])), null);
        }

        if (EscapedSet(inClass: false) is { } set)
            return (new Characters(set), null);
        int point = EscapedCharacter();
        return (Literal(point, options), point);

        (PatternNode, int?) Anchored(Place where)
        {
            position++;
            return (new Anchor(where), null);
        }
    }

    private static Choice Boundary(bool negative)
    {
        var word = new Characters(PatternProperties.WordAlone);
        return new([Both(false, negative), Both(true, !negative)]);

        Sequence Both(bool notBehind, bool notAhead) => new([new Look(word, Behind: true, notBehind), new Look(word, Behind: false, !notAhead)]);
    }

    private PatternNode? Group(Options options)
    {
        if (!Take('?'))
            return Closed(Alternatives(options));
        if (Take('#'))
        {
            int end = Array.IndexOf(points, ')', position);
            position = end < 0 ? throw Refuse("has a comment without its )") : end + 1;
            return null;
        }

        if (Take(':'))
            return Closed(Alternatives(options));
        if (Take('>'))
            return new Atomic(Closed(Alternatives(options)));
        bool behind = position + 1 < points.Length && points[position] == '<' && points[position + 1] is '=' or '!';
        if (behind)
            position++;
        if (Take('='))
            return new Look(Closed(Alternatives(options)), behind, Negative: false);
        if (Take('!'))
            return new Look(Closed(Alternatives(options)), behind, Negative: true);
        if (position < points.Length && points[position] is '<' or '\'')
        {
            int end = Array.IndexOf(points, points[position] == '<' ? '>' : '\'', position + 1);
            position = end < 0 ? throw Refuse("has a group without the end of its name") : end + 1;
            return Closed(Alternatives(options));
        }

        Options inner = OptionLetters(options);
        return Take(':') ? Closed(Alternatives(inner))
            : throw Refuse($"has (?{(position < points.Length ? char.ConvertFromUtf32(points[position]) : "")} at character {position + 1}, which is not supported");
    }

    private PatternNode Closed(PatternNode node) => Take(')') ? node : throw Refuse("has a ( without its )");

    /// <summary>Parses an isolated option such as <c>(?i)</c> and returns the new options; null if there is none, with nothing consumed.</summary>
    private Options? IsolatedOptions(Options options)
    {
        int start = position;
        if (Take('(') && Take('?'))
        {
            Options changed = OptionLetters(options);
            if (position > start + 2 && Take(')'))
                return changed;
        }

        position = start;
        return null;
    }

    private Options OptionLetters(Options options)
    {
        for (bool off = false; position < points.Length; position++)
        {
            Options option = points[position] switch
            {
                'i' => Options.IgnoreCase,
                'm' => Options.DotMatchesLine,
                'x' => Options.Extended,
                _ => Options.None,
            };
            if (points[position] == '-' && !off)
                off = true;
            else if (option == Options.None)
                break;
            else
                options = off ? options & ~option : options | option;
        }

        return options;
    }

    private PatternNode Quantified(PatternNode node, Options options)
    {
        while (position < points.Length)
        {
            if (options.HasFlag(Options.Extended) && SkipExtended())
                continue;
            (int Minimum, int? Maximum, bool Comma)? interval = null;
            (int Minimum, int? Maximum)? found = Take('*') ? (0, null) : Take('+') ? (1, null) : Take('?') ? (0, 1) : null;
            if (found is null && (interval = Interval()) is { } range)
                found = (range.Minimum, range.Maximum);
            if (found is not { } count)
                break;

            // After {n}, ? is a quantifier, not laziness; after any interval, + is a quantifier, not possessiveness.
            bool lazy = (interval is null || interval.Value.Comma) && Take('?');
            node = new Repeat(node, count.Minimum, count.Maximum, lazy);
            if (interval is null && !lazy && Take('+'))
                node = new Atomic(node);
        }

        return node;
    }

    /// <summary>Parses an interval in braces; null if the brace is a literal, with nothing consumed.</summary>
    private (int Minimum, int? Maximum, bool Comma)? Interval()
    {
        int start = position;
        if (Take('{'))
        {
            int? minimum = Count();
            bool comma = Take(',');
            int? maximum = comma ? Count() : minimum;
            if (Take('}') && (minimum ?? maximum) is not null)
            {
                if (minimum > maximum)
                    throw Refuse($"has an interval whose minimum exceeds its maximum before character {position + 1}");
                return (minimum ?? 0, maximum, comma);
            }
        }

        position = start;
        return null;
    }

    private int? Count()
    {
        int start = position;
        while (position < points.Length && points[position] is >= '0' and <= '9')
            position++;
        if (position == start)
            return null;
        string digits = string.Concat(points[start..position].Select(point => (char)point));
        return int.TryParse(digits, NumberStyles.None, CultureInfo.InvariantCulture, out int count) && count <= MaxRepeat
            ? count : throw Refuse($"repeats {digits} times; at most {MaxRepeat} are supported");
    }

    /// <summary>Skips white space or a comment of an extended pattern.</summary>
    private bool SkipExtended()
    {
        if (points[position] == '#')
        {
            int end = Array.IndexOf(points, '\n', position);
            position = end < 0 ? points.Length : end + 1;
            return true;
        }

        if (points[position] is not (' ' or (>= '\t' and <= '\r')))
            return false;
        position++;
        return true;
    }

    private bool Take(int character)
    {
        if (position == points.Length || points[position] != character)
            return false;
        position++;
        return true;
    }

    private UserException Refuse(string problem) => new($"the regular expression {CodePointRegex.Describe(pattern)} {problem}");
}
