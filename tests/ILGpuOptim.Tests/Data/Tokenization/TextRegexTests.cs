using System.Diagnostics;
using ILGpuOptim.Data.Tokenization;

namespace ILGpuOptim.Tests.Data.Tokenization;

/// <summary>Regular expressions over code points in Oniguruma's syntax.</summary>
public sealed class TextRegexTests
{
    /// <summary>The patterns of well-known tokenizers: GPT-2, cl100k, o200k, Llama 3, Qwen 2, DeepSeek V3.</summary>
    public static readonly string[] Known =
    [
        PreTokenizers.Gpt2,
        @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        @"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        @"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        @"[!""#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    ];

    [Theory]
    [InlineData(@"\p{L}+", "a\U0001D400𞤀1", "a\U0001D400𞤀")]
    [InlineData(@"\p{Lu}", "A𞤀𞤢a", "A|𞤀")]
    [InlineData(@"\P{L}", "a\U0001F6001", "\U0001F600|1")]
    [InlineData(@"[^\p{L}]", "a\U0001F6001", "\U0001F600|1")]
    [InlineData(@"\p{^L}", "a1", "1")]
    [InlineData(@".", "\U0001F600\n", "\U0001F600")]
    [InlineData(@"(?m:.)", "\n", "\n")]
    [InlineData(@"[\x{1F600}-\x{1F64F}]{2}", "\U0001F600\U0001F601\U0001F602", "\U0001F600\U0001F601")]
    [InlineData(@"\h+", "xyzBEEFg", "BEEF")]
    [InlineData(@"\u0041\x42\t", "AB\t", "AB\t")]
    [InlineData(@"[[:alpha:]&&[^a-f]]+", "abcxyzé1", "xyzé")]
    [InlineData(@"[[:^digit:]]+", "12ab3", "ab")]
    [InlineData(@"[a-c[x-z]]+", "aybq", "ayb")]
    [InlineData(@"[]a]+", "]a[", "]a")]
    [InlineData(@"[a\-z-]+", "-za", "-za")]
    [InlineData(@"\p{Han}+", "中ab𠀀", "中|𠀀")]
    [InlineData(@"\p{White_Space}|\p{greek}", "α\u3000b", "α|\u3000")]
    [InlineData(@"(?i:'s)", "'S'\u017F's'x", "'S|'\u017F|'s")]
    [InlineData(@"(?i)k", "k\u212AK", "k|\u212A|K")]
    [InlineData(@"a(?i)b|c", "aBaCc", "aB|aC")]
    [InlineData(@"(?i:a(?-i:b))", "ABAb", "Ab")]
    [InlineData(@"a++b|a", "aab", "aab")]
    [InlineData(@"a++a|b", "aab", "b")]
    [InlineData(@"(?>a|ab)c|b", "abc", "b")]
    [InlineData(@"(?>a+){2}", "xaay", "")]
    [InlineData(@"(a+++){2}|y", "xaay", "y")]
    [InlineData(@"(?>aa|a){2}", "aab", "")]
    [InlineData(@"(?:a++)?ab", "xaabaab", "ab|ab")]
    [InlineData(@"(a++)*ab", "xaabaab", "ab|ab")]
    [InlineData(@"(?>a|aa)?ab", "xaabaab", "aab|aab")]
    [InlineData(@"((?>a+)b?)+", "aabab", "aabab")]
    [InlineData(@"\R{2}", "\r\n\r\n\n\r", "\r\n\r\n|\n\r")]
    [InlineData(@"[&&a]|b", "ab", "b")]
    [InlineData(@"[^&&a]", "ab", "a|b")]
    [InlineData(@"[a&&]|b", "ab", "b")]
    [InlineData(@"a{2}?", "aaa", "aa|")]
    [InlineData(@"a{1,2}?", "aa", "a|a")]
    [InlineData(@"a{,2}b{x", "aab{xaaab{x", "aab{x|aab{x")]
    [InlineData(@"^.", "a\nb\n", "a|b")]
    [InlineData(@".$", "a\nb\n", "a|b")]
    [InlineData(@"\A.|.\z|.\Z", "a\nb\n", "a|b")]
    [InlineData(@"\b\w+\b", "é\u0301x \U0001D400", "é\u0301x|\U0001D400")]
    [InlineData(@"(?<=a)b|(?<!a)c", "abacc", "b|c")]
    [InlineData(@"(?x: a b # comment
        )", "ab", "ab")]
    [InlineData(@"a(?#note)b", "ab", "ab")]
    [InlineData(@"(?<name>a)(?'n'b)", "ab", "ab")]
    [InlineData(@"\R", "\r\n\n", "\r\n|\n")]
    [InlineData(@"\d", "1\U0001D7CF²", "1|\U0001D7CF")]
    [InlineData(@"\s", "\u000B\u0085\u00A0\u200B", "\u000B|\u0085|\u00A0")]
    [InlineData(@"a|ab", "ab", "a")]
    [InlineData(@"\w", "²a", "²|a")]
    [InlineData(@"[\w]", "²a", "a")]
    [InlineData(@"[[:punct:]]", "$€!", "$|€|!")]
    [InlineData(@"\p{Punct}", "$€!", "!")]
    [InlineData(@"x*", "axb", "|x|")]
    public void MatchesByCodePoints(string pattern, string text, string expected)
    {
        var matches = new List<(int Start, int End)>();
        CodePointRegex.Of(pattern).Find(text, matches);
        Assert.Equal(expected, string.Join('|', matches.Select(match => text[match.Start..match.End])));
    }

    [Theory]
    [InlineData(@"(a)\1", "\\1")]
    [InlineData(@"\k<a>", "\\k")]
    [InlineData(@"\X", "\\X")]
    [InlineData(@"\p{Klingon}", "Klingon")]
    [InlineData(@"\pL", "braces")]
    [InlineData(@"(a", "without its )")]
    [InlineData(@"a)", "without its (")]
    [InlineData(@"[a", "without its ]")]
    [InlineData(@"*a", "nothing to repeat")]
    [InlineData(@"[z-a]", "empty range")]
    [InlineData(@"a{3,2}", "minimum exceeds its maximum")]
    [InlineData(@"a{100001}", "100001")]
    [InlineData(@"\x{110000}", "code point")]
    [InlineData(@"\uD83D", "code point")]
    [InlineData(@"\xE3", "byte")]
    [InlineData(@"(?i:strasse)", "several letters")]
    [InlineData(@"(?i:[ß])", "several")]
    [InlineData(@"(?(1)a|b)", "(?(")]
    [InlineData(@"\b*a", "place")]
    [InlineData(@"a|(^?b)", "place")]
    [InlineData(@"$+", "place")]
    [InlineData(@"\A{2}", "place")]
    [InlineData(@"(?=a)+a", "place")]
    [InlineData(@"(?<!a)?b", "place")]
    [InlineData(@"a\", "ends with")]
    public void RefusesTheRestByName(string pattern, string name) =>
        Assert.Contains(name, Assert.Throws<UserException>(() => CodePointRegex.Of(pattern)).Message);

    [Theory]
    [InlineData("(a+)+$")]
    [InlineData("(a|aa)+b")]
    [InlineData(@"(?=(a+)+b)a")]
    [InlineData(@"(?:a?){50}a{50}(?!\S)x")]
    [InlineData(@"(.*)*(?<=x)y")]
    [InlineData(@"a+$")]
    public void HostilePatternsEnd(string pattern)
    {
        string text = new string('a', 100_000) + "!";
        var watch = Stopwatch.StartNew();
        try
        {
            CodePointRegex.Of(pattern).Find(text, []);
        }
        catch (UserException e)
        {
            Assert.Contains("takes too long", e.Message);
        }

        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(10), watch.Elapsed.ToString());
    }

    /// <summary>A match of a million characters takes .NET's automata seconds, so they are only the second choice.</summary>
    [Theory]
    [InlineData("[^\n]+")]
    [InlineData("[一-龥぀-ゟ゠-ヿ]+|a+")]
    [InlineData(@"\s*[\r\n]+|\w+")]
    public void LongMatchesTakeLittleTime(string pattern)
    {
        var matches = new List<(int Start, int End)>();
        var watch = Stopwatch.StartNew();
        CodePointRegex.Of(pattern).Find(new string('a', 1_000_000), matches);
        Assert.Equal([(0, 1_000_000)], matches);
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(3), watch.Elapsed.ToString());
    }

    public static TheoryData<string> LongPatterns => new(
        "(?i)" + new string('k', 40_000),
        string.Join('|', Enumerable.Repeat("[\U00010000-\U000100FF]", 15_000)),
        string.Concat(Enumerable.Range(0, 20_000).Select(i => char.ConvertFromUtf32(0x20000 + (i % 1500)))),
        "[" + string.Concat(Enumerable.Range(0, 40_000).Select(i => char.ConvertFromUtf32(0x20000 + (2 * i)))) + "]" + string.Concat(Enumerable.Repeat("\U00010000", 20_000)));

    [Theory]
    [MemberData(nameof(LongPatterns))]
    public void LongPatternsAreReadInLinearTime(string pattern)
    {
        var watch = Stopwatch.StartNew();
        CodePointRegex.Of(pattern);
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(10), watch.Elapsed.ToString());
    }

    [Fact]
    public void TooManyOverlapsAreRefusedAtOnce()
    {
        string pattern = string.Concat(Enumerable.Range(0, 40_000).Select(i => char.ConvertFromUtf32(0x20000 + (2 * i))));
        var watch = Stopwatch.StartNew();
        Assert.Contains("overlap", Assert.Throws<UserException>(() => CodePointRegex.Of(pattern)).Message);
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(10), watch.Elapsed.ToString());
    }

    [Fact]
    public void LongTextsMayTakeLonger() =>
        Assert.Equal([5, 7, 2005], new[] { 0, 1_000_000, 1_000_000_000 }.Select(length => CodePointRegex.TimeLimit(length, 2).TotalSeconds));

    [Fact]
    public void DeepNestingIsRefused() =>
        Assert.Contains("nested", Assert.Throws<UserException>(() => CodePointRegex.Of(new string('(', 50_000) + new string('[', 10_000))).Message);
}
