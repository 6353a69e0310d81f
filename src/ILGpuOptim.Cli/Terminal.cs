using System.Buffers;
using System.Globalization;
using System.Text;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace ILGpuOptim.Cli;

/// <summary>
/// Console output with escapes. Control characters in files, names and model output could be terminal commands, so they are written as visible escapes such
/// as <c>\x1b</c> or <c>\u202e</c>, except line feeds and tabs. Generated text that is redirected to a file or a pipe is unchanged.
/// </summary>
internal static class Terminal
{
    private static readonly SearchValues<char> Unsafe = SearchValues.Create(string.Concat(Enumerable.Range(0, 0x10000).Select(code => (char)code).Where(IsUnsafe)));

    /// <summary>C0 and C1 controls, bidirectional controls, surrogates (which may be unpaired) and noncharacters.</summary>
    private static bool IsUnsafe(char c) => (char.IsControl(c) && c is not ('\n' or '\t')) || c is >= '\u202a' and <= '\u202e' or >= '\u2066' and <= '\u2069' or >= '\ufffe' || char.IsSurrogate(c);

    /// <summary>Escapes all console output until the result is disposed.</summary>
    public static IDisposable Open() => new Session();

    /// <summary>The text with visible escapes; line feeds and tabs are unchanged.</summary>
    public static string Escape(string text)
    {
        int next = text.AsSpan().IndexOfAny(Unsafe);
        if (next < 0)
            return text;
        var result = new StringBuilder(text.Length + 16).Append(text, 0, next);
        for (int i = next; i < text.Length; i++)
        {
            char c = text[i];
            if (char.IsSurrogatePair(text, i))
                result.Append(c).Append(text[++i]);
            else if (!Unsafe.Contains(c) || (c == '\r' && i + 1 < text.Length && text[i + 1] == '\n'))
                result.Append(c);
            else
                Append(result, c);
        }

        return result.ToString();
    }

    /// <summary>The text as one line, with line ends escaped too.</summary>
    public static string Line(string text)
    {
        var result = new StringBuilder(text.Length);
        foreach (char c in Escape(text))
        {
            if (c is '\n' or '\r' or '\t' or '\u2028' or '\u2029')
                Append(result, c);
            else
                result.Append(c);
        }

        return result.ToString();
    }

    private static void Append(StringBuilder result, char c) => result.Append(c < 0x100 ? "\\x" : "\\u").Append(((int)c).ToString(c < 0x100 ? "x2" : "x4", CultureInfo.InvariantCulture));

    /// <summary>Writes text of a model or a tokenizer: escaped on a terminal, unchanged to a file or a pipe.</summary>
    public static void WriteText(string text)
    {
        if (text.Length == 0)
            return;
        (Console.IsOutputRedirected && Session.Raw is { } raw ? raw : Console.Out).Write(text);
        Console.Out.Flush();
    }

    private sealed class Session : IDisposable
    {
        private readonly TextWriter output = Console.Out, error = Console.Error;

        public Session()
        {
            // Spectre detects the terminal's capabilities from the original writer, and needs it for its own control sequences.
            AnsiConsole.Console = AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(output) });
            AnsiConsole.Console.Pipeline.Attach(new EscapingHook());
            Raw = output;
            Console.SetOut(new EscapingWriter(output));
            Console.SetError(new EscapingWriter(error));
        }

        public static TextWriter? Raw { get; private set; }

        public void Dispose()
        {
            Raw = null;
            Console.SetOut(output);
            Console.SetError(error);
        }
    }

    private sealed class EscapingWriter(TextWriter inner) : TextWriter(CultureInfo.InvariantCulture)
    {
        public override Encoding Encoding => inner.Encoding;

        public override void Write(char value) => inner.Write(Escape(value.ToString()));

        public override void Write(string? value) => inner.Write(Escape(value ?? ""));

        public override void Write(char[] buffer, int index, int count) => inner.Write(Escape(new string(buffer, index, count)));

        public override void Write(ReadOnlySpan<char> buffer) => inner.Write(Escape(buffer.ToString()));

        public override void WriteLine(string? value) => inner.WriteLine(Escape(value ?? ""));

        public override void WriteLine() => inner.WriteLine();

        public override void Flush() => inner.Flush();
    }

    private sealed class EscapingHook : IRenderHook
    {
        public IEnumerable<IRenderable> Process(RenderOptions options, IEnumerable<IRenderable> renderables) => renderables.Select(item => new Escaped(item));

        private sealed class Escaped(IRenderable inner) : IRenderable
        {
            public Measurement Measure(RenderOptions options, int maxWidth) => inner.Measure(options, maxWidth);

            public IEnumerable<Segment> Render(RenderOptions options, int maxWidth) =>
                inner.Render(options, maxWidth).Select(segment => segment.IsControlCode || segment.IsLineBreak ? segment : new Segment(Escape(segment.Text), segment.Style));
        }
    }
}
