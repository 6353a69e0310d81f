using ILGpuOptim.Compute;

namespace ILGpuOptim.Tests.Cpu;

/// <summary>The shape of one attention problem; field for field the operands of <see cref="AttentionArguments"/>.</summary>
public sealed record AttentionShape(int Batch, int Heads, int KeyHeads, int HeadSize, int QueryLength, int KeyLength)
{
    public bool Causal { get; init; }
    public bool Bias { get; init; }
    public float Dropout { get; init; }
    public int Padding { get; init; }
    public int SpareKeys { get; init; }
    public int? Before { get; init; }
    public int? After { get; init; }
    public float Cap { get; init; }
    public bool Distances { get; init; }
    public AttentionRanges Ranges { get; init; }

    /// <summary>Queries, keys, values, output and their gradients are bf16.</summary>
    public bool Narrow { get; init; }

    public Precision Precision { get; init; }

    /// <summary>Numbers between two heads of a query row; between two heads of a key row there are twice as many.</summary>
    public int Gap { get; init; }

    public float Scale => 1 / MathF.Sqrt(HeadSize);
    public int KeyCapacity => KeyLength + SpareKeys;
    public int QueryHeadStride => HeadSize + Gap;
    public int KeyHeadStride => HeadSize + (2 * Gap);
    public int QueryStride => (Heads * QueryHeadStride) + Padding;
    public int KeyStride => (KeyHeads * KeyHeadStride) + (2 * Padding);
    public int OutputStride => (Heads * HeadSize) + (3 * Padding);
    public int QueryNumbers => Batch * QueryLength * QueryStride;
    public int KeyNumbers => Batch * KeyCapacity * KeyStride;
    public int OutputNumbers => Batch * QueryLength * OutputStride;
    public int Rows => Batch * Heads * QueryLength;
    public int DistanceNumbers => Math.Max(0, QueryLength + KeyLength - 1) * Heads;

    public int Query(int b, int i, int h, int d) => (((b * QueryLength) + i) * QueryStride) + (h * QueryHeadStride) + d;

    public int Key(int b, int j, int h, int d) => (((b * KeyCapacity) + j) * KeyStride) + (h * KeyHeads / Heads * KeyHeadStride) + d;

    public int Output(int b, int i, int h, int d) => (((b * QueryLength) + i) * OutputStride) + (h * HeadSize) + d;

    public int Row(int b, int h, int i) => (((b * Heads) + h) * QueryLength) + i;

    public int Distance(int i, int j, int h) => ((j - i + QueryLength - 1) * Heads) + h;

    /// <summary>Whether the masks that are the same for all sequences let query i see key j.</summary>
    public bool Sees(int i, int j)
    {
        int position = i + KeyLength - QueryLength;
        return (!Causal || j <= position) && (Before is not { } before || j >= (long)position - before) && (After is not { } after || j <= (long)position + after);
    }

    /// <summary>The first key and the end of those that each query may see; empty when all may see all.</summary>
    public int[] AllRanges()
    {
        if (Ranges == AttentionRanges.None)
            return [];
        var random = new Random(5);
        int[] result = new int[2 * Batch * QueryLength];
        for (int b = 0; b < Batch; b++)
        {
            Span<int> own = result.AsSpan(2 * b * QueryLength, 2 * QueryLength);
            if (Ranges == AttentionRanges.Documents)
                Documents(own, random);
            else if (Ranges == AttentionRanges.Everything)
                Every(own, KeyLength);
            else
                Any(own, random);
        }

        return result;
    }

    /// <summary>Neighbouring keys in documents of random lengths, many of 1; a query sees those of its own.</summary>
    private void Documents(Span<int> ranges, Random random)
    {
        int begin = 0, end = 0;
        for (int i = 0; i < QueryLength; i++)
        {
            int position = Math.Max(0, i + KeyLength - QueryLength);
            while (end <= position && end < KeyLength)
                (begin, end) = (end, Math.Min(KeyLength, end + (random.Next(3) == 0 ? 1 : random.Next(1, 1 + KeyLength))));
            (ranges[2 * i], ranges[(2 * i) + 1]) = (begin, end);
        }
    }

    private static void Every(Span<int> ranges, int keys)
    {
        for (int i = 0; i < ranges.Length; i++)
            ranges[i] = i % 2 * keys;
    }

    /// <summary>Any ascending ranges, empty ones too.</summary>
    private void Any(Span<int> ranges, Random random)
    {
        for (int side = 0; side < 2; side++)
        {
            int[] places = [.. Enumerable.Range(0, QueryLength).Select(_ => random.Next(0, KeyLength + 1)).Order()];
            for (int i = 0; i < QueryLength; i++)
                ranges[(2 * i) + side] = places[i];
        }
    }
}

/// <summary>Kinds of ranges in tests.</summary>
public enum AttentionRanges
{
    None,
    Documents,
    Any,
    Everything,
}

/// <summary>Attention and its gradient as the textbook has them: in double, with the whole matrix of weights.</summary>
internal sealed class AttentionReference
{
    private readonly double[] derivatives;
    private readonly int[] ranges;

    public AttentionReference(AttentionShape shape, double[] query, double[] key, double[] value, double[]? bias, double[]? mask, double[]? distances = null)
    {
        derivatives = new double[shape.Rows * shape.KeyLength];
        ranges = shape.AllRanges();
        Output = new double[shape.OutputNumbers];
        Weights = new double[shape.Rows * shape.KeyLength];
        (Shape, Query, Key, Value, Mask) = (shape, query, key, value, mask);
        for (int b = 0; b < shape.Batch; b++)
        {
            for (int h = 0; h < shape.Heads; h++)
            {
                for (int i = 0; i < shape.QueryLength; i++)
                    Forward(b, h, i, bias, distances);
            }
        }
    }

    public AttentionShape Shape { get; }
    public double[] Query { get; }
    public double[] Key { get; }
    public double[] Value { get; }
    public double[]? Mask { get; }
    public double[] Output { get; }
    public double[] Weights { get; }

    private Span<double> Row(int b, int h, int i) => Weights.AsSpan(Shape.Row(b, h, i) * Shape.KeyLength, Shape.KeyLength);

    /// <summary>The dropout factor of a weight.</summary>
    public double Kept(int b, int h, int i, int j) => Mask is null ? 1 : Mask[(Shape.Row(b, h, i) * Shape.KeyLength) + j];

    public bool Sees(int b, int i, int j)
    {
        int place = 2 * ((b * Shape.QueryLength) + i);
        return Shape.Sees(i, j) && (ranges.Length == 0 || (j >= ranges[place] && j < ranges[place + 1]));
    }

    private void Forward(int b, int h, int i, double[]? bias, double[]? distances)
    {
        Span<double> row = Row(b, h, i);
        double largest = double.NegativeInfinity;
        for (int j = 0; j < Shape.KeyLength; j++)
        {
            row[j] = double.NegativeInfinity;
            if (!Sees(b, i, j))
                continue;
            double score = 0;
            for (int d = 0; d < Shape.HeadSize; d++)
                score += Query[Shape.Query(b, i, h, d)] * Key[Shape.Key(b, j, h, d)];
            score *= Shape.Scale;
            double tangent = Shape.Cap == 0 ? 0 : Math.Tanh(score / Shape.Cap);
            derivatives[(Shape.Row(b, h, i) * Shape.KeyLength) + j] = 1 - (tangent * tangent);
            row[j] = (Shape.Cap == 0 ? score : Shape.Cap * tangent) + (bias?[(b * Shape.KeyLength) + j] ?? 0) + (distances?[Shape.Distance(i, j, h)] ?? 0);
            largest = Math.Max(largest, row[j]);
        }

        double sum = 0;
        foreach (ref double weight in row)
        {
            weight = largest == double.NegativeInfinity ? 0 : Math.Exp(weight - largest);
            sum += weight;
        }

        for (int j = 0; j < Shape.KeyLength; j++)
        {
            if (sum != 0)
                row[j] /= sum;
            for (int d = 0; d < Shape.HeadSize && Sees(b, i, j); d++)
                Output[Shape.Output(b, i, h, d)] += row[j] * Kept(b, h, i, j) * Value[Shape.Key(b, j, h, d)];
        }
    }

    /// <summary>The gradients of Σ output · <paramref name="gradient"/>; with the output that a device has rounded, those that follow from it.</summary>
    public (double[] Query, double[] Key, double[] Value, double[] Distances) Backward(double[] gradient, float[]? rounded = null)
    {
        double[] distances = new double[Shape.DistanceNumbers];
        double[] query = new double[Query.Length], key = new double[Key.Length], value = new double[Value.Length];
        double[] slopes = new double[Shape.KeyLength];
        for (int b = 0; b < Shape.Batch; b++)
        {
            for (int h = 0; h < Shape.Heads; h++)
            {
                for (int i = 0; i < Shape.QueryLength; i++)
                {
                    Span<double> row = Row(b, h, i);
                    double mean = 0;
                    for (int j = 0; j < Shape.KeyLength; j++)
                    {
                        slopes[j] = 0;
                        for (int d = 0; d < Shape.HeadSize; d++)
                        {
                            slopes[j] += Kept(b, h, i, j) * gradient[Shape.Output(b, i, h, d)] * Value[Shape.Key(b, j, h, d)];
                            value[Shape.Key(b, j, h, d)] += Kept(b, h, i, j) * row[j] * gradient[Shape.Output(b, i, h, d)];
                        }

                        mean += row[j] * slopes[j];
                    }

                    if (rounded is not null)
                    {
                        mean = 0;
                        for (int d = 0; d < Shape.HeadSize; d++)
                            mean += gradient[Shape.Output(b, i, h, d)] * rounded[Shape.Output(b, i, h, d)];
                    }

                    for (int j = 0; j < Shape.KeyLength; j++)
                    {
                        if (row[j] == 0)
                            continue;
                        double slope = row[j] * (slopes[j] - mean);
                        distances[Shape.Distance(i, j, h)] += slope;
                        slope *= derivatives[(Shape.Row(b, h, i) * Shape.KeyLength) + j] * Shape.Scale;
                        for (int d = 0; d < Shape.HeadSize; d++)
                        {
                            query[Shape.Query(b, i, h, d)] += slope * Key[Shape.Key(b, j, h, d)];
                            key[Shape.Key(b, j, h, d)] += slope * Query[Shape.Query(b, i, h, d)];
                        }
                    }
                }
            }
        }

        return (query, key, value, distances);
    }
}
