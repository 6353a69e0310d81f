using ILGpuOptim.Compute;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Optim;

public class StateStorageTests
{
    public static TheoryData<string, StateStorage> Choices => new(
        from entry in Registry.Entries from storage in Enum.GetValues<StateStorage>() select (entry.Name, storage));

    /// <summary>What a plan counts is what an optimizer rents, byte for byte.</summary>
    [Theory]
    [MemberData(nameof(Choices))]
    public void PredictedBytesAreAllocated(string name, StateStorage storage)
    {
        int[][] shapes = [[1], [7], [4097], [1, 1], [31, 33], [64, 96], [200, 40], [3, 64, 33]];
        var settings = new OptimizerSettings { Name = name, StateType = storage, Rank = 4 };
        OptimizerEntry entry = Registry.Find(name);
        using var device = new CpuDevice(1);
        foreach (int[] shape in shapes)
        {
            var parameter = new Parameter(device, "h.0.attn.weight", shape);
            using Optimizer counting = entry.Create(storage);
            IReadOnlyList<StateTensor> declared = counting.StateOf(shape, entry.OptionsOf(settings, parameter.Name, shape));
            long before = device.Pool.LentBytes;
            using Optimizer optimizer = Registry.Create(settings, [parameter], out _);
            Assert.Equal(declared.Sum(tensor => MemoryPool.KeptBytes(tensor.Bytes)), device.Pool.LentBytes - before);
            Assert.Equal(declared.Sum(tensor => tensor.Bytes), optimizer.StateBytes);
            if (storage == StateStorage.F32)
                Assert.Equal(4 * declared.Sum(tensor => tensor.Length), optimizer.StateBytes);
        }
    }

    /// <summary>Every optimizer, in every storage, moves parameters about as far as in 32 bits.</summary>
    [Theory]
    [MemberData(nameof(Choices))]
    public void NarrowStateStaysNear(string name, StateStorage storage)
    {
        double[] exact = Train(name, StateStorage.F32), narrow = Train(name, storage);
        double moved = Math.Sqrt(exact.Sum(x => x * x)), apart = Math.Sqrt(exact.Zip(narrow, (x, y) => (x - y) * (x - y)).Sum());
        Assert.True(apart <= (storage == StateStorage.F32 ? 0 : 0.25) * moved, $"{apart} apart after a way of {moved}");
    }

    private static double[] Train(string name, StateStorage storage)
    {
        const int Rows = 96, Columns = 64, Steps = 20;
        using var device = new CpuDevice(2);
        var parameter = new Parameter(device, "h.0.attn.weight", Rows, Columns);
        device.Fill(parameter.Data, 0);
        using Optimizer optimizer = Registry.Create(new OptimizerSettings { Name = name, StateType = storage, Rank = 8, WeightDecay = 0 }, [parameter], out _);
        var tape = new Tape(device);
        for (int step = 0; step < Steps; step++)
        {
            // A slope with a direction of its own, and noise.
            Block gradient = tape.GradientOf(parameter, out _), noise = device.Pool.Rent(parameter.Length);
            device.Random(gradient, RandomKind.Normal, 1, seed: 3, stream: 0);
            device.Random(noise, RandomKind.Normal, 0.5f, seed: 3, stream: (ulong)step + 1);
            device.Map(new AddRule(), 1, parameter.Length, gradient, noise);
            device.Pool.Return(noise);
            optimizer.Step();
            parameter.ClearGradient();
        }

        return [.. parameter.ToArray().Select(x => (double)x)];
    }
}
