using System.Reflection;
using ILGpuOptim.Cli;

namespace ILGpuOptim.Tests.Cli;

public sealed class TerminalTests
{
    [Theory]
    [InlineData("plain text, héllo 🎉\n\tnext", "plain text, héllo 🎉\n\tnext")]
    [InlineData("\u001b[31mred", "\\x1b[31mred")]
    [InlineData("\u001b]0;title\a", "\\x1b]0;title\\x07")]
    [InlineData("a\0b\bc\rd\u007fe", "a\\x00b\\x08c\\x0dd\\x7fe")]
    [InlineData("\u0085\u009b31m", "\\x85\\x9b31m")]
    [InlineData("\u202egnp.exe\u202c \u2066x\u2069", "\\u202egnp.exe\\u202c \\u2066x\\u2069")]
    [InlineData("line\r\nline", "line\r\nline")]
    [InlineData("שלום \u200f עולם", "שלום \u200f עולם")]
    public void ControlsAreVisible(string text, string expected) => Assert.Equal(expected, Terminal.Escape(text));

    [Fact]
    public void HalvesOfSurrogatePairsAreVisible()
    {
        Assert.Equal("\\ud800x\\udc00", Terminal.Escape(new string(['\ud800', 'x', '\udc00'])));
        Assert.Equal("\\uffff", Terminal.Escape("\uffff"));
    }

    [Fact]
    public void ALineHasNoLineEnds() => Assert.Equal("a\\x0ab\\x0d\\x0ac\\x09d\\u2028\\x1b", Terminal.Line("a\nb\r\nc\td\u2028\u001b"));

    [Fact]
    public void AnythingButAMistakeOfTheUserIsOneLineToo()
    {
        Assert.Equal((70, "unexpected error: it broke\\x0ahere; please report it with the command and its input files (ILGPUOPTIM_DEBUG=1 prints the stack trace)"), Report(new InvalidOperationException("it broke\nhere.")));
        Assert.Equal((1, "error: no \\x1b file"), Report(new TargetInvocationException(new UserException("no \u001b file"))));
        Assert.Equal((1, "error: first"), Report(new AggregateException(new InvalidOperationException("other"), new UserException("first"))));
        Assert.Equal((1, "error: No space left on device"), Report(new IOException("No space left on device")));
        Assert.StartsWith("error: out of memory", Report(new OutOfMemoryException()).Text, StringComparison.Ordinal);
        Assert.Equal((141, ""), Report(new UserException("the tokens cannot be written", new ClosedOutputException())));
    }

    private static (int Code, string Text) Report(Exception e)
    {
        using var error = new StringWriter();
        int code = Failure.Report(e, error);
        return (code, error.ToString().TrimEnd('\n', '\r'));
    }
}
