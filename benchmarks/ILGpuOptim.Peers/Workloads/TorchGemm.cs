using TorchSharp;

namespace PeerBenchmarks.Workloads;

/// <summary>Matrix products by libtorch, into memory that is already there.</summary>
internal sealed class TorchGemm : Workload
{
    private torch.Tensor? a, b, c;

    public TorchGemm() => torch.set_num_threads(Threads);

    public override string Description => TorchVersion.Text;

    public override void Prepare(string @case)
    {
        var shape = GemmShape.Named(@case);
        a = Random(shape.M, shape.K, shape.TransposeA);
        b = Random(shape.K, shape.N, shape.TransposeB);
        c = torch.zeros(shape.M, shape.N);
    }

    // C := 0 · C + A · B; matmul would also pay for a new C each time.
    public override void Run() => c!.addmm_(a!, b!, beta: 0, alpha: 1);

    private static torch.Tensor Random(int rows, int columns, bool transposed) =>
        transposed ? torch.rand(columns, rows).t() : torch.rand(rows, columns);
}
