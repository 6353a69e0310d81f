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

    [Theory]
    [MemberData(nameof(Widths))]
    public void AgreesWithTheTextbookInEveryWidth(int width)
    {
        using var device = new CpuDevice(2, width);
        AgreesWithTheTextbook(device);
    }

    internal static void AgreesWithTheTextbook(Device device)
    {
        foreach (AttentionShape shape in Shapes())
            Run(device, shape).AssertExact();
    }

    internal static void RepeatsItsBits(Device device)
    {
        var shape = new AttentionShape(1, 6, 2, 33, 150, 150) { Causal = true, Bias = true, Dropout = 0.1f };
        Run(device, shape).AssertSameBits(Run(device, shape));
    }

    [Fact]
    public void TheReferenceGradientIsTheSlopeOfTheReference()
    {
        var shape = new AttentionShape(1, 2, 1, 3, 4, 5) { Causal = true, Bias = true, Dropout = 0.4f };
        var problem = new Problem(shape);
        double[][] inputs = [problem.Query, problem.Key, problem.Value];
        double Loss() => problem.Reference().Output.Zip(problem.OutputGradient, (x, y) => x * y).Sum();
        (double[] query, double[] key, double[] value) = problem.Reference().Backward(problem.OutputGradient);
        double[][] gradients = [query, key, value];
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
            Numbers(problem.Bias ?? []),
        ];
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
            Dropout = shape.Dropout,
            Seed = Seed,
            Stream = Stream,
        };
        device.AttentionForward(arguments);
        device.AttentionBackward(arguments, new(blocks[5], blocks[6], blocks[7], blocks[8]));
        float[] Downloaded(int n)
        {
            float[] result = new float[blocks[n].Length];
            device.Download(blocks[n], result);
            return result;
        }

        var results = new Results(problem, Downloaded(4), Downloaded(3), Downloaded(6), Downloaded(7), Downloaded(8));
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
            mask = shape.Dropout > 0 ? KeepMask(shape.Rows * shape.KeyLength, shape.Dropout) : null;
            if (!shape.Bias)
                return;
            double[] choices = [0, 0, 0.5, -3, -1e9, double.NegativeInfinity];
            Bias = new double[shape.Batch * shape.KeyLength];
            for (int j = 0; j < Bias.Length; j++)
                Bias[j] = j % shape.KeyLength == 0 ? 0 : choices[random.Next(choices.Length)];
        }

        public double[] Query { get; }
        public double[] Key { get; }
        public double[] Value { get; }
        public double[] OutputGradient { get; }
        public double[]? Bias { get; }

        public AttentionReference Reference() => new(shape, Query, Key, Value, Bias, mask);

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

    private sealed record Results(Problem Problem, float[] LogSumExp, float[] Output, float[] QueryGradient, float[] KeyGradient, float[] ValueGradient)
    {
        public void AssertExact()
        {
            AttentionReference reference = Problem.Reference();
            AttentionShape shape = reference.Shape;
            (double[] query, double[] key, double[] value) = reference.Backward(Problem.OutputGradient);
            // Scores and slopes are differences of sums of HeadSize products of numbers near one, each rounded to f32.
            double tolerance = Math.Max(2e-6, 5e-7 * Math.Sqrt(shape.HeadSize));
            int used = shape.Heads * shape.HeadSize, keysUsed = shape.KeyHeads * shape.HeadSize;
            Compare("output", Output, reference.Output, shape.OutputStride, used, shape.QueryLength, shape.QueryLength);
            Compare("query gradient", QueryGradient, query, shape.QueryStride, used, shape.QueryLength, shape.QueryLength);
            Compare("key gradient", KeyGradient, key, shape.KeyStride, keysUsed, shape.KeyCapacity, shape.KeyLength);
            Compare("value gradient", ValueGradient, value, shape.KeyStride, keysUsed, shape.KeyCapacity, shape.KeyLength);

            void Compare(string what, float[] actual, double[] expected, int stride, int columns, int capacity, int rows)
            {
                double largest = expected.Length == 0 ? 1 : Math.Max(1, expected.Max(Math.Abs));
                for (int i = 0; i < actual.Length; i++)
                {
                    if (i % stride >= columns || i / stride % capacity >= rows)
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
        }
    }
}
