using ILGpuOptim.Compute;
using Xunit;

namespace ILGpuOptim.Tests.Cpu;

public class AttentionTests
{
    public static TheoryData<int> Widths => [128, 256, 512];

    [Theory]
    [MemberData(nameof(Widths))]
    public void AgreesWithTheTextbookInEveryWidth(int width)
    {
        using var device = new CpuDevice(2, width);
        AgreesWithTheTextbook(device, AttentionShapes.Usual());
    }

    [Theory]
    [MemberData(nameof(Widths))]
    public void MasksAgreeWithTheTextbookInEveryWidth(int width)
    {
        using var device = new CpuDevice(2, width);
        AgreesWithTheTextbook(device, AttentionShapes.Masked().Concat(AttentionShapes.MoreMasked()));
    }

    [Theory]
    [MemberData(nameof(Widths))]
    public void AgreesWithTheTextbookInBf16(int width)
    {
        using var device = new CpuDevice(2, width);
        AgreesWithTheTextbook(device, AttentionShapes.Usual().Concat(AttentionShapes.Masked()).Select(shape => shape with { Narrow = true }));
    }

    internal static void AgreesWithTheTextbook(Device device, IEnumerable<AttentionShape> shapes)
    {
        foreach (AttentionShape shape in shapes)
            AttentionProblem.Run(device, shape).AssertExact();
    }

    internal static void RepeatsItsBits(Device device)
    {
        var shape = new AttentionShape(1, 6, 2, 33, 150, 150) { Causal = true, Bias = true, Dropout = 0.1f, Distances = true, Cap = 3, Before = 100 };
        AttentionProblem.Run(device, shape).AssertSameBits(AttentionProblem.Run(device, shape));
    }

    [Fact]
    public void TheReferenceGradientIsTheSlopeOfTheReference()
    {
        var shape = new AttentionShape(1, 2, 1, 3, 4, 5) { Causal = true, Bias = true, Dropout = 0.4f, Before = 2, Cap = 0.8f, Distances = true, Gap = 1, Ranges = AttentionRanges.Documents };
        var problem = new AttentionProblem(shape);
        double[][] inputs = [problem.Query, problem.Key, problem.Value, problem.Distances!];
        double Loss() => problem.Reference().Output.Zip(problem.OutputGradient, (x, y) => x * y).Sum();
        (double[] query, double[] key, double[] value, double[] distances) = problem.Reference().Backward(problem.OutputGradient);
        double[][] gradients = [query, key, value, distances];
        for (int n = 0; n < inputs.Length; n++)
        {
            for (int i = 0; i < inputs[n].Length; i++)
            {
                const double Step = 1e-5;
                double old = inputs[n][i];
                inputs[n][i] = old + Step;
                double up = Loss();
                inputs[n][i] = old - Step;
                double down = Loss();
                inputs[n][i] = old;
                Assert.Equal((up - down) / (2 * Step), gradients[n][i], 3e-10);
            }
        }
    }

    [Theory]
    [MemberData(nameof(Widths))]
    public void ResultsDoNotDependOnTheNumberOfThreads(int width)
    {
        AttentionShape[] shapes =
        [
            new(1, 6, 2, 33, 150, 150) { Causal = true, Bias = true, Dropout = 0.1f },
            new(1, 1, 1, 32, 330, 330) { Causal = true },
            new(1, 2, 1, 64, 130, 200),
            new(3, 6, 2, 32, 1, 513),
            new(1, 2, 1, 24, 200, 330) { Causal = true, Before = 80, Ranges = AttentionRanges.Documents, Cap = 2, Distances = true, Dropout = 0.1f },
            new(2, 2, 2, 16, 330, 330) { Distances = true },
            new(3, 6, 2, 32, 2, 513) { Before = 100, Distances = true, Cap = 2 },
        ];
        foreach (AttentionShape shape in shapes.Concat(shapes.Select(shape => shape with { Narrow = true })))
        {
            AttentionResults? first = null;
            for (int threads = 1; threads <= 3; threads++)
            {
                using var device = new CpuDevice(threads, width);
                AttentionResults results = AttentionProblem.Run(device, shape);
                first ??= results;
                results.AssertSameBits(first);
            }
        }
    }

    [Theory]
    [InlineData(1, 200)]
    [InlineData(130, 130)]
    public void AfterTheFirstCallNothingIsAllocated(int queries, int keys)
    {
        using var device = new CpuDevice(1);
        var shape = new AttentionShape(1, 4, 2, 33, queries, keys) { Causal = true, Dropout = 0.1f };
        Block query = device.Pool.Rent(shape.QueryNumbers), key = device.Pool.Rent(shape.KeyNumbers), output = device.Pool.Rent(shape.OutputNumbers);
        Block sums = device.Pool.Rent(shape.Rows), gradient = device.Pool.Rent(shape.QueryNumbers), keyGradient = device.Pool.Rent(shape.KeyNumbers);
        Block valueGradient = device.Pool.Rent(shape.KeyNumbers);
        foreach (Block block in new[] { query, key })
            device.Fill(block, 0.5f);
        var arguments = new AttentionArguments(query, key, key, output)
        {
            Batch = 1,
            Heads = 4,
            KeyHeads = 2,
            HeadSize = 33,
            QueryLength = queries,
            KeyLength = keys,
            QueryStride = shape.QueryStride,
            KeyStride = shape.KeyStride,
            OutputStride = shape.OutputStride,
            Causal = true,
            Scale = shape.Scale,
            LogSumExp = sums,
            Dropout = 0.1f,
        };
        long before = 0;
        for (int call = 0; call < 3; call++)
        {
            device.AttentionForward(arguments);
            device.AttentionBackward(arguments, new(output, gradient, keyGradient, valueGradient));
            if (call == 1)
                before = GC.GetAllocatedBytesForCurrentThread();
        }

        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }

    /// <summary>The reference device, whose sums are double, against the textbook.</summary>
    [Fact]
    public void TheReferenceDeviceAgreesWithTheTextbook()
    {
        using var device = new ReferenceDevice();
        AgreesWithTheTextbook(device, AttentionShapes.Usual().Concat(AttentionShapes.Masked()).Concat(AttentionShapes.MoreMasked()).SelectMany(shape => (AttentionShape[])[shape, shape with { Narrow = true }]).Where(shape => (long)shape.Rows * shape.KeyLength * shape.HeadSize < 2_000_000));
    }

    [Fact]
    public void OneMaskSaidInSeveralWaysGivesTheSameBits()
    {
        using var device = new CpuDevice(2);
        OneMaskSaidInSeveralWays(device);
    }

    internal static void OneMaskSaidInSeveralWays(Device device)
    {
        foreach (int queries in (int[])[1, 3, 130])
        {
            var full = new AttentionShape(1, 2, 1, 20, queries, 130);
            AttentionResults causal = AttentionProblem.Run(device, full with { Causal = true });
            AttentionProblem.Run(device, full with { After = 0 }).AssertSameBits(causal);
            AttentionProblem.Run(device, full with { Causal = true, After = 50, Before = 130, Ranges = AttentionRanges.Everything }).AssertSameBits(causal);
            AttentionProblem.Run(device, full with { Before = 1000, After = 1000, Ranges = AttentionRanges.Everything }).AssertSameBits(AttentionProblem.Run(device, full));
        }
    }

    /// <summary>Tiles outside all windows are not computed: what is in them, even NaN, reaches nobody.</summary>
    [Theory]
    [InlineData(2)]
    [InlineData(200)]
    public void WhatNobodySeesIsNotRead(int queries)
    {
        using var device = new CpuDevice(1);
        WhatNobodySees(device, queries);
        WhatNobodySees(device, queries, narrow: true);
    }

    internal static void WhatNobodySees(Device device, int queries, bool narrow = false, Precision precision = Precision.F32)
    {
        var shape = new AttentionShape(1, 1, 1, 16, queries, 400) { Causal = true, Before = 20, Narrow = narrow, Precision = precision };
        var problem = new AttentionProblem(shape);
        Array.Fill(problem.Key, double.NaN, 0, 128 * shape.KeyStride);
        Array.Fill(problem.Value, double.NaN, 0, 128 * shape.KeyStride);
        AttentionResults results = AttentionProblem.Run(device, shape, problem);
        Assert.DoesNotContain(results.Output, float.IsNaN);
        Assert.DoesNotContain(results.QueryGradient, float.IsNaN);
        Assert.All(results.KeyGradient.Take(128 * shape.KeyStride), x => Assert.Equal(0f, x));
    }

    /// <summary>The mask of dropout is what <see cref="Device.Random"/> draws for a block of all weights.</summary>
    [Fact]
    public void DropoutIsTheKeepMaskOfTheDevice()
    {
        using var device = new CpuDevice(1);
        Block block = device.Pool.Rent(1001);
        device.Random(block, RandomKind.KeepMask, 0.75f, AttentionProblem.Seed, AttentionProblem.Stream);
        float[] mask = new float[1001];
        device.Download(block, mask);
        Assert.Equal(mask, Array.ConvertAll(AttentionProblem.KeepMask(1001, 0.25f), x => (float)x));
        Assert.InRange(mask.Count(x => x == 0), 200, 300);
    }

    [Theory]
    [InlineData(1, 70)]
    [InlineData(70, 70)]
    public void RowsWithoutAnyKeyAreZeroAndHaveNoGradient(int queries, int keys)
    {
        using var device = new CpuDevice(2);
        RowsWithoutAnyKey(device, queries, keys);
        RowsWithoutAnyKey(device, queries, keys, narrow: true);
    }

    internal static void RowsWithoutAnyKey(Device device, int queries, int keys, bool narrow = false)
    {
        var shape = new AttentionShape(2, 2, 1, 33, queries, keys) { Bias = true, Narrow = narrow };
        var problem = new AttentionProblem(shape);
        Array.Fill(problem.Bias!, double.NegativeInfinity, 0, keys);
        AttentionResults results = AttentionProblem.Run(device, shape, problem);
        results.AssertExact();
        Assert.All(results.LogSumExp.Take(2 * queries), x => Assert.Equal(float.PositiveInfinity, x));
        Assert.All(results.Output.Take(queries * shape.OutputStride), x => Assert.Equal(0f, x));
        Assert.All(results.QueryGradient.Take(queries * shape.QueryStride), x => Assert.Equal(0f, x));
        Assert.All(results.KeyGradient.Take(keys * shape.KeyStride), x => Assert.Equal(0f, x));
        Assert.All(results.ValueGradient.Take(keys * shape.KeyStride), x => Assert.Equal(0f, x));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    [InlineData(70)]
    public void NaNReachesTheRowsThatSeeIt(int queries)
    {
        using var device = new CpuDevice(1);
        NaNReaches(device, queries);
        NaNReaches(device, queries, narrow: true);
    }

    internal static void NaNReaches(Device device, int queries, bool narrow = false, Precision precision = Precision.F32)
    {
        var shape = new AttentionShape(1, 2, 2, 16, queries, 140) { Causal = true, Narrow = narrow, Precision = precision };
        var problem = new AttentionProblem(shape);
        problem.Query[shape.Query(0, queries - 1, 1, 3)] = double.NaN;
        AttentionResults results = AttentionProblem.Run(device, shape, problem);
        for (int h = 0; h < 2; h++)
        {
            for (int i = 0; i < queries; i++)
            {
                for (int d = 0; d < 16; d++)
                    Assert.Equal(h == 1 && i == queries - 1, float.IsNaN(results.Output[shape.Output(0, i, h, d)]));
            }
        }

        problem = new AttentionProblem(shape);
        problem.Key[shape.Key(0, 100, 1, 3)] = double.NaN;
        results = AttentionProblem.Run(device, shape, problem);
        for (int i = 0; i < queries; i++)
        {
            for (int d = 0; d < 16; d++)
            {
                Assert.Equal(shape.Sees(i, 100), float.IsNaN(results.Output[shape.Output(0, i, 1, d)]));
                Assert.False(float.IsNaN(results.Output[shape.Output(0, i, 0, d)]));
            }
        }
    }

    [Fact]
    public void PartsOfOnePackedBlockAreReadAndWrittenInPlace()
    {
        using var device = new CpuDevice(2);
        PartsOfOnePackedBlock(device);
    }

    internal static void PartsOfOnePackedBlock(Device device)
    {
        // Query at 0, key at 128, value at 256 of rows of 384 numbers, as one linear layer leaves them.
        const int Batch = 2, Heads = 4, Size = 32, Length = 40, Row = 3 * Heads * Size;
        var shape = new AttentionShape(Batch, Heads, Heads, Size, Length, Length) { Causal = true };
        var problem = new AttentionProblem(shape);
        float[] packed = new float[Batch * Length * Row];
        double[][] parts = [problem.Query, problem.Key, problem.Value];
        for (int i = 0; i < packed.Length; i++)
            packed[i] = (float)parts[i % Row / 128][(i / Row * 128) + (i % 128)];
        Block inputs = AttentionProblem.Upload(device, packed), gradients = device.Pool.Rent(packed.Length);
        Block output = device.Pool.Rent(shape.OutputNumbers), sums = device.Pool.Rent(shape.Rows);
        Block Part(Block block, int n) => block.Slice(n * 128, packed.Length - (n * 128));
        var arguments = new AttentionArguments(Part(inputs, 0), Part(inputs, 1), Part(inputs, 2), output)
        {
            Batch = Batch,
            Heads = Heads,
            KeyHeads = Heads,
            HeadSize = Size,
            QueryLength = Length,
            KeyLength = Length,
            QueryStride = Row,
            KeyStride = Row,
            OutputStride = Heads * Size,
            Causal = true,
            Scale = shape.Scale,
            LogSumExp = sums,
        };
        device.AttentionForward(arguments);
        Block outputGradient = AttentionProblem.Upload(device, Array.ConvertAll(problem.OutputGradient, x => (float)x));
        device.AttentionBackward(arguments, new(outputGradient, Part(gradients, 0), Part(gradients, 1), Part(gradients, 2)));
        float[] result = new float[packed.Length];
        device.Download(gradients, result);
        AttentionResults apart = AttentionProblem.Run(device, shape, problem);
        float[][] expected = [apart.QueryGradient, apart.KeyGradient, apart.ValueGradient];
        for (int i = 0; i < packed.Length; i++)
            Assert.Equal(expected[i % Row / 128][(i / Row * 128) + (i % 128)], result[i]);
    }
}
