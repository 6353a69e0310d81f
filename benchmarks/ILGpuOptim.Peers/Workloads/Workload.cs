using ILGpuOptim.Compute;
using PeerBenchmarks.Running;

namespace PeerBenchmarks.Workloads;

/// <summary>Something that one side does in a worker process and that is timed.</summary>
internal abstract class Workload : IDisposable
{
    /// <summary>Every side computes with this many threads.</summary>
    public const int Threads = 2;

    /// <summary>What runs: versions, kernels.</summary>
    public abstract string Description { get; }

    /// <summary>Whether a unit takes so long that it needs no warm-up after a pause.</summary>
    public virtual bool Slow => false;

    /// <summary>Makes ready for a case: a shape, a model.</summary>
    public abstract void Prepare(string @case);

    /// <summary>One unit of work.</summary>
    public abstract void Run();

    public virtual void Dispose()
    {
    }

    /// <summary>The work of a side.</summary>
    /// <exception cref="ArgumentException">The side does not do this.</exception>
    public static Workload Create(string candidate, string task) => (candidate, task) switch
    {
        (Candidate.Ours, "gemm") => new OurGemm(new CpuDevice(Threads)),
        (Candidate.Ours, "opencl") => new OurGemm(Devices.Open("opencl", Threads)),
        ("CLBlast", "opencl") => new ClBlastGemm(),
        (Candidate.Ours, "char" or "gpt2" or "llama") => new OurTraining(),
        (Candidate.Layerwise, "gpt2") => new OurTraining(isLayerwise: true),
        (Candidate.Ours, "optim") => new OurOptimizer(),
        ("OpenBLAS", "gemm") => new OpenBlasGemm(),
        ("libtorch", "gemm") => new TorchGemm(),
        ("TorchSharp", "char" or "gpt2") => new TorchTraining(),
        ("TorchSharp", "optim") => new TorchAdamW(),
        _ => throw new ArgumentException($"{candidate} has no {task}"),
    };
}
