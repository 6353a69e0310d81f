using ILGpuOptim.Compute;

namespace ILGpuOptim.Tests.Devices;

/// <summary>
/// The kernels that exchange data through shared memory, on few numbers: small enough for Oclgrind, which looks for races (see <c>.ci/oclgrind</c>).
/// </summary>
[Collection("gpu"), Trait("device", "opencl")]
public class SharedMemoryTests
{
    private readonly GpuDevice device = Gpu.OpenClWithKernelsOfGpus();

    [Fact]
    public void SumsOfBothAxes() => Compare(33 + 35, (d, target) => d.Map(new Lift2<Sums>(default), 33, 35, [Random(d, 33 * 35, 1), Operand.RowsAndColumns(target)]));

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Products(bool transposes) => Compare(65 * 66, (d, target) =>
        d.Gemm(new GemmArguments(Random(d, 65 * 20, 1), Random(d, 66 * 20, 2), target, 65, 66, 20) { TransposeA = transposes, TransposeB = !transposes }));

    [Theory]
    [InlineData(8)]
    [InlineData(5)]
    public void Attention(int size) => Compare(66 * size * 4, (d, target) =>
    {
        int numbers = 66 * size;
        var attention = new AttentionArguments(Random(d, numbers, 1), Random(d, numbers, 2), Random(d, numbers, 3), target.Slice(0, numbers))
        {
            Batch = 1,
            Heads = 1,
            KeyHeads = 1,
            HeadSize = size,
            QueryLength = 66,
            KeyLength = 66,
            QueryStride = size,
            KeyStride = size,
            OutputStride = size,
            Causal = true,
            Scale = 0.5f,
            LogSumExp = d.Pool.Rent(66),
        };
        d.AttentionForward(attention);
        d.AttentionBackward(attention, new AttentionGradients(Random(d, numbers, 4), target.Slice(numbers, numbers), target.Slice(2 * numbers, numbers), target.Slice(3 * numbers, numbers)));
    });

    private static Block Random(Device device, int length, ulong seed)
    {
        Block block = device.Pool.Rent(length);
        device.Random(block, RandomKind.Normal, 1, seed, 0);
        return block;
    }

    private void Compare(int length, Action<Device, Block> run)
    {
        using var reference = new ReferenceDevice();
        float[] expected = Read(reference, length, run), actual = Read(device, length, run);
        for (int i = 0; i < length; i++)
            Assert.True(Math.Abs(expected[i] - actual[i]) <= 1e-5, $"{i}: {actual[i]} instead of {expected[i]}");
    }

    private static float[] Read(Device device, int length, Action<Device, Block> run)
    {
        Block target = device.Pool.Rent(length);
        run(device, target);
        var values = new float[length];
        device.Download(target, values);
        device.Pool.Return(target);
        return values;
    }

    private readonly struct Sums : IMap2
    {
        public static Access Access => Access.Of(Slot.Read, Slot.Sum);

        public void Apply<L>(ref L a, ref L sum) where L : struct, ILane<L> => sum = a;
    }
}
