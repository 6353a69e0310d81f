using System.Runtime.CompilerServices;
using BenchmarkDotNet.Attributes;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Benchmarks;

/// <summary>The CPU's kernels at the shapes of GPT-2 124M, 4 × 64 tokens a step, on every vector width of the machine.</summary>
[ShortRunJob]
public class KernelBenchmarks
{
    private const int Sequences = 4, Length = 64, Heads = 12, HeadSize = 64, HiddenSize = Heads * HeadSize, Tokens = Sequences * Length;

    private CpuDevice device = null!;
    private Block input, weight, output, packed, gradients, mixed, mixedGradient, logSumExp;

    /// <summary>Bits of a vector.</summary>
    [Params(256, 512)]
    public int VectorBits { get; set; }

    /// <summary>Opens the device and fills the operands.</summary>
    [GlobalSetup]
    public void Setup()
    {
        device = new CpuDevice(vectorBits: VectorBits);
        input = Random(Tokens, HiddenSize);
        weight = Random(4 * HiddenSize, HiddenSize);
        output = Random(Tokens, 4 * HiddenSize);
        packed = Random(Tokens, 3 * HiddenSize);
        gradients = Random(Tokens, 3 * HiddenSize);
        mixed = Random(Tokens, HiddenSize);
        mixedGradient = Random(Tokens, HiddenSize);
        logSumExp = Random(Sequences * Heads, Length);
        AttentionForward();
    }

    /// <summary>Closes the device.</summary>
    [GlobalCleanup]
    public void Cleanup() => device.Dispose();

    /// <summary>The product of the perceptron's first layer: 256 × 3072 × 768, A·Bᵀ.</summary>
    [Benchmark]
    public void Product() => device.Gemm(new GemmArguments(input, weight, output, Tokens, 4 * HiddenSize, HiddenSize) { TransposeB = true });

    /// <summary>y = a · x + y over 2.4 million elements.</summary>
    [Benchmark]
    public void Map() => device.Map(new ScaledSum(0.5f), 4 * HiddenSize, HiddenSize, weight, weight);

    /// <summary>Causal attention.</summary>
    [Benchmark]
    public void AttentionForward() => device.AttentionForward(Attention());

    /// <summary>The gradients of causal attention.</summary>
    [Benchmark]
    public void AttentionBackward() => device.AttentionBackward(
        Attention(), new AttentionGradients(mixedGradient, gradients, gradients.Slice(HiddenSize, gradients.Length - HiddenSize), gradients.Slice(2 * HiddenSize, gradients.Length - 2 * HiddenSize)));

    private AttentionArguments Attention() => new(packed, packed.Slice(HiddenSize, packed.Length - HiddenSize), packed.Slice(2 * HiddenSize, packed.Length - 2 * HiddenSize), mixed)
    {
        Batch = Sequences,
        Heads = Heads,
        KeyHeads = Heads,
        HeadSize = HeadSize,
        QueryLength = Length,
        KeyLength = Length,
        QueryStride = 3 * HiddenSize,
        KeyStride = 3 * HiddenSize,
        OutputStride = HiddenSize,
        Causal = true,
        Scale = 1 / MathF.Sqrt(HeadSize),
        LogSumExp = logSumExp,
    };

    private Block Random(int rows, int columns)
    {
        var block = device.Pool.Rent(rows, columns);
        device.Random(block, RandomKind.Uniform, 1, seed: 1, stream: 0);
        return block;
    }

    private readonly struct ScaledSum(float factor) : IMap2
    {
        private readonly float factor = factor;

        public static Access Access => Access.Of(Slot.Read, Slot.Update);

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Apply<L>(ref L a, ref L b) where L : struct, ILane<L> => b = L.Fma(L.Splat(factor), a, b);
    }
}
