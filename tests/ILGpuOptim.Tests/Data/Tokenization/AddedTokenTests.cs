using System.Diagnostics;
using ILGpuOptim.Data.Tokenization;

namespace ILGpuOptim.Tests.Data.Tokenization;

/// <summary>Added tokens in texts. A part is written as the id and the text that it takes.</summary>
public sealed class AddedTokenTests
{
    private sealed class LowerCase : INormalizer
    {
        public string Normalize(string text) => text.ToLowerInvariant();
    }

    private sealed class Nothing : INormalizer
    {
        public string Normalize(string text) => "";
    }

    private static string Split(string text, params AddedToken[] tokens) => Show(text, new AddedTokens(tokens, null, "test").InText.Split(text));

    private static string Show(string text, IEnumerable<AddedTokenSegment> parts) => string.Join('|', parts.Select(part => $"{part.Id}:{text[part.Start..part.End]}"));

    [Theory]
    [InlineData("t_123t_12t_1", "3:t_123|2:t_12|1:t_1")]
    [InlineData("xt_1234", ":x|3:t_123|:4")]
    [InlineData("t_t_1", ":t_|1:t_1")]
    [InlineData("", "")]
    [InlineData("abcd", "5:abcd")]
    [InlineData("abce", ":a|4:bc|:e")]
    public void TheLeftmostAndOfTheseTheLongestIsTaken(string text, string parts) =>
        Assert.Equal(parts, Split(text, new(1, "t_1"), new(2, "t_12"), new(3, "t_123"), new(4, "bc"), new(5, "abcd")));

    /// <summary>Letters, marks, digits, connectors and joiners are parts of words, also beyond the first plane.</summary>
    [Theory]
    [InlineData("a", true)]
    [InlineData("\u00E9", true)]
    [InlineData("\u0301", true)]
    [InlineData("_", true)]
    [InlineData("7", true)]
    [InlineData("\u200D", true)]
    [InlineData("\u24B6", true)]
    [InlineData("\U0001E900", true)]
    [InlineData("\u00BD", false)]
    [InlineData("-", false)]
    [InlineData("\U0001F600", false)]
    [InlineData(" ", false)]
    public void SingleWordsStandAlone(string beside, bool isWord)
    {
        var token = new AddedToken(9, "<w>") { SingleWord = true };
        Assert.Equal(isWord ? $":{beside}<w>" : $":{beside}|9:<w>", Split(beside + "<w>", token));
        Assert.Equal(isWord ? $":<w>{beside}" : $"9:<w>|:{beside}", Split("<w>" + beside, token));
    }

    [Fact]
    public void WhiteSpaceIsStripped()
    {
        var left = new AddedToken(1, "<l>") { LeftStrip = true };
        var right = new AddedToken(2, "<r>") { RightStrip = true };
        Assert.Equal(":a|1: \t\u3000<l>|: b", Split("a \t\u3000<l> b", left));
        Assert.Equal(":a |2:<r> \n\u2003|:b", Split("a <r> \n\u2003b", right));
        Assert.Equal("2:<r>  |1:<l>", Split("<r>  <l>", left, right));
        Assert.Equal("1: <l>|1:  <l>|: ", Split(" <l>  <l> ", left));
    }

    /// <summary>As in Hugging Face's library, white space that a token has stripped is no other token.</summary>
    [Theory]
    [InlineData("a<r>  b", ":a|2:<r>  |:b")]
    [InlineData("a<r>    b", ":a|2:<r>    |:b")]
    [InlineData("a<r>b  c", ":a|2:<r>|:b|1:  |:c")]
    public void StrippedWhiteSpaceIsTakenOnce(string text, string parts) =>
        Assert.Equal(parts, Split(text, new(1, "  ") { LeftStrip = true }, new(2, "<r>") { RightStrip = true }));

    [Fact]
    public void NormalizedTokensAreSoughtInNormalizedText()
    {
        var tokens = new AddedTokens([new(1, "<A>") { Normalized = true }, new(2, "<B>")], new LowerCase(), "test");
        Assert.Equal(":<a><A>|2:<B>|:<b>", Show("<a><A><B><b>", tokens.InText.Split("<a><A><B><b>")));
        Assert.Equal("1:<a>|1:<a>", Show("<a><a>", tokens.InNormalizedText.Split("<a><a>")));
        Assert.Equal((2, 1, "<B>", 3), (tokens.IdOf("<B>"), tokens.IdOf("<A>"), tokens.TokenOf(2), tokens.Size));
    }

    [Fact]
    public void ContradictionsAreNamed()
    {
        Assert.Contains("\"a\" appears twice", Assert.Throws<UserException>(() => Split("", new(1, "a"), new(2, "a"))).Message);
        Assert.Contains("same id 1", Assert.Throws<UserException>(() => Split("", new(1, "a"), new(1, "b"))).Message);
        Assert.Contains("16777216", Assert.Throws<UserException>(() => Split("", new AddedToken(1 << 24, "a"))).Message);
        Assert.Contains("normalized", Assert.Throws<UserException>(() => new AddedTokens([new(1, "a") { Normalized = true }], new Nothing(), "test")).Message);
        Assert.Equal(":abc", Split("abc", new AddedToken(1, "")));
    }

    /// <summary>Every place has a token, half of a long token, or white space that tokens strip; anything quadratic takes minutes.</summary>
    [Fact]
    public void TextsOfTokensTakeLinearTime()
    {
        AddedToken[] tokens = [new(1, "[MASK]"), new(2, new string('a', 1000) + "b"), new(3, " ") { RightStrip = true, LeftStrip = true }, new(4, "a"), new(5, "(") { SingleWord = true, LeftStrip = true }];
        foreach (string part in (string[])["[MASK]", "a", " ", " x", "[MASK", " ("])
        {
            string text = string.Concat(Enumerable.Repeat(part, 1_000_000 / part.Length));
            var time = Stopwatch.StartNew();
            List<AddedTokenSegment> parts = new AddedTokens(tokens, null, "test").InText.Split(text);
            Assert.True(time.Elapsed < TimeSpan.FromSeconds(10), $"{part}: {time.Elapsed}");
            Assert.Equal(part is "[MASK]" or "a" ? text.Length / part.Length : parts.Count, parts.Count);
        }
    }

    [Fact]
    public void AMillionTokensTakeLinearTime()
    {
        var time = Stopwatch.StartNew();
        var tokens = new AddedTokens(Enumerable.Range(0, 1_000_000).Select(id => new AddedToken(id, $"<{id}>")), null, "test");
        List<AddedTokenSegment> parts = tokens.InText.Split(string.Concat(Enumerable.Range(0, 100_000).Select(i => $"<{i * 7}>")));
        Assert.Equal(Enumerable.Range(0, 100_000).Select(i => (int?)(i * 7)), parts.Select(part => part.Id));
        Assert.True(time.Elapsed < TimeSpan.FromSeconds(60), $"{time.Elapsed}");
    }
}
