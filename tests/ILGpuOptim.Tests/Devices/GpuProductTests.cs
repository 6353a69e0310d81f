using System.Reflection;
using System.Reflection.Emit;
using ILGPU;
using ILGPU.Runtime.CPU;
using ILGpuOptim.Compute;
using ILGpuOptim.Compute.Gpu;
using ILGpuOptim.Optim;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Devices;

/// <summary>
/// Every tile of the GPUs' matrix products against the reference device. Stamped on each kind below. A driver that takes a second to compile a
/// kernel gets one transposition for each tile, another one each, instead of all four.
/// </summary>
public abstract class GpuProductTests(GpuDevice device, bool thorough)
{
    private readonly ReferenceDevice reference = new();

    public static TheoryData<string, int> Plans
    {
        get
        {
            var result = new TheoryData<string, int>();
            foreach (string tile in GpuGemmPlan.Tiles)
            {
                result.Add(tile, 1);
                result.Add(tile, 4);
            }

            return result;
        }
    }

    [Theory]
    [MemberData(nameof(Plans))]
    public void EveryTileMultiplies(string tile, int parts)
    {
        foreach ((int m, int n, int k) in ((int, int, int)[])[(1, 1, 1), (7, 33, 31), (64, 64, 8), (65, 129, 520), (128, 132, 516), (33, 65, 4097), (3, 5, 0)])
        {
            for (int form = 0; form < 4; form++)
            {
                (bool transposeA, bool transposeB) = ((form & 1) != 0, (form & 2) != 0);
                if (thorough || form == Array.IndexOf(GpuGemmPlan.Tiles, tile))
                    Compare(tile, parts, m, n, k, transposeA, transposeB, 0, DType.F32);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Plans))]
    public void PlacesThatAreNoMultiplesOfFourAndNarrowWeights(string tile, int parts)
    {
        Compare(tile, parts, 68, 132, 300, false, true, 0, DType.BF16);
        if (!thorough)
            return;
        Compare(tile, parts, 68, 132, 300, false, true, 3, DType.F32);
        Compare(tile, parts, 68, 132, 300, true, false, 4, DType.F32);
        Compare(tile, parts, 33, 65, 300, false, false, 0, DType.BF16);
    }

    [Theory]
    [MemberData(nameof(Plans))]
    public void WhatLiesBehindALineCountsNothing(string tile, int parts)
    {
        const int M = 70, N = 131, K = 517;
        for (int form = 0; form < 4; form++)
        {
            if (!thorough && form != Array.IndexOf(GpuGemmPlan.Tiles, tile))
                continue;
            (bool transposeA, bool transposeB) = ((form & 1) != 0, (form & 2) != 0);
            float[] expected = Product(reference), actual = WithPlan(tile, parts, () => Product(device));
            for (int i = 0; i < expected.Length; i++)
                Assert.True(Math.Abs(expected[i] - actual[i]) <= 1e-5 * Math.Sqrt(K), $"{transposeA} {transposeB}: element {i} is {actual[i]} instead of {expected[i]}");

            float[] Product(Device on)
            {
                (Block a, int strideA) = Lines(on, transposeA ? K : M, transposeA ? M : K, 1);
                (Block b, int strideB) = Lines(on, transposeB ? N : K, transposeB ? K : N, 2);
                Block c = on.Pool.Rent(M * N);
                on.Gemm(new GemmArguments(a, b, c, M, N, K) { TransposeA = transposeA, TransposeB = transposeB, StrideA = strideA, StrideB = strideB });
                var result = new float[M * N];
                on.Download(c, result);
                foreach (Block block in (Block[])[a, b, c])
                    on.Pool.Return(block);
                return result;
            }
        }

        // A multiple of four numbers from line to line, where the last are none.
        static (Block Block, int Stride) Lines(Device on, int lines, int length, int seed)
        {
            int stride = (length + 3) / 4 * 4;
            var random = new Random(seed);
            var numbers = new float[lines * stride];
            for (int i = 0; i < numbers.Length; i++)
                numbers[i] = i % stride < length ? random.NextSingle() - 0.5f : float.NaN;
            Block block = on.Pool.Rent(numbers.Length);
            on.Upload(numbers, block);
            return (block, stride);
        }
    }

    [Fact]
    public void TuningFindsTheFastestPlan()
    {
        TunedProduct tuned = Assert.Single(new ProductTuning(device).Measure([new GpuGemmSize(65, 64, 256, 1, false, true)]));
        Assert.Equal("65 x 64 x 256 NT", tuned.Product);
        Assert.True(tuned.Best.Microseconds <= tuned.Rule.Microseconds);
        Assert.Null(device.Plans.Forced);
    }

    private float[] WithPlan(string tile, int parts, Func<float[]> run)
    {
        device.Plans.Forced = new GpuGemmPlan(tile, parts);
        try
        {
            return run();
        }
        finally
        {
            device.Plans.Forced = null;
        }
    }

    private void Compare(string tile, int parts, int m, int n, int k, bool transposeA, bool transposeB, int offset, DType type)
    {
        float[] expected = Product(reference), actual = WithPlan(tile, parts, () => Product(device));
        double bound = 1e-5 * Math.Sqrt(Math.Max(1, k));
        for (int i = 0; i < expected.Length; i++)
            Assert.True(Math.Abs(expected[i] - actual[i]) <= bound, $"{m} x {n} x {k} {transposeA} {transposeB} +{offset} {type}: element {i} is {actual[i]} instead of {expected[i]}");

        float[] Product(Device on)
        {
            const int Batch = 2;
            Block a = Numbers(on, Batch * m * k, 1), b = Numbers(on, n * k, 2), c = Numbers(on, Batch * m * n, 3), bias = Numbers(on, n, 4), other = Numbers(on, Batch * m * n, 5);
            Block weights = on.Pool.Rent(n * k, type);
            on.Copy(b, weights);
            on.Gemm(
                new GemmArguments(a, type == DType.F32 ? b : weights, c, m, n, k) { TransposeA = transposeA, TransposeB = transposeB, Alpha = 0.5f, Beta = -1, Batch = Batch, BatchStrideA = (long)m * k, BatchStrideC = (long)m * n },
                new BiasAndGate(), Operand.PerColumn(bias), other);
            var result = new float[c.Length + other.Length];
            on.Download(c, result.AsSpan(0, (int)c.Length));
            on.Download(other, result.AsSpan((int)c.Length));
            foreach (Block block in (Block[])[a, b, c, bias, other, weights])
                on.Pool.Return(block);
            return result;
        }

        Block Numbers(Device on, int length, ulong stream)
        {
            Block block = on.Pool.Rent(length + offset);
            block = block.Slice(offset, length);
            on.Random(block, RandomKind.Normal, 1, 7, stream);
            return block;
        }
    }

    private readonly struct BiasAndGate : IMap3
    {
        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Update);

        public void Apply<L>(ref L a, ref L b, ref L c) where L : struct, ILane<L>
        {
            a += b;
            c *= a;
        }
    }
}

[Collection("gpu"), Trait("device", "opencl")]
public class OpenClProductTests() : GpuProductTests(Gpu.OpenClWithKernelsOfGpus(), thorough: false);

[Collection("gpu"), Trait("device", "cuda")]
public class CudaProductTests() : GpuProductTests(Gpu.Cuda(), thorough: true);

/// <summary>What of the GPUs' code needs no GPU.</summary>
public class GpuPlanTests
{
    private static readonly GpuGemmSize Tall = new(768, 128, 8192, 1, true, false), Large = new(8192, 3072, 768, 1, false, true), Tiny = new(1, 1, 1, 1, false, false);

    [Fact]
    public void LargeProductsGetLargeTilesAndTallOnesAreSplit()
    {
        var plans = new GpuGemmPlans(132, null);
        Assert.Equal(new GpuGemmPlan("128x128", 1), plans.For(Large));
        Assert.InRange(plans.For(Tall).Parts, 2, 16);
        Assert.Equal(new GpuGemmPlan("64x64", 1), plans.For(Tiny));
    }

    [Fact]
    public void TheNearestMeasuredSizeDecides()
    {
        using var folder = new TemporaryFolder();
        string path = Path.Combine(folder.Path, "deep", "table.json");
        var measured = new GpuGemmPlan("64x128", 8);
        GpuGemmPlans.Write(path, [(Tall, measured)]);
        var plans = new GpuGemmPlans(132, path);
        Assert.Equal(measured, plans.For(Tall));
        Assert.Equal(measured, plans.For(Tall with { M = 1024 }));
        Assert.NotEqual(measured, plans.For(Tall with { TransposeB = true }));
        Assert.Equal("128x128", plans.For(Large).Tile);
        File.WriteAllText(path, "[{\"M\":0}]");
        Assert.Contains("tune", Assert.Throws<DeviceException>(() => new GpuGemmPlans(132, path)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void SmallParametersAreUpdatedTogether()
    {
        using var device = GpuDevice.Recorder();
        var gradients = new Gradients(device);
        Parameter[] vectors = [.. Enumerable.Range(0, 5).Select(i => new Parameter(device, $"h.{i}.ln_1.weight", 33 + i))];
        foreach (Parameter vector in vectors)
            device.Fill(gradients.Target(vector, out _), 1);
        using Optimizer adam = Registry.Create(new OptimizerSettings { Name = "adamw" }, vectors, out _);
        device.ClearRecorded();
        adam.Step(gradients);
        Assert.Equal("GpuMapKernels.MapMany", Assert.Single(device.Recorded).Title.Split(" of ")[0]);
    }

    [Fact]
    public void GeneratedCodeSeesPrivateRules()
    {
        using Context context = Context.Create(builder => builder.CPU());
        var visibility = new GpuVisibility(context);
        object system = typeof(Context).GetProperty("RuntimeSystem")!.GetValue(context)!;
        var module = (ModuleBuilder)system.GetType().GetField("moduleBuilder", BindingFlags.NonPublic | BindingFlags.Instance)!.GetValue(system)!;
        Type Emit(string name)
        {
            TypeBuilder type = module.DefineType(name, TypeAttributes.Public | TypeAttributes.Sealed | TypeAttributes.SequentialLayout, typeof(ValueType));
            type.DefineField("rule", typeof(KeyValuePair<Hidden, int>), FieldAttributes.Public);
            return type.CreateType();
        }

        Assert.Throws<TypeLoadException>(() => Emit("Refused"));
        visibility.Allow(typeof(KeyValuePair<Hidden, int>));
        Assert.Single(Emit("Allowed").GetFields());
    }

    private readonly record struct Hidden(int Value);
}
