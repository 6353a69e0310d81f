using ILGpuOptim.Compute;
using ILGpuOptim.Compute.Gpu;
using ILGpuOptim.Tests.Cpu;

namespace ILGpuOptim.Tests.Devices;

/// <summary>Attention on tensor cores against the textbook.</summary>
[Collection("gpu"), Trait("device", "cuda")]
public class TensorAttentionTests
{
    private readonly GpuDevice device = Gpu.Cuda();

    public TensorAttentionTests() => Assert.SkipUnless(device.HasTensorCores, "the device has no tensor cores");

    public static TheoryData<Precision, int> Sizes
    {
        get
        {
            var result = new TheoryData<Precision, int>();
            foreach (Precision precision in (Precision[])[Precision.TF32, Precision.BF16])
            {
                foreach (int size in (int[])[8, 64, 80, 96, 128])
                    result.Add(precision, size);
            }

            return result;
        }
    }

    /// <summary>Lengths on both sides of tiles, with more and fewer keys than queries.</summary>
    [Theory]
    [MemberData(nameof(Sizes))]
    public void ErrorsStayWithinTheUnitRoundoff(Precision precision, int size)
    {
        foreach (int length in (int[])[1, 17, 63, 64, 65, 129])
            Compare(new(1, 2, 1, size, length, length) { Causal = (length & 1) != 0 }, precision);
        Compare(new(2, 6, 2, size, 17, 129) { Causal = true, Padding = 8, SpareKeys = 3 }, precision);
        Compare(new(1, 2, 2, size, 129, 17), precision);
        Compare(new(1, 2, 2, size, 70, 33) { Causal = true }, precision);
    }

    [Theory]
    [InlineData(Precision.TF32)]
    [InlineData(Precision.BF16)]
    public void MasksAndBiasesStayWithinTheUnitRoundoff(Precision precision)
    {
        AttentionShape[] shapes =
        [
            new(2, 2, 1, 16, 150, 150) { Causal = true, Before = 9 },
            new(1, 2, 2, 16, 210, 210) { Causal = true, Before = 64 },
            new(1, 2, 2, 16, 200, 200) { Before = 30, After = 70 },
            new(1, 2, 1, 16, 130, 70) { Causal = true, Before = 5 },
            new(1, 2, 1, 16, 70, 200) { Before = 65, After = 2 },
            new(3, 2, 1, 64, 150, 150) { Causal = true, Ranges = AttentionRanges.Documents },
            new(2, 2, 2, 64, 140, 140) { Ranges = AttentionRanges.Documents },
            new(3, 4, 2, 64, 100, 170) { Ranges = AttentionRanges.Any },
            new(2, 2, 2, 16, 170, 100) { Ranges = AttentionRanges.Any, Bias = true },
            new(1, 2, 1, 64, 70, 70) { Causal = true, Cap = 0.7f },
            new(1, 2, 1, 64, 70, 130) { Bias = true },
            new(2, 2, 1, 64, 70, 131) { Distances = true },
            new(2, 2, 2, 128, 130, 67) { Distances = true, Causal = true, Bias = true },
            new(2, 4, 4, 64, 70, 70) { Gap = 8, Causal = true },
            new(2, 2, 2, 64, 0, 4) { Distances = true },
            new(2, 2, 2, 16, 4, 0) { Before = 2 },
            new(0, 2, 2, 64, 4, 4) { Distances = true },
            new(2, 6, 2, 24, 150, 190) { Causal = true, Before = 70, Ranges = AttentionRanges.Documents, Cap = 2, Distances = true, Bias = true, Padding = 8, Gap = 8, SpareKeys = 6 },
        ];
        foreach (AttentionShape shape in shapes)
            Compare(shape, precision);
    }

    /// <summary>Numbers of keys that are a multiple of four, where lanes share the words of the generator, and others.</summary>
    [Theory]
    [InlineData(Precision.TF32)]
    [InlineData(Precision.BF16)]
    public void DropoutStaysWithinTheUnitRoundoff(Precision precision)
    {
        AttentionShape[] shapes =
        [
            new(2, 4, 2, 64, 132, 132) { Causal = true, Dropout = 0.25f },
            new(1, 2, 2, 64, 67, 129) { Causal = true, Dropout = 0.25f },
            new(1, 2, 1, 32, 130, 70) { Dropout = 0.5f },
            new(1, 3, 3, 16, 1, 4) { Dropout = 0.1f },
            new(1, 2, 1, 128, 70, 72) { Causal = true, Dropout = 0.25f },
            new(2, 6, 2, 24, 150, 192) { Causal = true, Before = 70, Ranges = AttentionRanges.Documents, Cap = 2, Distances = true, Bias = true, Padding = 8, Gap = 8, SpareKeys = 4, Dropout = 0.25f },
        ];
        foreach (AttentionShape shape in shapes)
            Compare(shape, precision);
    }

    /// <summary>What the tensor-core kernels leave to the others, in the same call.</summary>
    [Theory]
    [InlineData(Precision.TF32)]
    [InlineData(Precision.BF16)]
    public void OtherFormsUseTheOtherKernels(Precision precision)
    {
        AttentionShape[] shapes =
        [
            new(1, 2, 1, 33, 70, 70) { Causal = true },
            new(1, 2, 1, 64, 70, 70) { Padding = 1 },
            new(1, 2, 1, 136, 70, 70) { Causal = true },
        ];
        foreach (AttentionShape shape in shapes)
            AttentionProblem.Run(device, Of(shape, precision)).AssertExact();
    }

    /// <summary>Each query's score is far above the others for one key, whose weight is then 1 and all others 0.</summary>
    [Theory]
    [MemberData(nameof(Sizes))]
    public void ChosenKeysAreExact(Precision precision, int size)
    {
        if (size < 16)
            return;
        foreach ((int queries, int keys, bool causal) in ((int, int, bool)[])[(17, 17, true), (65, 129, true), (129, 65, false), (64, 64, true)])
        {
            AttentionShape shape = Of(new(2, 4, 2, size, queries, keys) { Causal = causal }, precision);
            var problem = new AttentionProblem(shape);
            var random = new Random(3);
            foreach (double[] numbers in (double[][])[problem.Value, problem.OutputGradient])
            {
                for (int n = 0; n < numbers.Length; n++)
                    numbers[n] = random.Next(-3, 4);
            }

            int Chosen(int b, int h, int i) => (7 * i + 5 * h + b) % (causal ? i + 1 + keys - queries : keys);
            static double Code(int key, int d) => d >= 10 ? 0 : (key >> d & 1) != 0 ? 32 : -32;
            double[] output = new double[shape.OutputNumbers], values = new double[shape.KeyNumbers];
            for (int b = 0; b < shape.Batch; b++)
            {
                for (int h = 0; h < shape.Heads; h++)
                {
                    for (int d = 0; d < size; d++)
                    {
                        for (int j = 0; j < keys; j++)
                            problem.Key[shape.Key(b, j, h, d)] = Code(j, d);
                        for (int i = 0; i < queries; i++)
                        {
                            int key = shape.Key(b, Chosen(b, h, i), h, d);
                            problem.Query[shape.Query(b, i, h, d)] = Code(Chosen(b, h, i), d);
                            output[shape.Output(b, i, h, d)] = problem.Value[key];
                            values[key] += problem.OutputGradient[shape.Output(b, i, h, d)];
                        }
                    }
                }
            }

            AttentionResults results = AttentionProblem.Run(device, shape, problem);
            Assert.Equal(Array.ConvertAll(output, x => (float)x), results.Output);
            Assert.Equal(Array.ConvertAll(values, x => (float)x), results.ValueGradient);
            Assert.All(results.QueryGradient, x => Assert.Equal(0f, x));
            Assert.All(results.KeyGradient, x => Assert.Equal(0f, x));
        }
    }

    /// <summary>Queries of zero give a power of two of keys equal weights.</summary>
    [Theory]
    [InlineData(Precision.TF32, 64)]
    [InlineData(Precision.TF32, 128)]
    [InlineData(Precision.BF16, 64)]
    [InlineData(Precision.BF16, 128)]
    public void EqualWeightsAreExact(Precision precision, int keys)
    {
        const int Size = 64, Queries = 17;
        AttentionShape shape = Of(new(1, 2, 1, Size, Queries, keys), precision);
        var problem = new AttentionProblem(shape);
        var random = new Random(4);
        Array.Clear(problem.Query);
        int[] middle = [.. Enumerable.Range(0, Size).Select(_ => random.Next(-3, 4))], side = [.. Enumerable.Range(0, Size).Select(_ => random.Next(0, 2))];
        for (int j = 0; j < keys; j++)
        {
            for (int d = 0; d < Size; d++)
            {
                problem.Key[shape.Key(0, j, 0, d)] = random.Next(-2, 3);
                problem.Value[shape.Key(0, j, 0, d)] = middle[d] + (j % 2 == 0 ? 1 : -1) * side[d];
            }
        }

        for (int n = 0; n < problem.OutputGradient.Length; n++)
            problem.OutputGradient[n] = random.Next(-1, 2);
        AttentionResults results = AttentionProblem.Run(device, shape, problem);
        AttentionReference reference = problem.Reference();
        (double[] query, _, double[] value, _) = reference.Backward(problem.OutputGradient);
        Assert.Equal(Stored(reference.Output), results.Output);
        Assert.Equal(Stored(query), results.QueryGradient);
        Assert.Equal(Stored(value), results.ValueGradient);
        Assert.Contains(results.QueryGradient, x => x != 0);
        Assert.All(results.KeyGradient, x => Assert.Equal(0f, x));

        float[] Stored(double[] numbers) => Array.ConvertAll(numbers, x => shape.Narrow ? Bf16.Widen(Bf16.Narrow((float)x)) : (float)x);
    }

    [Theory]
    [InlineData(Precision.TF32)]
    [InlineData(Precision.BF16)]
    public void NotANumberReachesTheRowsThatSeeIt(Precision precision)
    {
        foreach (int queries in (int[])[1, 3, 70])
            AttentionTests.NaNReaches(device, queries, precision == Precision.BF16, precision);
        foreach (int queries in (int[])[2, 200])
            AttentionTests.WhatNobodySees(device, queries, precision == Precision.BF16, precision);
    }

    /// <summary>An infinite value reaches the rows that see it, in its column only.</summary>
    [Theory]
    [InlineData(Precision.TF32, double.PositiveInfinity)]
    [InlineData(Precision.TF32, double.NaN)]
    [InlineData(Precision.BF16, double.NegativeInfinity)]
    [InlineData(Precision.BF16, double.NaN)]
    public void SpecialValuesReachTheirColumn(Precision precision, double special)
    {
        AttentionShape shape = Of(new(1, 1, 1, 80, 130, 130) { Causal = true }, precision);
        var problem = new AttentionProblem(shape);

        // Rows before it in the same tile multiply it by zero, as all kernels for GPUs do.
        problem.Value[shape.Key(0, 64, 0, 33)] = special;
        AttentionResults results = AttentionProblem.Run(device, shape, problem);
        for (int i = 0; i < 130; i++)
        {
            for (int d = 0; d < 80; d++)
                Assert.Equal(i >= 64 && d == 33 ? (float)special : 0, float.IsFinite(results.Output[shape.Output(0, i, 0, d)]) ? 0 : results.Output[shape.Output(0, i, 0, d)]);
        }
    }

    [Theory]
    [InlineData(Precision.TF32)]
    [InlineData(Precision.BF16)]
    public void QueriesWithoutKeysAreZero(Precision precision)
    {
        AttentionShape shape = Of(new(2, 2, 1, 32, 70, 70) { Bias = true }, precision);
        var problem = new AttentionProblem(shape);
        Array.Fill(problem.Bias!, double.NegativeInfinity, 0, 70);
        AttentionResults results = AttentionProblem.Run(device, shape, problem);
        AttentionBounds.AssertWithin(results);
        Assert.All(results.LogSumExp.Take(140), x => Assert.Equal(float.PositiveInfinity, x));
        Assert.All(results.Output.Take(70 * shape.OutputStride), x => Assert.Equal(0f, x));
        Assert.All(results.QueryGradient.Take(70 * shape.QueryStride), x => Assert.Equal(0f, x));
        Assert.All(results.KeyGradient.Take(70 * shape.KeyStride), x => Assert.Equal(0f, x));
        Assert.All(results.ValueGradient.Take(70 * shape.KeyStride), x => Assert.Equal(0f, x));
    }

    [Theory]
    [InlineData(Precision.TF32)]
    [InlineData(Precision.BF16)]
    public void EveryRunGivesTheSameBits(Precision precision)
    {
        AttentionShape shape = Of(new(1, 6, 2, 24, 150, 150) { Causal = true, Bias = true, Distances = true, Cap = 3, Before = 100, Dropout = 0.25f }, precision);
        AttentionProblem.Run(device, shape).AssertSameBits(AttentionProblem.Run(device, shape));
    }

    private static AttentionShape Of(AttentionShape shape, Precision precision) => shape with { Precision = precision, Narrow = precision == Precision.BF16 };

    private void Compare(AttentionShape shape, Precision precision) => AttentionBounds.AssertWithin(AttentionProblem.Run(device, Of(shape, precision)));
}

/// <summary>Which kernels attention launches; needs no device.</summary>
public class AttentionDispatchTests
{
    [Theory]
    [InlineData(DType.F32, Precision.F32, 64, false)]
    [InlineData(DType.F32, Precision.TF32, 64, true)]
    [InlineData(DType.F32, Precision.BF16, 64, true)]
    [InlineData(DType.BF16, Precision.BF16, 128, true)]
    [InlineData(DType.BF16, Precision.TF32, 64, false)]
    [InlineData(DType.BF16, Precision.F32, 64, false)]
    [InlineData(DType.BF16, Precision.BF16, 136, false)]
    [InlineData(DType.BF16, Precision.BF16, 60, false)]
    [InlineData(DType.BF16, Precision.BF16, 64, true, 0.1f)]
    [InlineData(DType.BF16, Precision.BF16, 64, false, 0f, 4)]
    [InlineData(DType.F32, Precision.TF32, 64, true, 0f, 4)]
    [InlineData(DType.F32, Precision.TF32, 64, false, 0f, 2)]
    public void TensorCoresRunWhatTheyCan(DType type, Precision precision, int size, bool expected, float dropout = 0, int padding = 0)
    {
        using GpuDevice device = GpuDevice.Recorder();
        Block block = device.Pool.Rent(64 * 200, type), sums = device.Pool.Rent(64);
        var attention = new AttentionArguments(block, block, block, block)
        {
            LogSumExp = sums,
            Batch = 1,
            Heads = 1,
            KeyHeads = 1,
            HeadSize = size,
            QueryLength = 64,
            KeyLength = 64,
            QueryStride = size + padding,
            KeyStride = size + padding,
            OutputStride = size + padding,
            Scale = 1,
            Dropout = dropout,
            Precision = precision,
        };
        device.AttentionForward(attention);
        device.AttentionBackward(attention, new AttentionGradients(block, block, block, block));
        Assert.Equal(expected ? 3 : 0, device.Recorded.Count(kernel => kernel.NeedsTensorCores));
        Assert.Equal(expected ? 1 : 4, device.Recorded.Count(kernel => !kernel.NeedsTensorCores));
    }
}
