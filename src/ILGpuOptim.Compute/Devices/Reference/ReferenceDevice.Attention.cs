using ILGpuOptim.Compute.Reference;

namespace ILGpuOptim.Compute;

// Attention.
public sealed partial class ReferenceDevice
{
    /// <inheritdoc/>
    public override bool HasNarrowAttention => true;

    /// <inheritdoc/>
    protected internal override void AttentionForwardCore(in AttentionArguments a)
    {
        ReferenceOperand value = At(a.Value), output = At(a.Output);
        for (int b = 0; b < a.Batch; b++)
        {
            for (int head = 0; head < a.Heads; head++)
            {
                for (int i = 0; i < a.QueryLength; i++)
                {
                    double[] weights = Weights(a, b, head, i, out _, out double logSumExp);
                    (int first, int end) = Interval(a, b, i);
                    for (int j = first; j < end; j++)
                        weights[j] *= Keep(a, b, head, i, j);
                    for (int d = 0; d < a.HeadSize; d++)
                    {
                        double sum = 0;
                        for (int j = first; j < end; j++)
                            sum += weights[j] * value.Read(0, KeyIndex(a, b, j, head) + d);
                        output.Write(0, OutputIndex(a, b, i, head) + d, sum);
                    }

                    if (a.LogSumExp is { } block)
                        At(block).Write(0, ((long)b * a.Heads + head) * a.QueryLength + i, logSumExp);
                }
            }
        }
    }

    /// <inheritdoc/>
    protected internal override void AttentionBackwardCore(in AttentionArguments a, in AttentionGradients gradients)
    {
        ReferenceOperand query = At(a.Query), key = At(a.Key), value = At(a.Value), output = At(a.Output), outputGradient = At(gradients.Output);
        ReferenceOperand queryGradient = At(gradients.Query), keyGradient = At(gradients.Key), valueGradient = At(gradients.Value);
        for (long k = 0; gradients.DistanceBias is { } distances && k < a.Distances * a.Heads; k++)
            At(distances).Write(0, k, 0);
        double[] querySums = new double[gradients.Query.Length], keySums = new double[gradients.Key.Length], valueSums = new double[gradients.Value.Length];
        for (int b = 0; b < a.Batch; b++)
        {
            for (int head = 0; head < a.Heads; head++)
            {
                for (int i = 0; i < a.QueryLength; i++)
                {
                    double[] weights = Weights(a, b, head, i, out double[] slopes, out _), products = new double[weights.Length];
                    (int first, int end) = Interval(a, b, i);
                    double delta = 0;
                    for (int d = 0; d < a.HeadSize; d++)
                        delta += outputGradient.Read(0, OutputIndex(a, b, i, head) + d) * output.Read(0, OutputIndex(a, b, i, head) + d);
                    for (int j = first; j < end; j++)
                    {
                        for (int d = 0; d < a.HeadSize; d++)
                            products[j] += outputGradient.Read(0, OutputIndex(a, b, i, head) + d) * value.Read(0, KeyIndex(a, b, j, head) + d);
                        products[j] *= Keep(a, b, head, i, j);
                    }

                    for (int j = first; j < end; j++)
                    {
                        double scoreGradient = weights[j] * (products[j] - delta), keep = Keep(a, b, head, i, j);
                        if (gradients.DistanceBias is { } distances)
                            Add(At(distances), DistanceIndex(a, i, j, head), scoreGradient);
                        scoreGradient *= slopes[j] * a.Scale;
                        for (int d = 0; d < a.HeadSize; d++)
                        {
                            long q = QueryIndex(a, b, i, head) + d, k = KeyIndex(a, b, j, head) + d;
                            valueSums[k] += weights[j] * keep * outputGradient.Read(0, OutputIndex(a, b, i, head) + d);
                            querySums[q] += scoreGradient * key.Read(0, k);
                            keySums[k] += scoreGradient * query.Read(0, q);
                        }
                    }
                }
            }

            for (int head = 0; head < a.Heads; head++)
            {
                for (int d = 0; d < a.HeadSize; d++)
                {
                    for (int i = 0; i < a.QueryLength; i++)
                        Write(queryGradient, QueryIndex(a, b, i, head) + d, querySums);
                    for (int j = 0; j < a.KeyLength; j++)
                    {
                        Write(keyGradient, KeyIndex(a, b, j, head) + d, keySums);
                        Write(valueGradient, KeyIndex(a, b, j, head) + d, valueSums);
                    }
                }
            }
        }
    }

    private static void Write(in ReferenceOperand target, long index, double[] sums) => target.Write(0, index, sums[index]);

    /// <summary>The softmax of the scores, with 0 where the query does not see them; and the derivatives of the soft-cap.</summary>
    private static double[] Weights(in AttentionArguments a, int b, int head, int i, out double[] slopes, out double logSumExp)
    {
        ReferenceOperand query = At(a.Query), key = At(a.Key);
        var weights = new double[a.KeyLength];
        slopes = new double[a.KeyLength];
        double largest = double.NegativeInfinity, sum = 0;
        (int first, int end) = Interval(a, b, i);
        for (int j = first; j < end; j++)
        {
            slopes[j] = 1;
            for (int d = 0; d < a.HeadSize; d++)
                weights[j] += query.Read(0, QueryIndex(a, b, i, head) + d) * key.Read(0, KeyIndex(a, b, j, head) + d);
            weights[j] *= a.Scale;
            if (a.SoftCap > 0)
            {
                double tangent = Math.Tanh(weights[j] / a.SoftCap);
                weights[j] = a.SoftCap * tangent;
                slopes[j] = 1 - tangent * tangent;
            }

            weights[j] += (a.DistanceBias is { } distances ? At(distances).Read(0, DistanceIndex(a, i, j, head)) : 0)
                + (a.KeyBias is { } bias ? At(bias).Read(0, (long)b * a.KeyLength + j) : 0);
            largest = weights[j] > largest ? weights[j] : largest;
        }

        largest = double.IsNegativeInfinity(largest) ? 0 : largest;
        for (int j = first; j < end; j++)
            sum += weights[j] = Math.Exp(weights[j] - largest);
        for (int j = first; j < end; j++)
            weights[j] = sum == 0 ? 0 : weights[j] / sum;
        logSumExp = sum == 0 ? double.PositiveInfinity : largest + Math.Log(sum);
        return weights;
    }

    /// <summary>The keys that a query attends to.</summary>
    private static (int First, int End) Interval(in AttentionArguments a, int b, int i)
    {
        long position = (long)i + a.KeyLength - a.QueryLength, first = Math.Max(0, position - a.Before), end = Math.Min(a.KeyLength, position + a.After + 1);
        if (a.Ranges is { } ranges)
        {
            long row = (long)b * a.QueryLength + i;
            first = Math.Max(first, (long)At(ranges).Read(0, 2 * row));
            end = Math.Min(end, (long)At(ranges).Read(0, 2 * row + 1));
        }

        return first < end ? ((int)first, (int)end) : (0, 0);
    }

    private static double Keep(in AttentionArguments a, int b, int head, int i, int j)
    {
        if (a.Dropout == 0)
            return 1;
        ulong element = ((ulong)(b * a.Heads + head) * (ulong)a.QueryLength + (ulong)i) * (ulong)a.KeyLength + (ulong)j;
        Span<float> four = stackalloc float[4];
        RandomNumbers.Four(RandomKind.KeepMask, 1 - a.Dropout, a.Seed, a.Stream, element / 4, four);
        return four[(int)(element % 4)];
    }

    private static long QueryIndex(in AttentionArguments a, int b, int i, int head) =>
        ((long)b * a.QueryLength + i) * a.QueryStride + (long)head * a.QueryHeadStep;

    private static long OutputIndex(in AttentionArguments a, int b, int i, int head) =>
        ((long)b * a.QueryLength + i) * a.OutputStride + (long)head * a.HeadSize;

    private static long KeyIndex(in AttentionArguments a, int b, int j, int head) =>
        ((long)b * (a.KeyCapacity == 0 ? a.KeyLength : a.KeyCapacity) + j) * a.KeyStride + (long)head * a.KeyHeads / a.Heads * a.KeyHeadStep;

    private static long DistanceIndex(in AttentionArguments a, int i, int j, int head) => ((long)j - i + a.QueryLength - 1) * a.Heads + head;
}
