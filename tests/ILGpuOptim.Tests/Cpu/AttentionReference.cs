namespace ILGpuOptim.Tests.Cpu;

/// <summary>The shape of one attention problem; field for field the operands of <see cref="Compute.AttentionArguments"/>.</summary>
public sealed record AttentionShape(int Batch, int Heads, int KeyHeads, int HeadSize, int QueryLength, int KeyLength)
{
    public bool Causal { get; init; }
    public bool Bias { get; init; }
    public float Dropout { get; init; }
    public int Padding { get; init; }
    public int SpareKeys { get; init; }

    public float Scale => 1 / MathF.Sqrt(HeadSize);
    public int KeyCapacity => KeyLength + SpareKeys;
    public int QueryStride => (Heads * HeadSize) + Padding;
    public int KeyStride => (KeyHeads * HeadSize) + (2 * Padding);
    public int OutputStride => (Heads * HeadSize) + (3 * Padding);
    public int QueryNumbers => Batch * QueryLength * QueryStride;
    public int KeyNumbers => Batch * KeyCapacity * KeyStride;
    public int OutputNumbers => Batch * QueryLength * OutputStride;
    public int Rows => Batch * Heads * QueryLength;

    public int Query(int b, int i, int h, int d) => (((b * QueryLength) + i) * QueryStride) + (h * HeadSize) + d;

    public int Key(int b, int j, int h, int d) => (((b * KeyCapacity) + j) * KeyStride) + (h * KeyHeads / Heads * HeadSize) + d;

    public int Output(int b, int i, int h, int d) => (((b * QueryLength) + i) * OutputStride) + (h * HeadSize) + d;

    public int Row(int b, int h, int i) => (((b * Heads) + h) * QueryLength) + i;

    public bool Sees(int i, int j) => !Causal || j <= i + KeyLength - QueryLength;
}

/// <summary>Attention and its gradient as the textbook has them: in double, with the whole matrix of weights.</summary>
internal sealed class AttentionReference
{
    public AttentionReference(AttentionShape shape, double[] query, double[] key, double[] value, double[]? bias, double[]? mask)
    {
        Output = new double[shape.OutputNumbers];
        Weights = new double[shape.Rows * shape.KeyLength];
        (Shape, Query, Key, Value, Mask) = (shape, query, key, value, mask);
        for (int b = 0; b < shape.Batch; b++)
        {
            for (int h = 0; h < shape.Heads; h++)
            {
                for (int i = 0; i < shape.QueryLength; i++)
                    Forward(b, h, i, bias);
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

    private double Kept(int b, int h, int i, int j) => Mask is null ? 1 : Mask[(Shape.Row(b, h, i) * Shape.KeyLength) + j];

    private void Forward(int b, int h, int i, double[]? bias)
    {
        Span<double> row = Row(b, h, i);
        double largest = double.NegativeInfinity;
        for (int j = 0; j < Shape.KeyLength; j++)
        {
            row[j] = double.NegativeInfinity;
            if (!Shape.Sees(i, j))
                continue;
            double score = 0;
            for (int d = 0; d < Shape.HeadSize; d++)
                score += Query[Shape.Query(b, i, h, d)] * Key[Shape.Key(b, j, h, d)];
            row[j] = (score * Shape.Scale) + (bias?[(b * Shape.KeyLength) + j] ?? 0);
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
            for (int d = 0; d < Shape.HeadSize && Shape.Sees(i, j); d++)
                Output[Shape.Output(b, i, h, d)] += row[j] * Kept(b, h, i, j) * Value[Shape.Key(b, j, h, d)];
        }
    }

    /// <summary>The gradients of Σ output · <paramref name="gradient"/>.</summary>
    public (double[] Query, double[] Key, double[] Value) Backward(double[] gradient)
    {
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

                    for (int j = 0; j < Shape.KeyLength; j++)
                    {
                        double slope = row[j] * (slopes[j] - mean) * Shape.Scale;
                        for (int d = 0; d < Shape.HeadSize; d++)
                        {
                            query[Shape.Query(b, i, h, d)] += slope * Key[Shape.Key(b, j, h, d)];
                            key[Shape.Key(b, j, h, d)] += slope * Query[Shape.Query(b, i, h, d)];
                        }
                    }
                }
            }
        }

        return (query, key, value);
    }
}
