using ILGpuOptim.Compute;

namespace PeerBenchmarks.Workloads;

/// <summary>Matrix products by this project's CPU device.</summary>
internal sealed class OurGemm : Workload
{
    private readonly CpuDevice device = new(Threads);
    private GemmArguments product;

    public override string Description => device.Description;

    public override void Prepare(string @case)
    {
        var shape = GemmShape.Named(@case);
        product = new GemmArguments(Random(shape.M, shape.K), Random(shape.K, shape.N), Random(shape.M, shape.N), shape.M, shape.N, shape.K)
        {
            TransposeA = shape.TransposeA,
            TransposeB = shape.TransposeB,
        };
    }

    public override void Run() => device.Gemm(product);

    public override void Dispose() => device.Dispose();

    private Block Random(int rows, int columns)
    {
        var block = device.Pool.Rent(rows, columns);
        device.Random(block, RandomKind.Uniform, 1, seed: 1, stream: 0);
        return block;
    }
}
