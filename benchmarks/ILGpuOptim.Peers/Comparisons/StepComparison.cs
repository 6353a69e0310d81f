using ILGpuOptim.Optim;
using PeerBenchmarks.Running;
using PeerBenchmarks.Workloads;

namespace PeerBenchmarks.Comparisons;

/// <summary>Steps of training and of optimizers, in milliseconds.</summary>
internal static class StepComparison
{
    /// <summary>A row of the table: which sides do which case, and how many steps each measures.</summary>
    private sealed record Row(string Title, string Case, string[] Sides, int Rounds, int Count);

    private const string PyTorch = "PyTorch", Restated = "PyTorch restated";

    /// <summary>What C's copy and update in place move.</summary>
    private const double MovedByC = 0.8e9;

    /// <summary>
    /// Optimizers over the parameters of GPT-2 124M. "PyTorch" is torch.optim's own, fused where it can be; "PyTorch restated" are the published
    /// equations in ordinary torch code, written for this comparison (worker.py).
    /// </summary>
    private static readonly Row[] WithPeers =
    [
        new("AdamW", "gpt2", [Candidate.Ours, "TorchSharp", PyTorch, "PyTorch foreach", "C"], 4, 4),
        new("Adam", "adam", [Candidate.Ours, PyTorch], 3, 3),
        new("SGD, momentum", "sgd", [Candidate.Ours, PyTorch], 3, 3),
        new("Lion", "lion", [Candidate.Ours], 3, 3),
        new("Adam-mini", "adam-mini", [Candidate.Ours], 3, 3),
        new("LAMB", "lamb", [Candidate.Ours], 3, 3),
        new("Adafactor, PyTorch's form", "adafactor", [Candidate.Ours, PyTorch], 3, 2),
        new("Adafactor, Hugging Face's form", "adafactor-relative", [Candidate.Ours], 3, 3),
        new("CAME", "came", [Candidate.Ours, Restated], 3, 2),
        new("APOLLO-Mini", "apollo-mini", [Candidate.Ours, Restated], 3, 2),
        new("APOLLO, rank 192", "apollo", [Candidate.Ours, Restated], 3, 2),
        new("GaLore, rank 128, no refresh", "galore", [Candidate.Ours, Restated], 3, 2),
        new("GaLore, step with a refresh", "galore-refresh", [Candidate.Ours, Restated], 2, 1),
        new("GaLore, step with a randomized refresh", "galore-randomized", [Candidate.Ours], 2, 1),
        new("Fira, rank 128, no refresh", "fira", [Candidate.Ours], 3, 2),
        new("Muon", "muon", [Candidate.Ours, Restated], 2, 1),
        new("SOAP, step with a refresh", "soap-refresh", [Candidate.Ours], 2, 1),
        new("copy of 400 MB", "copy", ["C"], 3, 4),
        new("update of 400 MB in place", "update", ["C"], 3, 4),
    ];

    /// <summary>Every optimizer: those with peers, then the others by name; each beside loops in C that move the same bytes and that make the same passes, and beside its products alone.</summary>
    private static IEnumerable<Row> Optimizers(string part)
    {
        IEnumerable<Row> others = Registry.Entries.Select(entry => entry.Name).Where(name => name != "adamw" && WithPeers.All(row => row.Case != name))
            .Select(name => new Row(name, name, [Candidate.Ours], 3, 2));
        foreach (Row row in WithPeers.Concat(others).Where(row => row.Case.Contains(part, StringComparison.Ordinal)))
        {
            if (!row.Sides.Contains(Candidate.Ours) || IsRefresh(row))
            {
                yield return row;
                continue;
            }

            yield return row with { Sides = [.. row.Sides, Candidate.SameBytes, Candidate.SamePasses] };
            if (OurOptimizer.Count(row.Case).Operations > 0)
                yield return new(row.Title + ", its products alone", row.Case + OurOptimizer.ProductsAlone, [Candidate.Ours], row.Rounds, row.Count);
        }
    }

    /// <summary>Steps with a refresh decompose matrices until they converge, which cannot be counted beforehand.</summary>
    private static bool IsRefresh(Row row) => row.Case.EndsWith("-refresh", StringComparison.Ordinal);

    public static void Run(Options options)
    {
        Row[] rows = options.Command switch
        {
            "char" when options.Argument is "nanogpt" => [new("character GPT, nanoGPT's variant", "char-nanogpt", ["TorchSharp"], 16, 10)],
            "char" => [new("character GPT", "char", [Candidate.Ours, Candidate.Before, "TorchSharp", "PyTorch"], 16, 10)],
            "gpt2" when options.Argument is "1024" => [new("GPT-2 124M, 1 × 1024 tokens", "gpt2-1024", [Candidate.Ours, Candidate.Layerwise, Candidate.Before, "TorchSharp", "PyTorch"], 6, 1)],
            "llama" => [new("LLaMA-60M, 2 × 256 tokens", "llama-60m", [Candidate.Ours, Candidate.Before, "PyTorch"], 6, 2)],
            "gpt2" => [new("GPT-2 124M, 4 × 64 tokens", "gpt2", [Candidate.Ours, Candidate.Layerwise, Candidate.Before, "TorchSharp", "PyTorch"], 6, 1)],
            _ => [.. Optimizers(options.Argument ?? "")],
        };

        var workers = rows.SelectMany(row => row.Sides).Distinct().Where(options.Wants)
            .ToDictionary(side => side, side => new Worker(Candidate.Create(side, options)));
        foreach (var (side, worker) in workers)
            Console.WriteLine($"{side}: {worker.Description}");

        Console.WriteLine();
        bool counts = options.Command == "optim";
        Console.WriteLine($"| step | side | median, ms | ± | ours is faster by | {(counts ? "bytes a parameter | GB/s | GFLOP/s" : "peak memory, MB")} |");
        Console.WriteLine($"|---|---|---:|---:|---:|---:|{(counts ? "---:|---:|" : "")}");
        foreach (var row in rows)
        {
            var sides = row.Sides.Where(options.Wants).ToArray();
            if (sides.Length == 0)
                continue;
            var outcome = Turns.Take([.. sides.Select(side => workers[side])], side => CaseOf(row, side), row.Rounds, row.Count, options.Sequential);
            foreach (string side in sides)
            {
                string ratio = side != Candidate.Ours && sides.Contains(Candidate.Ours)
                    ? $"{outcome.Ratio(Candidate.Ours, side):F2} ×" : "";
                Console.WriteLine($"| {row.Title} | {side} | {outcome.Median(side):F2} | {outcome.Spread(side):P1} | {ratio} | {(counts ? Traffic(row, side, outcome.Median(side)) : $"{workers[side].PeakBytes / 1e6:F0} |")}");
            }
        }
        foreach (var worker in workers.Values)
            worker.Dispose();
    }

    private static string CaseOf(Row row, string side) => side switch
    {
        Candidate.SameBytes => $"bytes-{OurOptimizer.Count(row.Case).Bytes}",
        Candidate.SamePasses => $"passes-{OurOptimizer.Count(row.Case).Passes}",
        _ => row.Case,
    };

    /// <summary>What a step of ours moves, by count, and how fast that was; what C moves is known.</summary>
    private static string Traffic(Row row, string side, double milliseconds)
    {
        double perSecond = 1e-6 / milliseconds;
        if (side == "C")
            return row.Case == "gpt2" ? $"28 | {OurOptimizer.Count(row.Case).Parameters * 28 * perSecond:F1} | |" : $"| {MovedByC * perSecond:F1} | |";
        if (side is not (Candidate.Ours or Candidate.SameBytes or Candidate.SamePasses) || IsRefresh(row))
            return "| |";
        bool isProducts = row.Case.EndsWith(OurOptimizer.ProductsAlone, StringComparison.Ordinal);
        var (bytes, operations, parameters, _) = OurOptimizer.Count(isProducts ? row.Case[..^OurOptimizer.ProductsAlone.Length] : row.Case);
        if (isProducts)
            return $"| | {operations * perSecond:F0} |";
        if (side != Candidate.Ours)
            return $"| {bytes * perSecond:F1} | |";
        return $"{(double)bytes / parameters:F1} | {bytes * perSecond:F1} | {(operations == 0 ? "" : $"{operations * perSecond:F0}")} |";
    }
}
