using ILGpuOptim.Compute;
using ILGpuOptim.Compute.Gpu;
using ILGpuOptim.Data;
using ILGpuOptim.Models;
using ILGpuOptim.Training;

namespace ILGpuOptim.Tests.Devices;

/// <summary>Products on tensor cores against the reference device.</summary>
[Collection("gpu"), Trait("device", "cuda")]
public class TensorProductTests
{
    private readonly GpuDevice device = Gpu.Cuda();
    private readonly ReferenceDevice reference = new();

    public TensorProductTests() => Assert.SkipUnless(device.HasTensorCores, "the device has no tensor cores");

    public static TheoryData<Precision, string, int> Plans
    {
        get
        {
            var result = new TheoryData<Precision, string, int>();
            foreach (Precision precision in (Precision[])[Precision.TF32, Precision.BF16])
            {
                foreach (string tile in GpuGemmPlan.Tiles)
                {
                    result.Add(precision, tile, 1);
                    result.Add(precision, tile, 3);
                }
            }

            return result;
        }
    }

    /// <summary>Small integers are exact in both types, and so are their sums.</summary>
    [Theory]
    [MemberData(nameof(Plans))]
    public void ProductsOfIntegersAreExact(Precision precision, string tile, int parts)
    {
        foreach ((int m, int n, int k) in ((int, int, int)[])[(1, 1, 1), (7, 33, 31), (129, 65, 100), (70, 201, 517), (3, 5, 0)])
        {
            for (int form = 0; form < 4; form++)
                Compare(new Case(m, n, k, precision, (form & 1) != 0, (form & 2) != 0), tile, parts, exact: true);
        }
    }

    [Theory]
    [InlineData(Precision.TF32)]
    [InlineData(Precision.BF16)]
    public void StoredTypesAndPlacesAreFree(Precision precision)
    {
        DType[] types = [DType.F32, DType.BF16, DType.I8];
        foreach (DType a in types[..2])
        {
            foreach (DType b in types)
            {
                for (int form = 0; form < 4; form++)
                {
                    var one = new Case(68, 131, 300, precision, (form & 1) != 0, (form & 2) != 0) { TypeA = a, TypeB = b };
                    Compare(one, "128x64", 1, exact: true);
                    if (b == DType.I8)
                        continue;
                    Compare(one with { Offset = 1 }, "64x128", 1, exact: true);
                    Compare(one with { Offset = 8, Behind = 5 }, "64x64", 2, exact: true);
                    Compare(one with { Offset = 8, Behind = a == DType.F32 ? 4 : 12 }, "128x128", 2, exact: true);
                }
            }
        }
    }

    /// <summary>Factors are rounded to the nearest, sums are f32.</summary>
    [Theory]
    [InlineData(Precision.TF32)]
    [InlineData(Precision.BF16)]
    public void ErrorsStayWithinTheUnitRoundoff(Precision precision)
    {
        for (int form = 0; form < 4; form++)
        {
            Compare(new Case(70, 132, 515, precision, (form & 1) != 0, (form & 2) != 0), "128x128", 1, exact: false);
            Compare(new Case(130, 36, 1024, precision, (form & 1) != 0, (form & 2) != 0) { TypeB = DType.BF16 }, "64x64", 4, exact: false);
        }
    }

    [Theory]
    [InlineData(Precision.TF32)]
    [InlineData(Precision.BF16)]
    public void NotANumberAndInfinityArriveWhereTheyBelong(Precision precision)
    {
        // The largest NaN, which processors and GPUs return: rounding it must not overflow into a number.
        float nan = BitConverter.UInt32BitsToSingle(0x7FFFFFFF);
        foreach ((float special, int k) in ((float, int)[])[(nan, 40), (float.NegativeInfinity, 40), (float.PositiveInfinity, 37), (float.NaN, 37), (-nan, 8)])
        {
            for (int form = 0; form < 4; form++)
            {
                var one = new Case(70, 72, k, precision, (form & 1) != 0, (form & 2) != 0) { Special = special };
                float[] expected = Product(reference, one, integers: true), actual = WithPlan("64x64", 1, one, integers: true);
                Assert.Contains(expected, float.IsFinite);
                Assert.Contains(expected, x => !float.IsFinite(x));
                Assert.Equal(expected, actual);
            }
        }
    }

    [Theory]
    [InlineData(Precision.TF32)]
    [InlineData(Precision.BF16)]
    public void EveryRunGivesTheSameBits(Precision precision)
    {
        var one = new Case(200, 136, 700, precision, false, true);
        Assert.Equal(WithPlan("64x128", 4, one, integers: false), WithPlan("64x128", 4, one, integers: false));
    }

    [Theory]
    [InlineData(Precision.TF32)]
    [InlineData(Precision.BF16)]
    public void TheWorkspaceIsWhatAPlanCounts(Precision precision)
    {
        foreach ((int offset, DType type) in ((int, DType)[])[(0, DType.F32), (0, DType.BF16), (1, DType.F32)])
        {
            device.Plans.Forced = new GpuGemmPlan("64x64", 2);
            try
            {
                Block a = device.Pool.Rent(4096 + offset, type).Slice(offset, 4096), b = device.Pool.Rent(4096 + offset, type).Slice(offset, 4096), c = device.Pool.Rent(4096);
                var product = new GemmArguments(a, b, c, 16, 16, 256) { Precision = precision };
                foreach (Block block in (Block[])[a, b, c])
                    device.Fill(block, 0);
                device.Pool.Trim();
                device.Pool.ResetPeak();
                long before = device.Pool.UsedBytes;
                device.Gemm(product);
                Assert.InRange(device.Pool.PeakBytes - before, 4 * device.WorkspaceOf(product), 4 * device.WorkspaceOf(product) + 1024);
                foreach (Block block in (Block[])[a, b, c])
                    device.Pool.Return(block);
            }
            finally
            {
                device.Plans.Forced = null;
            }
        }
    }

    /// <summary>Rounding factors to 10 bits changes a loss by far less than a step does.</summary>
    [Fact]
    public void StepsInTf32FollowTheProcessor()
    {
        TrainingSettings settings = Presets.Find("tiny") with { Steps = 4, Warmup = 1, Precision = Precision.TF32 };
        using var processor = new CpuDevice(2);
        float[] expected = Losses(processor), actual = Losses(device);
        for (int step = 0; step < expected.Length; step++)
            Assert.True(Math.Abs(actual[step] - expected[step]) <= 2e-3, $"step {step + 1}: a loss of {actual[step]} instead of {expected[step]}");
        Assert.NotEqual(expected, actual);

        float[] Losses(Device on)
        {
            using Dataset data = TrainingRun.LoadData(settings);
            using LanguageModel model = TrainedModel.Create(TrainedModel.Configuration(settings, data), settings, on);
            using var trainer = new Trainer(on, model, data, settings);
            return [.. Enumerable.Range(0, settings.Steps).Select(_ => trainer.Step().Loss)];
        }
    }

    private void Compare(Case one, string tile, int parts, bool exact)
    {
        float[] expected = Product(reference, one, exact), actual = WithPlan(tile, parts, one, exact);
        float[] magnitudes = exact ? [] : Product(reference, one with { Magnitudes = true }, exact);

        // Each factor is rounded with relative error u; sums of k products add k roundings of f32.
        double u = one.Precision == Precision.BF16 ? Math.Pow(2, -8) : Math.Pow(2, -11), relative = (1 + u) * (1 + u) - 1 + (one.K + 8) * Math.Pow(2, -23);
        double worst = 0;
        for (int i = 0; i < expected.Length; i++)
        {
            double bound = exact ? 0 : relative * magnitudes[i];
            worst = Math.Max(worst, exact ? 0 : Math.Abs(expected[i] - actual[i]) / bound);
            Assert.True(Math.Abs(expected[i] - actual[i]) <= bound, $"{one} {tile} / {parts}: element {i} is {actual[i]} instead of {expected[i]}, bound {bound}");
        }

        // A kernel that rounded nothing would not be the one under test.
        if (!exact && one is { TypeA: DType.F32, TypeB: DType.F32 })
            Assert.InRange(worst, 0.01, 1);
    }

    private float[] WithPlan(string tile, int parts, Case one, bool integers)
    {
        device.Plans.Forced = new GpuGemmPlan(tile, parts);
        try
        {
            return Product(device, one, integers);
        }
        finally
        {
            device.Plans.Forced = null;
        }
    }

    /// <summary>A batched product with alpha, beta, a bias and a gate; a small one with k = 0 is beta · C and the epilogue.</summary>
    private static float[] Product(Device on, Case one, bool integers)
    {
        // Bytes are never batched.
        int batch = one.TypeB == DType.I8 ? 1 : 2;
        (int linesA, int lengthA) = one.TransposeA ? (one.K, one.M) : (one.M, one.K);
        (int linesB, int lengthB) = one.TransposeB ? (one.N, one.K) : (one.K, one.N);
        int strideA = lengthA + one.Behind, strideB = lengthB + one.Behind;
        Block a = Factor(on, one, one.TypeA, batch * linesA, lengthA, strideA, 1, integers), b = Factor(on, one, one.TypeB, batch * linesB, lengthB, strideB, 2, integers);
        Block c = Numbers(on, batch * one.M * one.N, 3, integers, one.Magnitudes), bias = Numbers(on, one.N, 4, integers, one.Magnitudes), other = Numbers(on, batch * one.M * one.N, 5, integers, one.Magnitudes);
        on.Gemm(
            new GemmArguments(a, b, c, one.M, one.N, one.K)
            {
                TransposeA = one.TransposeA,
                TransposeB = one.TransposeB,
                StrideA = strideA,
                StrideB = strideB,
                Alpha = 0.5f,
                Beta = one.Magnitudes ? 1 : -1,
                Batch = batch,
                BatchStrideA = (long)linesA * strideA,
                BatchStrideB = (long)linesB * strideB,
                BatchStrideC = (long)one.M * one.N,
                Precision = one.Precision,
            },
            new BiasAndSum(), Operand.PerColumn(bias), other);
        var result = new float[c.Length + other.Length];
        on.Download(c, result.AsSpan(0, (int)c.Length));
        on.Download(other, result.AsSpan((int)c.Length));
        foreach (Block block in (Block[])[a, b, c, bias, other])
            on.Pool.Return(block);
        return result;
    }

    /// <summary>Lines of numbers, a stride apart, with NaN between them.</summary>
    private static Block Factor(Device on, Case one, DType type, int lines, int length, int stride, int seed, bool integers)
    {
        var random = new Random(seed);
        var numbers = new float[lines * stride];
        for (int i = 0; i < numbers.Length; i++)
        {
            // The largest of 256 bytes with a scale of 1 is 127.
            float number = type == DType.I8 && i % stride % DTypes.QuantizedBlock == 0 ? 127 : integers ? random.Next(-8, 9) : random.NextSingle() - 0.5f;
            numbers[i] = i % stride >= length ? float.NaN : one.Magnitudes ? Math.Abs(number) : number;
        }

        if (one.Special != 0 && seed == 1 && numbers.Length > 0)
            numbers[numbers.Length / 2 / stride * stride + length / 2] = one.Special;
        Block floats = on.Pool.Rent(numbers.Length), block;
        on.Upload(numbers, floats);
        if (type == DType.I8)
        {
            block = on.Pool.Rent(lines, length, type);
            on.Map(new CopyRule(), lines, length, floats, block);
        }
        else
        {
            block = on.Pool.Rent(numbers.Length + one.Offset, type).Slice(one.Offset, numbers.Length);
            on.Copy(floats, block);
        }

        on.Pool.Return(floats);
        return block;
    }

    private static Block Numbers(Device on, int length, int seed, bool integers, bool magnitudes)
    {
        var random = new Random(seed);
        Block block = on.Pool.Rent(length);
        float[] numbers = [.. Enumerable.Range(0, length).Select(_ => integers ? random.Next(-8, 9) : random.NextSingle() - 0.5f)];
        on.Upload(magnitudes ? [.. numbers.Select(Math.Abs)] : numbers, block);
        return block;
    }

    private sealed record Case(int M, int N, int K, Precision Precision, bool TransposeA, bool TransposeB)
    {
        public DType TypeA { get; init; }

        public DType TypeB { get; init; }

        /// <summary>Elements before the first of each factor, and between its lines.</summary>
        public int Offset { get; init; }

        /// <inheritdoc cref="Offset"/>
        public int Behind { get; init; }

        /// <summary>A number in the middle of A.</summary>
        public float Special { get; init; }

        /// <summary>Absolute values everywhere: the scale of rounding errors.</summary>
        public bool Magnitudes { get; init; }
    }

    private readonly struct BiasAndSum : IMap3
    {
        public static Access Access => Access.Of(Slot.Update, Slot.Read, Slot.Update);

        public void Apply<L>(ref L a, ref L b, ref L c) where L : struct, ILane<L>
        {
            a += b;
            c += a;
        }
    }
}
