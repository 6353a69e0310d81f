using System.Text;
using ILGpuOptim.Files;

namespace ILGpuOptim.Tests.Files;

public class JsonFieldsTests
{
    public static TheoryData<string, bool> Encodings => new()
    {
        { "utf-8", false }, { "utf-8", true }, { "utf-16", false }, { "utf-16", true }, { "utf-16BE", false }, { "utf-16BE", true },
    };

    [Theory]
    [MemberData(nameof(Encodings))]
    public void EncodingsAreDecoded(string name, bool marked)
    {
        Encoding encoding = Encoding.GetEncoding(name);
        byte[] text = encoding.GetBytes("""{"naïve": "😀", "n": 3}""");
        JsonFields fields = JsonFields.Parse(marked ? [.. encoding.GetPreamble(), .. text] : text, "x.json");
        Assert.Equal(("😀", 3), (fields.Text("naïve"), fields.Int("n")));
        fields.Finish();
    }

    public static TheoryData<string, byte[]> Damaged => new()
    {
        { "empty", [] },
        { "empty", "  \n"u8.ToArray() },
        { "not UTF-8", [(byte)'{', (byte)'"', 0xC3, 0x28, (byte)'"', (byte)':', (byte)'1', (byte)'}'] },
        { "damaged UTF-16", [0xFF, 0xFE, 0x00, 0xD8, (byte)'{', 0] },
        { "Git LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:aaaa\nsize 5\n"u8.ToArray() },
        { "half a surrogate pair", """{"\ud800": 1}"""u8.ToArray() },
        { "appears twice", """{"a": 1, "\u0061": 2}"""u8.ToArray() },
        { "must be an object", "[1]"u8.ToArray() },
        { "not valid JSON", Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat("""{"a":""", 100))) },
        { "not valid JSON", "{\"a\": 1} 2"u8.ToArray() },
    };

    [Theory]
    [MemberData(nameof(Damaged))]
    public void DamagedTextIsOneClearLine(string expected, byte[] text)
    {
        string message = Assert.Throws<UserException>(() => JsonFields.Parse(text, "x.json")).Message;
        Assert.StartsWith("x.json: ", message, StringComparison.Ordinal);
        Assert.Contains(expected, message, StringComparison.Ordinal);
        Assert.DoesNotContain("System.", message, StringComparison.Ordinal);
        Assert.DoesNotContain('\n', message);
    }

    [Theory]
    [InlineData("""{"a": "3"}""", "a is \"3\"; it must be an integer")]
    [InlineData("""{"a": 1.5}""", "a is 1.5; it must be a 32-bit integer")]
    [InlineData("""{"a": 3000000000}""", "a is 3000000000; it must be a 32-bit integer")]
    [InlineData("""{"a": [1,2]}""", "a is [1,2]; it must be an integer")]
    [InlineData("""{"a": "\udc00"}""", "half a surrogate pair")]
    public void ValuesOfTheWrongKindAreShown(string text, string expected)
    {
        JsonFields fields = JsonFields.Parse(Encoding.UTF8.GetBytes(text), "x.json");
        string message = Assert.Throws<UserException>(() => expected.Contains("surrogate", StringComparison.Ordinal) ? (object?)fields.Text("a") : fields.Int("a")).Message;
        Assert.Contains(expected, message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("1e39")]
    [InlineData("1e-60")]
    [InlineData("1e400")]
    public void NumbersBeyondFloatingPointAreRefused(string number)
    {
        JsonFields fields = JsonFields.Parse(Encoding.UTF8.GetBytes($$"""{"a": {{number}}}"""), "x.json");
        Assert.StartsWith("x.json: a is ", Assert.Throws<UserException>(() => fields.Float("a")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void FieldsThatNobodyReadsAreRefusedUnlessNull()
    {
        JsonFields fields = JsonFields.Parse("""{"a": 1, "b": null, "c": {"d": 2}, "e": 3}"""u8.ToArray(), "x.json");
        fields.Int("a");
        fields.Ignore("e");
        Assert.Equal(["b", "c"], fields.Unread.Keys);
        Assert.StartsWith("x.json: c is {\"d\": 2}: ", Assert.Throws<UserException>(fields.Finish).Message, StringComparison.Ordinal);
        fields.Object("c")!.Int("d");
        fields.Finish();
    }
}
