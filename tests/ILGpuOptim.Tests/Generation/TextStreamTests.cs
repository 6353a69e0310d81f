using System.Text;
using ILGpuOptim.Data;
using ILGpuOptim.Generation;

namespace ILGpuOptim.Tests.Generation;

public class TextStreamTests
{
    private const string Text = "Häuser, 日本語, 🦙🦙 e\u0301 end";

    [Fact]
    public void ACharacterComesWhenItIsWhole()
    {
        var stream = new TextStream(new ByteTokenizer(), [], []);
        var shown = new StringBuilder();
        foreach (byte value in Encoding.UTF8.GetBytes(Text))
        {
            string text = stream.Append(value);
            Assert.DoesNotContain('\uFFFD', text);
            shown.Append(text);
        }

        Assert.Equal(Text, shown + stream.Finish());
    }

    [Theory]
    [InlineData("end", "Häuser, 日本語, 🦙🦙 e\u0301 ")]
    [InlineData("🦙", "Häuser, 日本語, ")]
    [InlineData("🦙🦙 x", Text)]
    [InlineData("H", "")]
    [InlineData("", Text)]
    public void AStopStringEndsTheTextWhereItBegins(string stop, string expected)
    {
        var stream = new TextStream(new ByteTokenizer(), "Once"u8.ToArray().Select(value => (int)value).ToArray(), ["nowhere", stop]);
        var shown = new StringBuilder();
        foreach (byte value in Encoding.UTF8.GetBytes(Text))
        {
            shown.Append(stream.Append(value));
            Assert.StartsWith(shown.ToString(), expected, StringComparison.Ordinal);
        }

        Assert.Equal(expected, shown + stream.Finish());
        Assert.Equal(expected != Text, stream.Stopped);
    }

    [Fact]
    public void TheEarliestOfSeveralStopStringsCounts()
    {
        var stream = new TextStream(new ByteTokenizer(), [], ["cd", "bcd"]);
        Assert.Equal("a", string.Concat("abcd"u8.ToArray().Select(value => stream.Append(value))) + stream.Finish());
    }

    [Fact]
    public void WhatMayBecomeAStopStringIsHeldBack()
    {
        var stream = new TextStream(new ByteTokenizer(), [], ["stop"]);
        Assert.Equal("", stream.Append('s'));
        Assert.Equal("", stream.Append('t'));
        Assert.Equal("st", stream.Append('s'));
        Assert.Equal("sa", stream.Append('a'));
        Assert.Equal("", stream.Append('s'));
        Assert.Equal("s", stream.Finish());
    }

    [Fact]
    public void BytesThatNeverBecomeACharacterComeAsReplacements()
    {
        var stream = new TextStream(new ByteTokenizer(), [], []);
        var shown = new StringBuilder();
        for (int i = 0; i < 40; i++)
            shown.Append(stream.Append(0x80));
        Assert.True(shown.Length > 0);
        Assert.Equal(new string('\uFFFD', 40), shown + stream.Finish());
    }
}
