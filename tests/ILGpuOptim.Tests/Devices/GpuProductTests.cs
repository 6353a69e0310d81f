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

    /// <summary>Products of few rows, whose kernels read B in units of 16 bytes. Integers, so that sums in any order are exact.</summary>
    [Theory]
    [InlineData(DType.F32)]
    [InlineData(DType.BF16)]
    [InlineData(DType.I8)]
    public void FewRowsOfEveryWeight(DType type)
    {
        int[] rows = thorough ? [1, 2, 3, 4, 7, 8] : [1, 2, 7];
        foreach (int m in rows)
        {
            foreach ((int n, int k, bool transposeB, int parts) in ((int, int, bool, int)[])[(1, 32, true, 1), (37, 400, true, 1), (100, 1041, true, 4), (16, 1, false, 1), (272, 129, false, 1), (528, 1000, false, 5)])
            {
                FewRows(m, n, k, transposeB, false, parts, type, float.NaN, 0);
            }

            FewRows(m, 48, 320, true, true, 2, type, float.NaN, 0);
        }

        if (type == DType.I8)
            return;
        FewRows(3, 37, 130, true, false, 1, type, 0.25f, 1);
        FewRows(3, 40, 130, false, false, 1, type, float.PositiveInfinity, 0);
    }

    private void FewRows(int m, int n, int k, bool transposeB, bool transposeA, int parts, DType type, float behind, int offset)
    {
        var size = new GpuGemmPlan(GpuGemmPlan.FewRows, parts);
        float[] expected = Product(reference), actual;
        device.Plans.Forced = size;
        try
        {
            actual = Product(device);
        }
        finally
        {
            device.Plans.Forced = null;
        }

        Assert.True(expected.AsSpan().SequenceEqual(actual), $"{m} x {n} x {k} {transposeA} {transposeB} / {parts} {type}: {string.Join(", ", Enumerable.Range(0, expected.Length).Where(i => !expected[i].Equals(actual[i])).Take(5).Select(i => $"element {i} is {actual[i]} instead of {expected[i]}"))}");

        float[] Product(Device on)
        {
            int batch = type == DType.I8 ? 1 : 2;
            (int lines, int length) = transposeB ? (n, k) : (k, n);
            int stride = type == DType.I8 ? length : (length + 7) / 8 * 8;
            var random = new Random(m * n + k);
            float[] weights = [.. Enumerable.Range(0, batch * lines * stride).Select(i => i % stride >= length ? behind : i % stride % DTypes.QuantizedBlock == 0 ? 127f : random.Next(-8, 9))];
            Block a = Integers(on, batch * m * k, 1), c = Integers(on, batch * m * n, 2), bias = Integers(on, n, 3), other = Integers(on, batch * m * n, 4), b, floats = on.Pool.Rent(weights.Length);
            on.Upload(weights, floats);
            if (type == DType.I8)
            {
                b = on.Pool.Rent(lines, length, type);
                on.Map(new CopyRule(), lines, length, floats, b);
            }
            else
            {
                b = on.Pool.Rent(weights.Length + offset, type).Slice(offset, weights.Length);
                on.Copy(floats, b);
            }

            on.Gemm(
                new GemmArguments(a, b, c, m, n, k)
                {
                    TransposeA = transposeA,
                    TransposeB = transposeB,
                    StrideB = stride,
                    Alpha = 0.5f,
                    Beta = -1,
                    Batch = batch,
                    BatchStrideA = (long)m * k,
                    BatchStrideB = (long)lines * stride,
                    BatchStrideC = (long)m * n,
                    Precision = Precision.BF16,
                },
                new BiasAndGate(), Operand.PerColumn(bias), other);
            var result = new float[c.Length + other.Length];
            on.Download(c, result.AsSpan(0, (int)c.Length));
            on.Download(other, result.AsSpan((int)c.Length));
            foreach (Block block in (Block[])[a, b, c, bias, other, floats])
                on.Pool.Return(block);
            return result;
        }

        static Block Integers(Device on, int length, int seed)
        {
            var random = new Random(seed);
            Block block = on.Pool.Rent(length);
            on.Upload([.. Enumerable.Range(0, length).Select(_ => (float)random.Next(-8, 9))], block);
            return block;
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

    [Fact]
    public void TuningKnowsFewRowsAndTensorCores()
    {
        GpuGemmSize few = new GpuGemmSize(1, 32, 256, 1, false, true) { RowColumns = 32 }, tensor = new(16, 16, 128, 1, false, true, device.HasTensorCores ? Precision.BF16 : Precision.F32);
        TunedProduct[] tuned = [.. new ProductTuning(device).Measure([few, tensor])];
        Assert.Equal(["1 x 32 x 256 NT", $"16 x 16 x 128 NT{(device.HasTensorCores ? " bf16" : "")}"], tuned.Select(product => product.Product));
        Assert.StartsWith(GpuGemmPlan.FewRows, tuned[0].Rule.Plan, StringComparison.Ordinal);
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
    public void FewRowsAreSplitUntilAllMultiprocessorsAreBusy()
    {
        var plans = new GpuGemmPlans(132, null);
        GpuGemmSize one = new GpuGemmSize(1, 4096, 11008, 1, false, true) { RowColumns = 32 };
        Assert.Equal(new GpuGemmPlan(GpuGemmPlan.FewRows, 5), plans.For(one));
        Assert.Equal(new GpuGemmPlan(GpuGemmPlan.FewRows, 1), plans.For(one with { N = 50257, K = 768 }));
        Assert.Equal(new GpuGemmPlan(GpuGemmPlan.FewRows, 6), plans.For(one with { N = 768, K = 768 }));
    }

    [Theory]
    [InlineData(1, 256, 0, Precision.F32, "GpuGemmRows.Dots")]
    [InlineData(8, 256, 0, Precision.BF16, "GpuGemmRows.Dots")]
    [InlineData(1, 257, 1, Precision.F32, "GpuGemmRows.Dots")]
    [InlineData(9, 256, 0, Precision.F32, "GpuGemmTiles.Run")]
    [InlineData(64, 256, 0, Precision.TF32, "GpuGemmTensor.Run")]
    [InlineData(64, 257, 0, Precision.TF32, "GpuGemmPacking.Pack GpuGemmTensor.Run")]
    [InlineData(64, 256, 0, Precision.BF16, "GpuGemmPacking.Pack GpuGemmTensor.Run")]
    public void SizePlaceAndPrecisionChooseTheKernel(int rows, int stride, int offset, Precision precision, string kernels)
    {
        using var device = GpuDevice.Recorder();
        Block a = device.Pool.Rent(64 * 256), b = device.Pool.Rent((64 * 257) + 1), c = device.Pool.Rent(64 * 64);
        device.Gemm(new GemmArguments(a, b.Slice(offset, b.Length - offset), c, rows, 64, 256) { TransposeB = true, StrideB = stride, Precision = precision });
        Assert.Equal(kernels, string.Join(' ', device.Recorded.Select(kernel => kernel.Title.Split(" of ")[0]).Where(title => title != "GpuGemmTiles.Finish").Distinct()));
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
        Assert.NotEqual(measured, plans.For(Tall with { Precision = Precision.BF16 }));
        GpuGemmPlans.Write(path, [(Tall with { M = 8, Precision = Precision.TF32 }, new GpuGemmPlan(GpuGemmPlan.FewRows, 3))]);
        plans = new GpuGemmPlans(132, path);
        Assert.Equal(new GpuGemmPlan(GpuGemmPlan.FewRows, 3), plans.For(Tall with { M = 8, Precision = Precision.TF32, RowColumns = 128 }));
        Assert.False(plans.For(Tall with { M = 9, Precision = Precision.TF32 }).IsFewRows);
        GpuGemmPlans.Write(path, [(Tall, measured)]);
        plans = new GpuGemmPlans(132, path);
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
