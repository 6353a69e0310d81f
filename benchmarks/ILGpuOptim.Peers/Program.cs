using System.Globalization;
using PeerBenchmarks.Comparisons;
using PeerBenchmarks.Running;
using PeerBenchmarks.Workloads;

CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
const string usage = """
    gemm [NAME]        matrix products: this project, OpenBLAS, libtorch; only the shapes whose name contains NAME
    opencl [NAME]      the same on the first OpenCL device: this project, CLBlast
    char  [VARIANT]    a training step of the character GPT; VARIANT is gpt2 (the default) or nanogpt
    gpt2  [1024]       a training step of GPT-2 124M at 4 × 64 tokens, or at 1 × 1024
    llama              a training step of LLaMA-60M at 2 × 256 tokens
    optim [NAME]       an optimizer step over the parameters of GPT-2 124M, and the bandwidth of memory

    --alone            one candidate after the other instead of taking turns: shows whether turns slow anybody
    --only NAME,...    only these candidates
    --before PROGRAM   another build of this program, of an older revision for example, as the candidate "before"
    """;

try
{
    if (args is ["work", var candidate, var task])
    {
        using var workload = Workload.Create(candidate, task);
        WorkerLoop.Run(workload, Console.In, Console.Out);
        return 0;
    }
    var options = Options.Parse(args);
    switch (options.Command)
    {
        case "gemm" or "opencl": GemmComparison.Run(options); return 0;
        case "char" or "gpt2" or "llama" or "optim": StepComparison.Run(options); return 0;
        default: Console.Error.WriteLine(usage); return 2;
    }
}
catch (Exception error) when (error is ArgumentException or WorkerException)
{
    Console.Error.WriteLine(error.Message);
    return 1;
}
