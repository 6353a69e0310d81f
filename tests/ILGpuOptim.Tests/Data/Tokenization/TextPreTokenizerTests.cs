using System.Diagnostics;
using System.Text;
using ILGpuOptim.Data.Tokenization;
using ILGpuOptim.Files;

namespace ILGpuOptim.Tests.Data.Tokenization;

/// <summary>Each pre-tokenizer of tokenizer.json; the right values are those of Hugging Face's library.</summary>
public sealed class TextPreTokenizerTests
{
    private const string Dash = "'pattern':{'String':'-'}";

    [Theory]
    [InlineData("{'type':'Split'," + Dash + ",'behavior':'Removed','invert':false}", "the-final--countdown-", "the|final|countdown")]
    [InlineData("{'type':'Split'," + Dash + ",'behavior':'Isolated','invert':false}", "the-final--countdown-", "the|-|final|-|-|countdown|-")]
    [InlineData("{'type':'Split'," + Dash + ",'behavior':'MergedWithPrevious','invert':false}", "the-final--countdown-", "the-|final-|-|countdown-")]
    [InlineData("{'type':'Split'," + Dash + ",'behavior':'MergedWithNext','invert':false}", "the-final--countdown-", "the|-final|-|-countdown|-")]
    [InlineData("{'type':'Split'," + Dash + ",'behavior':'Contiguous','invert':false}", "the-final--countdown-", "the|-|final|--|countdown|-")]
    [InlineData("{'type':'Split'," + Dash + ",'behavior':'MergedWithPrevious','invert':false}", "--a", "-|-|a")]
    [InlineData("{'type':'Split','pattern':{'Regex':'\\\\w+'},'behavior':'Removed','invert':true}", "a b\U0001D7CF-𞤀", "a|b\U0001D7CF|𞤀")]
    [InlineData("{'type':'Split','pattern':{'Regex':'\\\\d'},'behavior':'MergedWithNext','invert':true}", "ab1c2", "ab1|c2")]
    [InlineData("{'type':'ByteLevel','add_prefix_space':false,'trim_offsets':true}", "Hello  it's 2\U0001D7CF𐄀é\n x", "Hello|Ġ|Ġit|'s|Ġ2ðĿŁı|ðĲĦĢ|Ã©|Ċ|Ġx")]
    [InlineData("{'type':'ByteLevel','add_prefix_space':true,'trim_offsets':true}", "a b", "Ġa|Ġb")]
    [InlineData("{'type':'ByteLevel','add_prefix_space':true,'trim_offsets':true,'use_regex':false}", "a b", "ĠaĠb")]
    [InlineData("{'type':'Whitespace'}", "it's a\u0301 x_1 \U0001D400\U0001F600!?", "it|'|s|a\u0301|x_1|\U0001D400|\U0001F600!?")]
    [InlineData("{'type':'WhitespaceSplit'}", " a,\u3000b\u0085c ", "a,|b|c")]
    [InlineData("{'type':'Digits','individual_digits':false}", "a12²\U0001D7CF b", "a|12²\U0001D7CF| b")]
    [InlineData("{'type':'Digits','individual_digits':true}", "a12\U0001D7CF", "a|1|2|\U0001D7CF")]
    [InlineData("{'type':'Punctuation'}", "a$b,。c\U00010100", "a|$|b|,|。|c|\U00010100")]
    [InlineData("{'type':'Punctuation','behavior':'Contiguous'}", "a,.b", "a|,.|b")]
    [InlineData("{'type':'Digits','individual_digits':true}", "a\U00011DE0\U00016FF4", "a|\U00011DE0|\U00016FF4")]
    [InlineData("{'type':'Punctuation'}", "a\u166Db\U000111C9", "a|\u166D|b|\U000111C9")]
    [InlineData("{'type':'UnicodeScripts'}", "\u0561\u0589\u0915\u0953.\u0560", "\u0561|\u0589|\u0915\u0953|.\u0560")]
    [InlineData("{'type':'BertPreTokenizer'}", "Hey  friend!? €5", "Hey|friend|!|?|€5")]
    [InlineData("{'type':'Metaspace','replacement':'▁'}", "Hey  friend", "▁Hey|▁|▁friend")]
    [InlineData("{'type':'Metaspace','replacement':'▁','add_prefix_space':false}", "Hey friend", "Hey|▁friend")]
    [InlineData("{'type':'Metaspace','str_rep':'▁','replacement':'▁','add_prefix_space':true}", "▁a", "▁a")]
    [InlineData("{'type':'Metaspace','replacement':'▁','prepend_scheme':'never','split':false}", "a b", "a▁b")]
    [InlineData("{'type':'UnicodeScripts'}", " どこで x 中", "どこで |x |中")]
    [InlineData("{'type':'UnicodeScripts'}", "abc。 абв", "abc|。 |абв")]
    [InlineData("{'type':'CharDelimiterSplit','delimiter':'😀'}", "a😀😀b", "a|b")]
    [InlineData("{'type':'FixedLength','length':2}", "a😀bcd", "a😀|bc|d")]
    [InlineData("{'type':'FixedLength'}", "abcdefg", "abcde|fg")]
    [InlineData("{'type':'Sequence','pretokenizers':[{'type':'WhitespaceSplit'},{'type':'Digits','individual_digits':true},{'type':'Sequence','pretokenizers':[]}]}", "a1 b", "a|1|b")]
    public void CutsAsTheLibrary(string json, string text, string expected) => Assert.Equal(expected, Split(json, text));

    [Fact]
    public void MetaspaceFirstLooksAtTheStartOfTheText()
    {
        const string Json = "{'type':'Sequence','pretokenizers':[{'type':'Split','pattern':{'String':'-'},'behavior':'Removed','invert':false},{'type':'Metaspace','replacement':'▁','prepend_scheme':'first'}]}";
        Assert.Equal("▁a|b", Split(Json, "a-b"));
        Assert.Equal("a|b", Split(Json, "a-b", atStart: false));
        Assert.Equal("a|b", Split(Json, "-a-b"));
    }

    [Theory]
    [InlineData("{'type':'Split'," + Dash + ",'behavior':'Merged','invert':false}", "Merged")]
    [InlineData("{'type':'Split'," + Dash + ",'behavior':'Removed'}", "invert")]
    [InlineData("{'type':'Split','pattern':{'Regex':'(?~x)'},'behavior':'Removed','invert':false}", "(?~")]
    [InlineData("{'type':'ByteLevel','add_prefix_space':true,'trim_offsets':true,'mode':1}", "mode")]
    [InlineData("{'type':'Metaspace','replacement':'▁','add_prefix_space':false,'prepend_scheme':'first'}", "add_prefix_space")]
    [InlineData("{'type':'Metaspace','replacement':'ab'}", "one character")]
    [InlineData("{'type':'FixedLength','length':0}", "length")]
    [InlineData("{'type':'Sequence','pretokenizers':[{'type':'Thai'}]}", "pretokenizers[0]")]
    public void RefusesTheRestByName(string json, string name) => Assert.Contains(name, Assert.Throws<UserException>(() => Read(json)).Message);

    [Fact]
    public void PiecesThatDoNotChangeAreSlices()
    {
        string text = "one two";
        var parts = new List<TextPiece>();
        Read("{'type':'WhitespaceSplit'}")!.Split(new(text.AsMemory(), true), parts);
        Assert.Equal([true, false], parts.Select(part => part.AtStart));
        Assert.All(parts, part => Assert.True(System.Runtime.InteropServices.MemoryMarshal.TryGetString(part.Text, out string? whole, out _, out _) && ReferenceEquals(whole, text)));
    }

    public static TheoryData<string> Patterns => [.. TextRegexTests.Known];

    [Theory]
    [MemberData(nameof(Patterns))]
    public void AMegabyteOfAnyShapeTakesLinearTime(string pattern)
    {
        IPreTokenizer split = PreTokenizers.Isolated(pattern);
        string[] units = ["the quick brown fox ", "a", " ", "\n", " \n", "1", "A", "Aa", "\u0301", "中", "\U0001F600", "𞤀", "'", "!", "\r", "\u3000", "é'S"];
        foreach (string unit in units)
        {
            string text = string.Concat(Enumerable.Repeat(unit, 1_000_000 / unit.Length));
            var watch = Stopwatch.StartNew();
            var parts = new List<TextPiece>();
            split.Split(new(text.AsMemory(), true), parts);
            Assert.Equal(text.Length, parts.Sum(part => part.Text.Length));
            Assert.True(watch.Elapsed < TimeSpan.FromSeconds(4), $"{watch.Elapsed} for \"{unit}\"");
        }
    }

    private static string Split(string json, string text, bool atStart = true)
    {
        var parts = new List<TextPiece>();
        Read(json)!.Split(new(text.AsMemory(), atStart), parts);
        return string.Join('|', parts.Select(part => part.Text.ToString()));
    }

    private static IPreTokenizer? Read(string json) => PreTokenizers.Read(JsonFields.Parse(Encoding.UTF8.GetBytes(json.Replace('\'', '"')), "tokenizer.json"));
}
