using ILGpuOptim.Compute;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Optim;

/// <summary>The bytes of state: as declared, as allocated, and as the papers' formulas have them.</summary>
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
        var settings = LowRankOptimizers.WithRank(new OptimizerSettings { Name = name, StateType = storage }, 4);
        OptimizerEntry entry = Registry.Find(name);
        using var device = new CpuDevice(1);
        foreach (int[] shape in shapes)
        {
            var parameter = new Parameter(device, "h.0.attn.weight", shape);
            using Optimizer counting = entry.Create(storage);
            IReadOnlyList<StateTensor> declared = counting.StateOf(shape, entry.OptionsOf(settings, parameter.Name, shape));
            long before = device.Pool.UsedBytes;
            using Optimizer optimizer = Registry.Create(settings, [parameter], out _);
            Assert.Equal(declared.Concat(optimizer.SharedState).Sum(tensor => MemoryPool.PersistentBytes(tensor.Bytes)), device.Pool.UsedBytes - before);
            Assert.Equal(declared.Concat(optimizer.SharedState).Sum(tensor => tensor.Bytes), optimizer.StateBytes);
            Assert.Equal(StateFormulas.ByName[name](shape, 4), 4 * declared.Sum(tensor => tensor.Length));
            if (storage == StateStorage.F32)
                Assert.Equal(StateFormulas.ByName[name](shape, 4), declared.Sum(tensor => tensor.Bytes));
        }
    }

    /// <summary>Odd and even rows of parameters of every type, which 8-bit state may not be able to follow.</summary>
    [Theory]
    [MemberData(nameof(Choices))]
    public void EveryStorageOfParametersIsUpdated(string name, StateStorage storage)
    {
        using var device = new CpuDevice(2);
        foreach (DType type in (DType[])[DType.F32, DType.BF16, DType.I8])
        {
            Parameter[] parameters = [new(device, "h.0.attn.even", type, 32, 256), new(device, "h.0.attn.odd", type, 67, 129), new(device, "h.0.attn.vector", type, 33)];
            using Optimizer optimizer = Registry.Create(LowRankOptimizers.WithRank(new OptimizerSettings { Name = name, StateType = storage }, 4), parameters, out _);
            var gradients = new Gradients(device);
            foreach (Parameter parameter in parameters)
                parameter.Load([.. Enumerable.Range(0, (int)parameter.Length).Select(i => MathF.Sin(i))]);
            for (int step = 1; step <= 2; step++)
            {
                foreach (Parameter parameter in parameters)
                    device.Random(gradients.Target(parameter, out _), RandomKind.Normal, 1, 3, (ulong)(step * 100 + parameter.Length));
                optimizer.Step(gradients);
            }

            Assert.All(parameters, parameter => Assert.All(parameter.ToArray(), value => Assert.True(float.IsFinite(value))));
            gradients.Release();
        }
    }

    /// <summary>What choices add: m × n = 31 × 33, rank 4.</summary>
    [Theory]
    [InlineData("sgd", "momentum=0", 0)]
    [InlineData("adamw", "ams_grad=true", 12 * 31 * 33)]
    [InlineData("adafactor-relative", "beta1=0.9", 4 * 31 * 33 + 4 * (31 + 33))]
    [InlineData("galore", "projection_type=full", 8 * 4 * 4 + 4 * 4 * (31 + 33))]
    [InlineData("galore", "projection_type=reverse_std", 8 * 4 * 31 + 4 * 4 * 33)]
    [InlineData("galore", "projection_basis=random", 8 * 4 * 33)]
    [InlineData("apollo", "store_projection=true", 8 * 4 * 33 + 4 * 4 * 31 + 4)]
    [InlineData("prodigy", "slice_p=11", 8 * 31 * 33 + 8 * 93 + 4 * 5)]
    [InlineData("prodigy", "beta1=0", 12 * 31 * 33 + 4 * 5)]
    [InlineData("schedulefree-adamw", "inner_momentum=0.9", 12 * 31 * 33 + 4 * 3)]
    [InlineData("soap", "max_precond_dim=32", 8 * 31 * 33 + 8 * 31 * 31)]
    [InlineData("soap", "merge_dims=true", 8 * 31 * 33 + 8L * 31 * 33 * 31 * 33)]
    [InlineData("dion", "variant=simple", 4 * 31 * 33 + 4 * 8 * 33)]
    [InlineData("apollo", "projection_basis=svd", 8 * 4 * 33 + 4 * 4 * 31 + 4)]
    public void ChoicesCostWhatTheyShould(string name, string choice, long bytes)
    {
        OptimizerSettings settings = new OptimizerSettings { Name = name }.With(choice);
        using var device = new CpuDevice(1);
        using Optimizer optimizer = Registry.Create(name is "galore" or "apollo" ? settings.With("rank=4") : settings, [new Parameter(device, "h.0.attn.weight", 31, 33)], out _);
        Assert.Equal(bytes, optimizer.StateBytes);
    }

    /// <summary>Figures of a 7B model's largest matrices, 4096 × 11008.</summary>
    [Theory]
    [InlineData("sgd", 1, 180_355_072)]
    [InlineData("adamw", 1, 360_710_144)]
    [InlineData("adafactor", 1, 60_416)]
    [InlineData("came", 1, 180_475_904)]
    [InlineData("galore", 1024, 106_954_752)]
    [InlineData("fira", 1024, 106_954_756)]
    [InlineData("apollo", 256, 22_544_388)]
    [InlineData("apollo-mini", 1, 88_068)]
    [InlineData("muon", 1, 180_355_072)]
    [InlineData("normuon", 1, 180_371_456)]
    [InlineData("dion", 1024, 197_132_288)]
    [InlineData("schedulefree-adamw", 1, 360_710_144)]
    [InlineData("prodigy", 1, 721_420_288)]
    public void LargeMatricesTakeTheKnownBytes(string name, int rank, long bytes)
    {
        int[] shape = [4096, 11008];
        OptimizerEntry entry = Registry.Find(name);
        using Optimizer optimizer = entry.Create(StateStorage.F32);
        Assert.Equal(bytes, optimizer.StateOf(shape, entry.OptionsOf(new OptimizerSettings { Name = name }.With("rank", rank), "h.0.mlp.weight", shape)).Sum(tensor => tensor.Bytes));
        Assert.Equal(bytes, StateFormulas.ByName[name](shape, rank));
    }
}
