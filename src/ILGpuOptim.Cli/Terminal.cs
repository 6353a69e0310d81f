using System.Buffers;
using System.Globalization;
using System.Text;
using Spectre.Console;
using Spectre.Console.Rendering;

namespace ILGpuOptim.Cli;

/// <summary>
/// What the tool writes to the console. Control characters of files, names and models would be commands to a terminal, so they are written as visible
/// escapes, as <c>\x1b</c> or <c>\u202e</c>; line feeds and tabs stay. Generated text that goes into a file or a pipe stays as it is.
/// </summary>
internal static class Terminal
{
    private static readonly SearchValues<char> Unsafe = SearchValues.Create(string.Concat(Enumerable.Range(0, 0x10000).Select(code => (char)code).Where(IsUnsafe)));

    /// <summary>C0 and C1 controls, what changes the direction of writing, surrogates (which may stand alone) and what is no character.</summary>
    private static bool IsUnsafe(char c) => (char.IsControl(c) && c is not ('\n' or '\t')) || c is >= '\u202a' and <= '\u202e' or >= '\u2066' and <= '\u2069' or >= '\ufffe' || char.IsSurrogate(c);

    /// <summary>Sends all that is written through the escapes, until the result is disposed.</summary>
    public static IDisposable Open() => new Session();

    /// <summary>The text with visible escapes; line feeds and tabs stay.</summary>
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

    /// <summary>The text as one line: with escapes for line ends, too.</summary>
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

    /// <summary>Writes text that a model or a tokenizer made: with escapes on a terminal, as it is into a file or a pipe.</summary>
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
            // Spectre finds out what the terminal can do while it is the console's own writer, and writes its own commands to it.
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
