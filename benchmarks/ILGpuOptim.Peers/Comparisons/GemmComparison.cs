using PeerBenchmarks.Running;
using PeerBenchmarks.Workloads;

namespace PeerBenchmarks.Comparisons;

/// <summary>Matrix products at the shapes of our models, in GFLOP/s.</summary>
internal static class GemmComparison
{
    public static void Run(Options options)
    {
        bool openCl = options.Command == "opencl";
        string[] sides = openCl ? [Candidate.Ours, "CLBlast"] : [Candidate.Ours, "OpenBLAS", "libtorch"];
        var workers = sides.Where(options.Wants).Select(side => new Worker(Candidate.Create(side, options))).ToList();
        foreach (var worker in workers)
            Console.WriteLine($"{worker.Candidate.Name}: {worker.Description}");
        var names = workers.ConvertAll(worker => worker.Candidate.Name);
        bool ratio = names.Contains(Candidate.Ours) && names.Count > 1;

        Console.WriteLine();
        Console.WriteLine($"| product | m × n × k | {string.Join(" | ", names)} |{(ratio ? " ours / better peer |" : "")}");
        Console.WriteLine($"|---|---|{string.Concat(Enumerable.Repeat("---:|", names.Count + (ratio ? 1 : 0)))}");
        foreach (var shape in (openCl ? GemmShape.OpenCl : GemmShape.All).Where(shape => shape.Name.Contains(options.Argument ?? "")))
        {
            var outcome = Turns.Take(workers, _ => shape.Name, rounds: 15, count: 2, options.Sequential);
            var cells = names.Select(name => $"{shape.Operations / outcome.Median(name) * 1e-6:F1}");
            if (ratio)
            {
                string better = names.Where(name => name != Candidate.Ours).MinBy(peer => outcome.Ratio(Candidate.Ours, peer))!;
                cells = cells.Append($"{outcome.Ratio(Candidate.Ours, better):F2} ({outcome.Ratio(Candidate.Ours, better, 0.25):F2}–{outcome.Ratio(Candidate.Ours, better, 0.75):F2})");
            }
            Console.WriteLine($"| {shape.Name} | {shape} | {string.Join(" | ", cells)} |");
        }
        workers.ForEach(worker => worker.Dispose());
    }
}
