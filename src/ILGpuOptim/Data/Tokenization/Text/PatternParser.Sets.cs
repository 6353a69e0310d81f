using static ILGpuOptim.Data.Tokenization.PatternNode;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>Parses escapes and character classes.</summary>
internal sealed partial class PatternParser
{
    /// <summary>Parses an escape for a set, after its backslash; null if it is not one.</summary>
    private CodePointSet? EscapedSet(bool inClass)
    {
        int letter = points[position];
        if (letter is 'p' or 'P')
        {
            position++;
            return Property(letter == 'P', inClass);
        }

        CodePointSet? set = letter switch
        {
            'd' or 'D' => PatternProperties.Digit,
            'h' or 'H' => PatternProperties.HexadecimalDigit,
            's' or 'S' => PatternProperties.Space,
            'w' or 'W' => inClass ? PatternProperties.Word : PatternProperties.WordAlone,
            _ => null,
        };
        if (set is null)
            return null;
        position++;
        return letter < 'a' ? set.Negate() : set;
    }

    private CodePointSet Property(bool negative, bool inClass)
    {
        int end = Array.IndexOf(points, '}', position);
        if (!Take('{') || end < 0)
            throw Refuse($"has \\p without a name in braces before character {position + 1}");
        negative ^= Take('^');
        string name = string.Concat(points[position..end].Select(char.ConvertFromUtf32));
        position = end + 1;
        CodePointSet set = PatternProperties.Named(name) ?? throw Refuse($"names the property \"{name}\", which is not supported");
        if (!inClass && ReferenceEquals(set, PatternProperties.Word))
            set = PatternProperties.WordAlone;
        return negative ? set.Negate() : set;
    }

    /// <summary>Parses an escape for one character, after its backslash.</summary>
    private int EscapedCharacter()
    {
        int letter = points[position++];
        switch (letter)
        {
            case 't': return '\t';
            case 'n': return '\n';
            case 'r': return '\r';
            case 'f': return '\f';
            case 'v': return '\v';
            case 'a': return '\a';
            case 'e': return 0x1B;
            case 'u': return Digits(16, 4, 4);
            case '0': return Digits(8, 0, 2);
            case 'x' when Take('{'):
                int value = Digits(16, 1, 6);
                return Take('}') ? value : throw Refuse($"has \\x{{ without }} before character {position + 1}");
            case 'x':
                value = Digits(16, 1, 2);
                return value < 0x80 ? value : throw Refuse($"has the byte \\x{value:x2} before character {position + 1}; write \\x{{…}} for a character");
            case (>= '1' and <= '9') or (>= 'a' and <= 'z') or (>= 'A' and <= 'Z'):
                throw Refuse($"has \\{(char)letter} before character {position + 1}, which is not supported");
            default:
                return letter;
        }
    }

    private int Digits(int radix, int minimum, int maximum)
    {
        int start = position, value = 0;
        while (position < points.Length && position - start < maximum && points[position] < 0x80
            && char.IsAsciiHexDigit((char)points[position]) && Convert.ToInt32(((char)points[position]).ToString(), 16) is var digit && digit < radix)
        {
            value = (value * radix) + digit;
            position++;
        }

        if (position - start < minimum || value >= CodePointSet.Limit || value is >= 0xD800 and <= 0xDFFF)
            throw Refuse($"has no code point before character {position + 1}");
        return value;
    }

    /// <summary>Parses a character class, after its opening bracket.</summary>
    private CodePointSet CharacterClass(Options options)
    {
        if (++depth > MaxDepth)
            throw Refuse($"is nested more than {MaxDepth} deep");
        bool negative = Take('^');
        CodePointSet? left = null;
        var items = new HashSet<CodePointSet>();
        bool first = true;
        while (true)
        {
            if (position == points.Length)
                throw Refuse("has a [ without its ]");
            if (Take(']'))
            {
                if (!first)
                    break;
                if (Array.IndexOf(points, ']', position) < 0)
                    throw Refuse("has an empty []");
                position--;
            }

            if (position + 1 < points.Length && points[position] == '&' && points[position + 1] == '&')
            {
                position += 2;
                left = Intersection();
                items.Clear();
                first = false;
                continue;
            }

            items.Add(ClassItem(options));
            first = false;
        }

        depth--;
        CodePointSet set = Intersection();
        if (options.HasFlag(Options.IgnoreCase))
        {
            if (!negative && CaseFolding.HasFullFolding(set))
                throw Refuse("ignores the case of a set in which one letter equals several (as ß and ss), which is not supported");
            set = CaseFolding.Close(set);
        }

        return negative ? set.Negate() : set;

        CodePointSet Intersection()
        {
            CodePointSet union = CodePointSet.Of(items.SelectMany(item => item.Ranges));
            return left is null ? union : left.Intersect(union);
        }
    }

    private CodePointSet ClassItem(Options options)
    {
        int next = points[position++];
        if (next == '[')
            return PosixBracket() ?? CharacterClass(options);
        if (next == '\\')
        {
            if (position == points.Length)
                throw Refuse("ends with \\");
            if (EscapedSet(inClass: true) is { } escaped)
                return escaped;
            next = ClassCharacter();
        }

        // A hyphen at the end, or before an intersection, is a literal.
        if (position + 1 >= points.Length || points[position] != '-' || points[position + 1] == ']')
            return CodePointSet.Of(next);
        int hyphen = position++;
        int last = points[position++];
        if (last == '\\')
        {
            if (position < points.Length && EscapedSet(inClass: true) is { } after)
                return after.Union(CodePointSet.Of(next)).Union(CodePointSet.Of('-'));
            last = position < points.Length ? ClassCharacter() : throw Refuse("ends with \\");
        }
        else if (last == '[' || (last == '&' && position < points.Length && points[position] == '&'))
        {
            position = hyphen + 1;
            return CodePointSet.Of(next).Union(CodePointSet.Of('-'));
        }

        return next <= last ? CodePointSet.Of(next, last) : throw Refuse($"has an empty range before character {position + 1}");
    }

    private int ClassCharacter() => Take('b') ? '\b' : EscapedCharacter();

    /// <summary>Parses a POSIX bracket such as <c>[:alpha:]</c>, after its opening bracket; null if there is none, with nothing consumed.</summary>
    private CodePointSet? PosixBracket()
    {
        int start = position;
        if (Take(':'))
        {
            bool negative = Take('^');
            int from = position;
            while (position < points.Length && points[position] is >= 'a' and <= 'z')
                position++;
            string name = string.Concat(points[from..position].Select(point => (char)point));
            if (name.Length > 0 && Take(':') && Take(']'))
            {
                CodePointSet set = name is "alnum" or "alpha" or "ascii" or "blank" or "cntrl" or "digit" or "graph" or "lower" or "print" or "punct"
                    or "space" or "upper" or "word" or "xdigit" ? name == "punct" ? PatternProperties.PosixPunctuation : PatternProperties.Named(name)!
                    : throw Refuse($"names the set [:{name}:], which is not supported");
                return negative ? set.Negate() : set;
            }
        }

        position = start;
        return null;
    }
}
