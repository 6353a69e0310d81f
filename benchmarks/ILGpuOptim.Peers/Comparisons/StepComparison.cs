using PeerBenchmarks.Running;

namespace PeerBenchmarks.Comparisons;

/// <summary>Steps of training and of optimizers, in milliseconds.</summary>
internal static class StepComparison
{
    /// <summary>A row of the table: which sides do which case, and how many steps each measures.</summary>
    private sealed record Row(string Title, string Case, string[] Sides, int Rounds, int Count);

    /// <summary>Optimizers whose references are measured elsewhere.</summary>
    private static readonly string[] OurOptimizers = ["sgd", "adafactor", "came", "lamb", "lion", "apollo", "apollo-mini"];

    public static void Run(Options options)
    {
        Row[] rows = options.Command switch
        {
            "char" when options.Argument is "nanogpt" => [new("character GPT, nanoGPT's variant", "char-nanogpt", ["TorchSharp"], 16, 10)],
            "char" => [new("character GPT", "char", [Contender.Ours, "TorchSharp", "PyTorch"], 16, 10)],
            "gpt2" => [new("GPT-2 124M, 4 × 64 tokens", "gpt2", [Contender.Ours, "TorchSharp", "PyTorch"], 6, 1)],
            _ =>
            [
                new("AdamW, 124M parameters", "gpt2", [Contender.Ours, "TorchSharp", "PyTorch", "PyTorch foreach", "C"], 4, 4),
                .. OurOptimizers.Select(name => new Row($"{name}, 124M parameters", name, [Contender.Ours], 3, 3)),
                new("copy, 0.8 GB moved", "copy", ["C"], 3, 4),
                new("update in place, 0.8 GB moved", "update", ["C"], 3, 4),
            ],
        };

        var workers = rows.SelectMany(row => row.Sides).Distinct().Where(options.Wants)
            .ToDictionary(side => side, side => new Worker(Contender.Create(side, options.Command)));
        foreach (var (side, worker) in workers)
            Console.WriteLine($"{side}: {worker.Description}");

        Console.WriteLine();
        Console.WriteLine("| step | side | median, ms | ± | ours is faster by | peak memory, MB |");
        Console.WriteLine("|---|---|---:|---:|---:|---:|");
        foreach (var row in rows)
        {
            var sides = row.Sides.Where(options.Wants).ToArray();
            if (sides.Length == 0)
                continue;
            var outcome = Turns.Take([.. sides.Select(side => workers[side])], row.Case, row.Rounds, row.Count, options.Alone);
            foreach (string side in sides)
            {
                string ratio = side != Contender.Ours && sides.Contains(Contender.Ours)
                    ? $"{outcome.Ratio(Contender.Ours, side):F2} ×" : "";
                Console.WriteLine($"| {row.Title} | {side} | {outcome.Median(side):F2} | {outcome.Spread(side):P1} | {ratio} | {workers[side].PeakBytes / 1e6:F0} |");
            }
        }
        foreach (var worker in workers.Values)
            worker.Dispose();
    }
}
