using ILGpuOptim.Compute;

namespace PeerBenchmarks.Workloads;

/// <summary>Matrix products by this project, on one of its devices.</summary>
internal sealed class OurGemm(Device device) : Workload
{
    private readonly List<Block> blocks = [];
    private GemmArguments product;

    public override string Description => device.Description;

    public override void Prepare(string @case)
    {
        blocks.ForEach(block => device.Pool.Return(block));
        blocks.Clear();
        var shape = GemmShape.Named(@case);
        product = new GemmArguments(Random(shape.M, shape.K), Random(shape.K, shape.N), Random(shape.M, shape.N), shape.M, shape.N, shape.K)
        {
            TransposeA = shape.TransposeA,
            TransposeB = shape.TransposeB,
        };
    }

    public override void Run()
    {
        device.Gemm(product);
        device.Synchronize();
    }

    public override void Dispose() => device.Dispose();

    private Block Random(int rows, int columns)
    {
        var block = device.Pool.Rent(rows, columns);
        device.Random(block, RandomKind.Uniform, 1, seed: 1, stream: 0);
        blocks.Add(block);
        return block;
    }
}
