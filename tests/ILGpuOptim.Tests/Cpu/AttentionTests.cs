using ILGpuOptim.Compute;
using Xunit;

namespace ILGpuOptim.Tests.Cpu;

public class AttentionTests
{
    private const ulong Seed = 77, Stream = 5;
    private const float Untouched = -12345.5f;

    public static TheoryData<int> Widths => [128, 256, 512];

    /// <summary>Every feature, with lengths and head sizes on both sides of vectors, register tiles and blocks.</summary>
    public static IEnumerable<AttentionShape> Shapes()
    {
        int[] lengths = [1, 2, 3, 7, 31, 33, 64, 130];
        int[] sizes = [1, 7, 16, 32, 33, 64, 128];
        for (int n = 0; n < lengths.Length; n++)
        {
            for (int m = 0; m < sizes.Length; m++)
            {
                yield return new(1, 2, 1, sizes[m], lengths[n], lengths[n]) { Causal = (n + m) % 2 == 0, Padding = m % 3 };
            }
        }

        yield return new(2, 6, 2, 33, 31, 31) { Causal = true, Bias = true, Padding = 5 };
        yield return new(3, 6, 2, 7, 33, 70) { Causal = true, SpareKeys = 3 };
        yield return new(2, 3, 3, 16, 70, 33) { Causal = true };
        yield return new(1, 1, 1, 32, 200, 65) { Causal = true, Bias = true };
        yield return new(2, 2, 1, 16, 1, 300) { Causal = true, Bias = true, SpareKeys = 40, Padding = 3 };
        yield return new(2, 4, 2, 33, 2, 131) { Causal = true, SpareKeys = 1, Dropout = 0.3f };
        yield return new(1, 6, 2, 64, 3, 131) { Causal = true };
        yield return new(2, 2, 2, 64, 7, 1) { Bias = true };
        yield return new(2, 6, 2, 33, 67, 129) { Causal = true, Bias = true, Dropout = 0.25f, Padding = 1, SpareKeys = 2 };
        yield return new(1, 2, 2, 8, 130, 67) { Dropout = 0.5f };
        yield return new(12, 4, 4, 32, 64, 64) { Causal = true };
        yield return new(1, 2, 1, 64, 130, 130) { Causal = true };
        yield return new(2, 4, 2, 64, 67, 129) { Causal = true, Bias = true, Dropout = 0.25f, Padding = 4, SpareKeys = 2 };
        yield return new(1, 2, 2, 48, 70, 33) { Bias = true };
        yield return new(1, 3, 1, 12, 100, 200) { Causal = true, Padding = 8 };
        yield return new(0, 2, 2, 8, 4, 4);
        yield return new(2, 2, 2, 8, 0, 4);
        yield return new(2, 2, 2, 8, 4, 0);
        yield return new(1, 2, 2, 8, 1, 0) { Causal = true };
    }

    /// <summary>Windows, ranges, soft-caps, biases by distance and gaps between heads, with few combinations, because a GPU compiles kernels for each.</summary>
    public static IEnumerable<AttentionShape> MaskedShapes()
    {
        // Windows, smaller than a tile and larger; in one direction and in both.
        yield return new(2, 2, 1, 16, 150, 150) { Causal = true, Before = 9 };
        yield return new(1, 2, 2, 33, 210, 210) { Causal = true, Before = 64 };
        yield return new(1, 2, 2, 33, 200, 200) { Before = 30, After = 70 };
        yield return new(1, 2, 1, 16, 130, 70) { Causal = true, Before = 5 };
        yield return new(1, 2, 1, 16, 70, 200) { Before = 65, After = 2 };
        yield return new(2, 4, 2, 24, 3, 300) { Causal = true, Before = 129, SpareKeys = 4 };
        yield return new(1, 2, 1, 33, 100, 100) { After = 3 };

        // Documents and other ranges.
        yield return new(3, 2, 1, 16, 150, 150) { Causal = true, Ranges = AttentionRanges.Documents };
        yield return new(2, 2, 2, 33, 140, 140) { Ranges = AttentionRanges.Documents };
        yield return new(2, 2, 2, 8, 1, 1) { Ranges = AttentionRanges.Documents };
        yield return new(3, 4, 2, 16, 100, 170) { Ranges = AttentionRanges.Any };
        yield return new(2, 2, 2, 33, 170, 100) { Ranges = AttentionRanges.Any };
        yield return new(2, 2, 2, 8, 65, 65) { Ranges = AttentionRanges.Everything };
        yield return new(2, 2, 2, 8, 4, 0) { Ranges = AttentionRanges.Everything };
        yield return new(0, 2, 2, 8, 4, 4) { Ranges = AttentionRanges.Any };

        // Soft-cap, biases by distance, gaps between heads.
        yield return new(2, 2, 1, 33, 70, 70) { Causal = true, Cap = 0.7f };
        yield return new(2, 2, 1, 16, 70, 131) { Distances = true };
        yield return new(2, 2, 2, 16, 200, 67) { Distances = true, Causal = true };
        yield return new(3, 3, 3, 17, 130, 67) { Distances = true, Causal = true };
        yield return new(2, 2, 2, 8, 0, 4) { Distances = true };
        yield return new(2, 2, 2, 8, 4, 0) { Distances = true };
        yield return new(0, 2, 2, 8, 4, 4) { Distances = true };
        yield return new(2, 4, 2, 16, 70, 70) { Gap = 4, Padding = 4 };
        yield return new(2, 4, 2, 9, 3, 131) { Gap = 3, Causal = true };

        // Everything at once.
        yield return new(2, 6, 2, 24, 150, 190)
        {
            Causal = true,
            Before = 70,
            Ranges = AttentionRanges.Documents,
            Cap = 2,
            Distances = true,
            Bias = true,
            Dropout = 0.25f,
            Padding = 4,
            Gap = 4,
            SpareKeys = 6,
        };
        yield return new(2, 6, 2, 33, 150, 90) { Before = 40, After = 50, Ranges = AttentionRanges.Any, Cap = 1, Distances = true, Bias = true, Dropout = 0.25f, Padding = 1, Gap = 3, SpareKeys = 1 };
    }

    /// <summary>
    /// One of each kind of kernel that GPUs have: heads up to 32 and longer, on tiles (sizes and strides are multiples of four) and general, with and
    /// without biases and dropout, with every mask; and lengths of zero. For a driver that takes seconds to compile one.
    /// </summary>
    public static IEnumerable<AttentionShape> FewShapes()
    {
        yield return new(1, 2, 1, 16, 33, 33) { Causal = true };
        yield return new(1, 2, 1, 7, 33, 70) { Causal = true, Padding = 1 };
        yield return new(1, 2, 1, 64, 67, 67);
        yield return new(2, 3, 3, 33, 70, 33) { Causal = true };
        yield return new(1, 4, 2, 64, 67, 129) { Causal = true, Bias = true, Dropout = 0.25f, Padding = 4, SpareKeys = 2 };
        yield return new(1, 6, 2, 33, 67, 65) { Causal = true, Bias = true, Dropout = 0.25f, Padding = 1, SpareKeys = 2 };
        yield return new(0, 2, 2, 8, 4, 4);
        yield return new(2, 2, 2, 8, 0, 4);
        yield return new(2, 2, 2, 8, 4, 0);
    }

    /// <summary>More of them, for devices that compile nothing.</summary>
    public static IEnumerable<AttentionShape> MoreMaskedShapes()
    {
        yield return new(1, 2, 2, 8, 70, 70) { Causal = true, Before = 1000 };
        yield return new(1, 2, 2, 8, 70, 70) { Before = int.MaxValue, After = int.MaxValue };
        yield return new(1, 2, 2, 20, 140, 140) { Before = 0, After = 0 };
        yield return new(1, 2, 1, 12, 100, 100) { Before = 64, Bias = true };
        yield return new(2, 4, 2, 32, 1, 300) { Causal = true, Before = 100, SpareKeys = 4 };
        yield return new(1, 4, 2, 24, 4, 200) { Before = 20, After = 1, Dropout = 0.3f };
        yield return new(1, 2, 2, 8, 4, 2) { Causal = true, Before = 0 };
        yield return new(3, 4, 2, 12, 100, 170) { Ranges = AttentionRanges.Any, Bias = true };
        yield return new(3, 4, 2, 12, 170, 100) { Ranges = AttentionRanges.Any, Causal = true, Dropout = 0.2f };
        yield return new(4, 4, 2, 16, 4, 170) { Ranges = AttentionRanges.Any };
        yield return new(4, 4, 2, 16, 3, 170) { Ranges = AttentionRanges.Documents, Causal = true, SpareKeys = 5 };
        yield return new(2, 4, 2, 16, 2, 131) { Causal = true, Cap = 1.5f, Bias = true };
        yield return new(1, 2, 1, 16, 200, 200) { Distances = true, Bias = true };
        yield return new(2, 4, 2, 16, 1, 200) { Distances = true };
        yield return new(1, 4, 2, 16, 3, 130) { Distances = true, Causal = true };
        yield return new(1, 1, 1, 8, 1, 1) { Distances = true, Cap = 2 };
        yield return new(6, 4, 2, 32, 1, 600) { Gap = 32, Distances = true, Cap = 5 };
        yield return new(3, 6, 2, 16, 3, 190)
        {
            Causal = true,
            Before = 70,
            Ranges = AttentionRanges.Documents,
            Cap = 2,
            Distances = true,
            Bias = true,
            Dropout = 0.25f,
            Padding = 1,
            Gap = 2,
            SpareKeys = 6,
        };
        yield return new(2, 2, 2, 8, 0, 4) { Distances = true, Before = 1 };
        yield return new(2, 2, 2, 8, 70, 0) { Distances = true, Cap = 1 };
    }

    [Theory]
    [MemberData(nameof(Widths))]
    public void AgreesWithTheTextbookInEveryWidth(int width)
    {
        using var device = new CpuDevice(2, width);
        AgreesWithTheTextbook(device, Shapes());
    }

    [Theory]
    [MemberData(nameof(Widths))]
    public void MasksAgreeWithTheTextbookInEveryWidth(int width)
    {
        using var device = new CpuDevice(2, width);
        AgreesWithTheTextbook(device, MaskedShapes().Concat(MoreMaskedShapes()));
    }

    internal static void AgreesWithTheTextbook(Device device, IEnumerable<AttentionShape> shapes)
    {
        foreach (AttentionShape shape in shapes)
            Run(device, shape).AssertExact();
    }

    internal static void RepeatsItsBits(Device device)
    {
        var shape = new AttentionShape(1, 6, 2, 33, 150, 150) { Causal = true, Bias = true, Dropout = 0.1f, Distances = true, Cap = 3, Before = 100 };
        Run(device, shape).AssertSameBits(Run(device, shape));
    }

    [Fact]
    public void TheReferenceGradientIsTheSlopeOfTheReference()
    {
        var shape = new AttentionShape(1, 2, 1, 3, 4, 5) { Causal = true, Bias = true, Dropout = 0.4f, Before = 2, Cap = 0.8f, Distances = true, Gap = 1, Ranges = AttentionRanges.Documents };
        var problem = new Problem(shape);
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
                Assert.Equal((up - down) / (2 * Step), gradients[n][i], 1e-8);
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
        foreach (AttentionShape shape in shapes)
        {
            Results? first = null;
            for (int threads = 1; threads <= 3; threads++)
            {
                using var device = new CpuDevice(threads, width);
                Results results = Run(device, shape);
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
        AgreesWithTheTextbook(device, Shapes().Concat(MaskedShapes()).Concat(MoreMaskedShapes()).Where(shape => (long)shape.Rows * shape.KeyLength * shape.HeadSize < 2_000_000));
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
            Results causal = Run(device, full with { Causal = true });
            Run(device, full with { After = 0 }).AssertSameBits(causal);
            Run(device, full with { Causal = true, After = 50, Before = 130, Ranges = AttentionRanges.Everything }).AssertSameBits(causal);
            Run(device, full with { Before = 1000, After = 1000, Ranges = AttentionRanges.Everything }).AssertSameBits(Run(device, full));
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
    }

    internal static void WhatNobodySees(Device device, int queries)
    {
        var shape = new AttentionShape(1, 1, 1, 16, queries, 400) { Causal = true, Before = 20 };
        var problem = new Problem(shape);
        Array.Fill(problem.Key, double.NaN, 0, 128 * shape.KeyStride);
        Array.Fill(problem.Value, double.NaN, 0, 128 * shape.KeyStride);
        Results results = Run(device, shape, problem);
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
        device.Random(block, RandomKind.KeepMask, 0.75f, Seed, Stream);
        float[] mask = new float[1001];
        device.Download(block, mask);
        Assert.Equal(mask, Array.ConvertAll(Problem.KeepMask(1001, 0.25f), x => (float)x));
        Assert.InRange(mask.Count(x => x == 0), 200, 300);
    }

    [Theory]
    [InlineData(1, 70)]
    [InlineData(70, 70)]
    public void RowsWithoutAnyKeyAreZeroAndHaveNoGradient(int queries, int keys)
    {
        using var device = new CpuDevice(2);
        RowsWithoutAnyKey(device, queries, keys);
    }

    internal static void RowsWithoutAnyKey(Device device, int queries, int keys)
    {
        var shape = new AttentionShape(2, 2, 1, 33, queries, keys) { Bias = true };
        var problem = new Problem(shape);
        Array.Fill(problem.Bias!, double.NegativeInfinity, 0, keys);
        Results results = Run(device, shape, problem);
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
    }

    internal static void NaNReaches(Device device, int queries)
    {
        var shape = new AttentionShape(1, 2, 2, 16, queries, 140) { Causal = true };
        var problem = new Problem(shape);
        problem.Query[shape.Query(0, queries - 1, 1, 3)] = double.NaN;
        Results results = Run(device, shape, problem);
        for (int h = 0; h < 2; h++)
        {
            for (int i = 0; i < queries; i++)
            {
                for (int d = 0; d < 16; d++)
                    Assert.Equal(h == 1 && i == queries - 1, float.IsNaN(results.Output[shape.Output(0, i, h, d)]));
            }
        }

        problem = new Problem(shape);
        problem.Key[shape.Key(0, 100, 1, 3)] = double.NaN;
        results = Run(device, shape, problem);
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
        var problem = new Problem(shape);
        float[] packed = new float[Batch * Length * Row];
        double[][] parts = [problem.Query, problem.Key, problem.Value];
        for (int i = 0; i < packed.Length; i++)
            packed[i] = (float)parts[i % Row / 128][(i / Row * 128) + (i % 128)];
        Block inputs = Upload(device, packed), gradients = device.Pool.Rent(packed.Length);
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
        Block outputGradient = Upload(device, Array.ConvertAll(problem.OutputGradient, x => (float)x));
        device.AttentionBackward(arguments, new(outputGradient, Part(gradients, 0), Part(gradients, 1), Part(gradients, 2)));
        float[] result = new float[packed.Length];
        device.Download(gradients, result);
        Results apart = Run(device, shape, problem);
        float[][] expected = [apart.QueryGradient, apart.KeyGradient, apart.ValueGradient];
        for (int i = 0; i < packed.Length; i++)
            Assert.Equal(expected[i % Row / 128][(i / Row * 128) + (i % 128)], result[i]);
    }

    private static Block Upload(Device device, float[] numbers)
    {
        Block block = device.Pool.Rent(numbers.Length);
        device.Upload(numbers, block);
        return block;
    }

    private static Results Run(Device device, AttentionShape shape, Problem? given = null)
    {
        Problem problem = given ?? new Problem(shape);
        Block Numbers(double[] numbers) => Upload(device, Array.ConvertAll(numbers, x => (float)x));
        Block Empty(int count) => Upload(device, [.. Enumerable.Repeat(Untouched, count)]);
        Block[] blocks =
        [
            Numbers(problem.Query), Numbers(problem.Key), Numbers(problem.Value), Empty(shape.OutputNumbers), Empty(shape.Rows),
            Numbers(problem.OutputGradient), Empty(shape.QueryNumbers), Empty(shape.KeyNumbers), Empty(shape.KeyNumbers),
            Numbers(problem.Bias ?? []), Numbers(problem.Distances ?? []), Empty(shape.DistanceNumbers),
        ];
        int[] ranges = shape.AllRanges();
        Block rangeBlock = device.Pool.Rent(ranges.Length, DType.I32);
        device.Upload(ranges, rangeBlock);
        var arguments = new AttentionArguments(blocks[0], blocks[1], blocks[2], blocks[3])
        {
            Batch = shape.Batch,
            Heads = shape.Heads,
            KeyHeads = shape.KeyHeads,
            HeadSize = shape.HeadSize,
            QueryLength = shape.QueryLength,
            KeyLength = shape.KeyLength,
            KeyCapacity = shape.SpareKeys == 0 ? 0 : shape.KeyCapacity,
            QueryStride = shape.QueryStride,
            KeyStride = shape.KeyStride,
            OutputStride = shape.OutputStride,
            Causal = shape.Causal,
            Scale = shape.Scale,
            LogSumExp = blocks[4],
            KeyBias = shape.Bias ? blocks[9] : null,
            DistanceBias = shape.Distances ? blocks[10] : null,
            Ranges = shape.Ranges == AttentionRanges.None ? null : rangeBlock,
            KeysBefore = shape.Before,
            KeysAfter = shape.After,
            SoftCap = shape.Cap,
            QueryHeadStride = shape.Gap == 0 ? 0 : shape.QueryHeadStride,
            KeyHeadStride = shape.Gap == 0 ? 0 : shape.KeyHeadStride,
            Dropout = shape.Dropout,
            Seed = Seed,
            Stream = Stream,
        };
        device.AttentionForward(arguments);
        device.AttentionBackward(arguments, new(blocks[5], blocks[6], blocks[7], blocks[8]) { DistanceBias = shape.Distances ? blocks[11] : null });
        float[] Downloaded(int n)
        {
            float[] result = new float[blocks[n].Length];
            device.Download(blocks[n], result);
            return result;
        }

        var results = new Results(problem, Downloaded(4), Downloaded(3), Downloaded(6), Downloaded(7), Downloaded(8), shape.Distances ? Downloaded(11) : []);
        device.Pool.Return(rangeBlock);
        foreach (Block block in blocks)
            device.Pool.Return(block);
        return results;
    }

    /// <summary>Random operands, the same for the same shape; every one is exact in f32.</summary>
    private sealed class Problem
    {
        private readonly AttentionShape shape;
        private readonly double[]? mask;

        public Problem(AttentionShape shape)
        {
            this.shape = shape;
            var random = new Random(11);
            double[] Normal(int count)
            {
                double[] numbers = new double[count];
                foreach (ref double x in numbers.AsSpan())
                    x = (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));
                return numbers;
            }

            Query = Normal(shape.QueryNumbers);
            Key = Normal(shape.KeyNumbers);
            Value = Normal(shape.KeyNumbers);
            OutputGradient = Normal(shape.OutputNumbers);
            Distances = shape.Distances ? Normal(shape.DistanceNumbers) : null;
            mask = shape.Dropout > 0 ? KeepMask(shape.Rows * shape.KeyLength, shape.Dropout) : null;
            if (!shape.Bias)
                return;

            // A query that only sees keys of -1e9 has no digits left for its scores; with narrow windows there are such queries.
            double[] choices = [0, 0, 0.5, -3, shape.Before is null && shape.Ranges == AttentionRanges.None ? -1e9 : -30, double.NegativeInfinity];
            Bias = new double[shape.Batch * shape.KeyLength];
            for (int j = 0; j < Bias.Length; j++)
                Bias[j] = j % shape.KeyLength == 0 ? 0 : choices[random.Next(choices.Length)];
        }

        public double[] Query { get; }
        public double[] Key { get; }
        public double[] Value { get; }
        public double[] OutputGradient { get; }
        public double[]? Bias { get; }
        public double[]? Distances { get; }

        public AttentionReference Reference() => new(shape, Query, Key, Value, Bias, mask, Distances);

        /// <summary>Element e is kept when word e mod 4 of counter e / 4, as a number in [0, 1), is below the chance to keep.</summary>
        public static double[] KeepMask(int count, float dropout)
        {
            double[] result = new double[count];
            for (int e = 0; e < count; e++)
            {
                (uint a, uint b, uint c, uint d) = Philox.Generate(Seed, Stream, (ulong)e / 4);
                uint[] words = [a, b, c, d];
                result[e] = (words[e % 4] >> 8) / 16777216.0 < 1 - dropout ? 1 / (1 - dropout) : 0;
            }

            return result;
        }
    }

    private sealed record Results(Problem Problem, float[] LogSumExp, float[] Output, float[] QueryGradient, float[] KeyGradient, float[] ValueGradient, float[] DistanceGradient)
    {
        public void AssertExact()
        {
            AttentionReference reference = Problem.Reference();
            AttentionShape shape = reference.Shape;
            (double[] query, double[] key, double[] value, double[] distances) = reference.Backward(Problem.OutputGradient);
            // Scores and slopes are differences of sums of HeadSize products of numbers near one, each rounded to f32.
            double tolerance = Math.Max(2e-6, 5e-7 * Math.Sqrt(shape.HeadSize));
            Compare("output", Output, reference.Output, shape.OutputStride, shape.HeadSize, shape.Heads, shape.QueryLength, shape.QueryLength);
            Compare("query gradient", QueryGradient, query, shape.QueryStride, shape.QueryHeadStride, shape.Heads, shape.QueryLength, shape.QueryLength);
            Compare("key gradient", KeyGradient, key, shape.KeyStride, shape.KeyHeadStride, shape.KeyHeads, shape.KeyCapacity, shape.KeyLength);
            Compare("value gradient", ValueGradient, value, shape.KeyStride, shape.KeyHeadStride, shape.KeyHeads, shape.KeyCapacity, shape.KeyLength);
            if (shape.Distances)
                Compare("distance gradient", DistanceGradient, distances, shape.Heads, 1, shape.Heads, Math.Max(1, DistanceGradient.Length), DistanceGradient.Length);

            void Compare(string what, float[] actual, double[] expected, int stride, int headStride, int heads, int capacity, int rows)
            {
                double largest = expected.Length == 0 ? 1 : Math.Max(1, expected.Max(Math.Abs));
                int size = Math.Min(headStride, shape.HeadSize);
                for (int i = 0; i < actual.Length; i++)
                {
                    if (i % stride >= heads * headStride || i % stride % headStride >= size || i / stride % capacity >= rows)
                        Assert.True(actual[i] == Untouched, $"{shape}: {what}[{i}] is padding but was written: {actual[i]}");
                    else
                        Assert.True(Math.Abs(actual[i] - expected[i]) <= tolerance * largest, $"{shape}: {what}[{i}] is {actual[i]}, not {expected[i]}");
                }
            }
        }

        public void AssertSameBits(Results other)
        {
            Assert.True(Output.AsSpan().SequenceEqual(other.Output));
            Assert.True(QueryGradient.AsSpan().SequenceEqual(other.QueryGradient));
            Assert.True(KeyGradient.AsSpan().SequenceEqual(other.KeyGradient));
            Assert.True(ValueGradient.AsSpan().SequenceEqual(other.ValueGradient));
            Assert.True(DistanceGradient.AsSpan().SequenceEqual(other.DistanceGradient));
        }
    }
}
