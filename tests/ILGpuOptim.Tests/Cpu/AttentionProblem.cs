using ILGpuOptim.Compute;

namespace ILGpuOptim.Tests.Cpu;

/// <summary>Random operands, the same for the same shape; every one is exact in its type.</summary>
internal sealed class AttentionProblem
{
    public const ulong Seed = 77, Stream = 5;

    /// <summary>What results hold where a kernel must not write.</summary>
    public const float Untouched = -12352f;

    private readonly AttentionShape shape;
    private readonly double[]? mask;

    public AttentionProblem(AttentionShape shape)
    {
        this.shape = shape;
        var random = new Random(11);
        double[] Normal(int count)
        {
            double[] numbers = new double[count];
            foreach (ref double x in numbers.AsSpan())
            {
                float number = (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));
                x = shape.Narrow ? Bf16.Widen(Bf16.Narrow(number)) : number;
            }

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

    public static Block Upload(Device device, float[] numbers, DType type = DType.F32)
    {
        Block block = device.Pool.Rent(numbers.Length, type);
        device.Upload(numbers, block);
        return block;
    }

    /// <summary>The results of the forward and the backward pass on a device.</summary>
    public static AttentionResults Run(Device device, AttentionShape shape, AttentionProblem? given = null)
    {
        AttentionProblem problem = given ?? new AttentionProblem(shape);
        DType type = shape.Narrow ? DType.BF16 : DType.F32;
        Block Numbers(double[] numbers, DType type = DType.F32) => Upload(device, Array.ConvertAll(numbers, x => (float)x), type);
        Block Empty(int count, DType type = DType.F32) => Upload(device, [.. Enumerable.Repeat(Untouched, count)], type);
        Block[] blocks =
        [
            Numbers(problem.Query, type), Numbers(problem.Key, type), Numbers(problem.Value, type), Empty(shape.OutputNumbers, type), Empty(shape.Rows),
            Numbers(problem.OutputGradient, type), Empty(shape.QueryNumbers, type), Empty(shape.KeyNumbers, type), Empty(shape.KeyNumbers, type),
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
            Precision = shape.Precision,
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

        var results = new AttentionResults(problem, Downloaded(4), Downloaded(3), Downloaded(6), Downloaded(7), Downloaded(8), shape.Distances ? Downloaded(11) : []);
        device.Pool.Return(rangeBlock);
        foreach (Block block in blocks)
            device.Pool.Return(block);
        return results;
    }
}
