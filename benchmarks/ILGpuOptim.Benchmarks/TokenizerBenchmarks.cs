using System.Diagnostics;
using ILGpuOptim.Data;

namespace ILGpuOptim.Benchmarks;

/// <summary><c>tokenizers FILE…</c>: milliseconds to encode 2²⁰ characters of several shapes with each tokenizer, medians of three, as a Markdown table.</summary>
internal static class TokenizerBenchmarks
{
    private const int Length = 1 << 20;

    private static IEnumerable<(string Name, string Text)> Shapes()
    {
        var random = new Random(1);
        string Drawn(Func<char> draw) => string.Create(Length, draw, static (text, draw) =>
        {
            for (int i = 0; i < text.Length; i++)
                text[i] = draw();
        });
        yield return ("English", DefaultCorpus.Text[..Length]);
        yield return ("one letter", new string('a', Length));
        yield return ("random letters", Drawn(() => (char)('a' + random.Next(26))));
        yield return ("digits", Drawn(() => (char)('0' + random.Next(10))));
        yield return ("spaces", new string(' ', Length));
        yield return ("line feeds", new string('\n', Length));
        yield return ("combining marks", new string('\u0301', Length));
        yield return ("emoji", string.Concat(Enumerable.Repeat("🎉", Length / 2)));
        yield return ("`[MASK]`", string.Concat(Enumerable.Repeat("[MASK]", Length / 6)));
        yield return ("punctuation", Drawn(() => "!?.,;:-_"[random.Next(8)]));
        yield return ("Chinese characters", Drawn(() => (char)(0x4E00 + random.Next(5000))));
    }

    /// <summary>Prints the table.</summary>
    public static int Run(string[] paths)
    {
        (string Name, string Text)[] shapes = [.. Shapes()];
        ITokenizer[] tokenizers = [.. paths.Select(Tokenizers.Open)];
        foreach (ITokenizer tokenizer in tokenizers)
        {
            foreach ((_, string text) in shapes)
                tokenizer.Encode(text.AsSpan(0, 20_000));
        }

        Console.WriteLine($"| | {string.Join(" | ", paths.Select(path => Path.GetFileName(Path.GetDirectoryName(Path.GetFullPath(path)))))} |");
        Console.WriteLine($"|---|{string.Concat(Enumerable.Repeat("---:|", paths.Length))}");
        foreach ((string name, string text) in shapes)
            Console.WriteLine($"| {name} | {string.Join(" | ", tokenizers.Select(tokenizer => $"{Median(tokenizer, text):F0}"))} |");
        return 0;
    }

    private static double Median(ITokenizer tokenizer, string text) => Enumerable.Range(0, 3).Select(_ =>
    {
        long began = Stopwatch.GetTimestamp();
        tokenizer.Encode(text);
        return Stopwatch.GetElapsedTime(began).TotalMilliseconds;
    }).Order().ElementAt(1);
}
