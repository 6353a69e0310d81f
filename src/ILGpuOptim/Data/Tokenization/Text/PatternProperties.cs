using System.Collections.Concurrent;

namespace ILGpuOptim.Data.Tokenization;

/// <summary>The named sets of code points in patterns (<c>\p{…}</c>, POSIX brackets, <c>\w</c> …), as Oniguruma defines them.</summary>
internal static class PatternProperties
{
    /// <summary>The Unicode version of the Oniguruma in Hugging Face's library.</summary>
    public static readonly Version Unicode = new(16, 0);

    private static readonly Dictionary<string, string> LongCategories = new()
    {
        ["other"] = "c",
        ["control"] = "cc",
        ["cntrl"] = "cc",
        ["format"] = "cf",
        ["unassigned"] = "cn",
        ["privateuse"] = "co",
        ["surrogate"] = "cs",
        ["letter"] = "l",
        ["casedletter"] = "lc",
        ["lowercaseletter"] = "ll",
        ["modifierletter"] = "lm",
        ["otherletter"] = "lo",
        ["titlecaseletter"] = "lt",
        ["uppercaseletter"] = "lu",
        ["mark"] = "m",
        ["combiningmark"] = "m",
        ["spacingmark"] = "mc",
        ["enclosingmark"] = "me",
        ["nonspacingmark"] = "mn",
        ["number"] = "n",
        ["decimalnumber"] = "nd",
        ["digit"] = "nd",
        ["letternumber"] = "nl",
        ["othernumber"] = "no",
        ["punctuation"] = "p",
        ["punct"] = "p",
        ["connectorpunctuation"] = "pc",
        ["dashpunctuation"] = "pd",
        ["closepunctuation"] = "pe",
        ["finalpunctuation"] = "pf",
        ["initialpunctuation"] = "pi",
        ["otherpunctuation"] = "po",
        ["openpunctuation"] = "ps",
        ["symbol"] = "s",
        ["currencysymbol"] = "sc",
        ["modifiersymbol"] = "sk",
        ["mathsymbol"] = "sm",
        ["othersymbol"] = "so",
        ["separator"] = "z",
        ["lineseparator"] = "zl",
        ["paragraphseparator"] = "zp",
        ["spaceseparator"] = "zs",
    };

    private static readonly HashSet<string> Categories = [.. LongCategories.Values];

    private static readonly Dictionary<string, string> ScriptsByName =
        UnicodeData.ScriptNames.ToDictionary(name => Simplify(name), name => name);

    private static readonly ConcurrentDictionary<string, CodePointSet?> Cache = new();

    /// <summary>Decimal digits, <c>\d</c>.</summary>
    public static CodePointSet Digit => Named("nd")!;

    /// <summary>Hexadecimal digits of ASCII, <c>\h</c>.</summary>
    public static CodePointSet HexadecimalDigit { get; } = CodePointSet.Of([('0', '9'), ('A', 'F'), ('a', 'f')]);

    /// <summary>White space, <c>\s</c>.</summary>
    public static CodePointSet Space => Named("whitespace")!;

    /// <summary>Letters, marks, decimal digits and connecting punctuation, <c>[\w]</c>.</summary>
    public static CodePointSet Word => Named("word")!;

    /// <summary><c>\w</c> outside brackets, where Oniguruma adds the superscript digits and the fractions of Latin-1.</summary>
    public static CodePointSet WordAlone { get; } = Word.Union(CodePointSet.Of([(0xB2, 0xB3), (0xB9, 0xB9), (0xBC, 0xBE)]));

    /// <summary><c>[[:punct:]]</c>: punctuation and symbols, while <c>\p{Punct}</c> is punctuation alone.</summary>
    public static CodePointSet PosixPunctuation => Named("p")!.Union(Named("s")!);

    /// <summary>The set of a property; null if the name is unknown. Case, spaces, hyphens and underscores are ignored.</summary>
    public static CodePointSet? Named(string name) => Cache.GetOrAdd(Simplify(name), Find);

    private static CodePointSet? Find(string name)
    {
        if (LongCategories.TryGetValue(name, out string? category))
            return Named(category);
        if (Categories.Contains(name))
        {
            return CodePointSet.Where(point => UnicodeData.Category(point, Unicode).ToLowerInvariant() is var found
                && (name == "lc" ? found is "lu" or "ll" or "lt" : found.StartsWith(name, StringComparison.Ordinal)));
        }

        if (ScriptsByName.TryGetValue(name, out string? script))
            return CodePointSet.Where(point => UnicodeData.Script(point, Unicode) == script);
        Func<int, bool>? condition = name switch
        {
            "any" => static _ => true,
            "ascii" => static point => point < 0x80,
            "assigned" => static point => UnicodeData.Category(point, Unicode) != "Cn",
            "alpha" or "alphabetic" => static point => UnicodeData.IsAlphabetic(point) && UnicodeData.IsAssigned(point, Unicode),
            "upper" or "uppercase" => static point => UnicodeData.IsUppercase(point) && UnicodeData.IsAssigned(point, Unicode),
            "lower" or "lowercase" => static point => UnicodeData.IsLowercase(point) && UnicodeData.IsAssigned(point, Unicode),
            "space" or "whitespace" => UnicodeData.IsWhiteSpace,
            "blank" => static point => point == '\t' || UnicodeData.Category(point, Unicode) == "Zs",
            "word" => static point => (UnicodeData.IsAlphabetic(point) && UnicodeData.IsAssigned(point, Unicode))
                || UnicodeData.Category(point, Unicode) is "Mn" or "Mc" or "Me" or "Nd" or "Pc",
            "alnum" => static point => (UnicodeData.IsAlphabetic(point) && UnicodeData.IsAssigned(point, Unicode)) || UnicodeData.Category(point, Unicode) == "Nd",
            "graph" => static point => !UnicodeData.IsWhiteSpace(point) && UnicodeData.Category(point, Unicode) is not ("Cc" or "Cn" or "Cs"),
            "print" => static point => UnicodeData.Category(point, Unicode) is not ("Cc" or "Cn" or "Cs" or "Zl" or "Zp"),
            "xdigit" or "asciihexdigit" or "ahex" => HexadecimalDigit.Contains,
            _ => null,
        };
        return condition is null ? null : CodePointSet.Where(condition);
    }

    private static string Simplify(string name) => new([.. name.Where(c => c is not (' ' or '-' or '_')).Select(char.ToLowerInvariant)]);
}
