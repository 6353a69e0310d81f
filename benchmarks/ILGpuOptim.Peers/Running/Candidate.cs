using PeerBenchmarks.Workloads;

namespace PeerBenchmarks.Running;

/// <summary>One side of a comparison: how its process is started.</summary>
/// <param name="Name">As it stands in the tables.</param>
/// <param name="Program">The executable.</param>
/// <param name="Arguments">Its arguments.</param>
/// <param name="Environment">The variables under which it runs best.</param>
internal sealed record Candidate(string Name, string Program, IReadOnlyList<string> Arguments, IReadOnlyDictionary<string, string> Environment)
{
    /// <summary>The name of this project's own side.</summary>
    public const string Ours = "ours";

    /// <summary>This project with updates within the backward pass, for steps that do not clip.</summary>
    public const string Layerwise = "layer-wise";

    /// <summary>The name of a loop in C that updates memory in place and moves as many bytes as this project's step, by count.</summary>
    public const string SameBytes = "C of the same bytes";

    /// <summary>Loops in C that read, update and write as many whole matrices as each pass of a step of ours.</summary>
    public const string SamePasses = "C of the same passes";

    /// <summary>The name of another build of this project.</summary>
    public const string Before = "before";

    private const string Allocator = "/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4";

    private static readonly Dictionary<string, string> Plain = [];

    // OpenMP workers that may wander between cores cost libtorch several per cent.
    private static readonly Dictionary<string, string> Pinned = new()
    {
        ["OMP_NUM_THREADS"] = Workload.Threads.ToString(),
        ["GOMP_CPU_AFFINITY"] = string.Join(' ', Enumerable.Range(0, Workload.Threads)),
    };

    // glibc's malloc returns large blocks to the system at once and pays for fresh pages at every step; with tcmalloc
    // libtorch runs a step of GPT-2 124M up to 1.6 times as fast.
    private static readonly Dictionary<string, string> PinnedWithAllocator = new(Pinned) { ["LD_PRELOAD"] = Allocator };

    /// <summary>The side called <paramref name="name"/>, doing what the options ask for.</summary>
    /// <exception cref="ArgumentException">There is no such side.</exception>
    public static Candidate Create(string name, Options options)
    {
        string task = options.Command;
        return name == Before ? new(name, options.BeforeProgram!, ["work", Ours, task], Plain) : Create(name, task);
    }

    private static Candidate Create(string name, string task) => name switch
    {
        Ours or Layerwise => Managed(name, task, Plain),
        "OpenBLAS" or "CLBlast" => Managed(name, task, Plain),
        "libtorch" or "TorchSharp" => Managed(name, task, PinnedWithAllocator),
        "PyTorch" => Python(name, task, "fused"),
        "PyTorch foreach" => Python(name, task, "foreach"),
        "PyTorch restated" => Python(name, task, "restated"),
        "C" or SameBytes or SamePasses => new Candidate(name, Path.Combine(AppContext.BaseDirectory, "adamw"), [task], Pinned),
        _ => throw new ArgumentException($"{name}: no such candidate"),
    };

    // Debian's PyTorch has two sets of threads, OpenMP's and OpenBLAS's; where the first spins, the second starves.
    private static Candidate Python(string name, string task, string adamW) => new(
        name, "/usr/bin/python3", [Path.Combine(AppContext.BaseDirectory, "worker.py"), task, adamW],
        new Dictionary<string, string>
        {
            ["LD_PRELOAD"] = Allocator,
            ["OMP_WAIT_POLICY"] = "PASSIVE",
            ["OMP_NUM_THREADS"] = $"{Workload.Threads}",
            ["OPENBLAS_NUM_THREADS"] = $"{Workload.Threads}",
        });

    private static Candidate Managed(string name, string task, IReadOnlyDictionary<string, string> environment) =>
        new(name, System.Environment.ProcessPath!, ["work", name, task], environment);
}
