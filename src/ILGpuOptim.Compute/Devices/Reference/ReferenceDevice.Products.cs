using ILGpuOptim.Compute.Reference;

namespace ILGpuOptim.Compute;

public sealed partial class ReferenceDevice
{
    /// <inheritdoc/>
    protected internal override void GemmCore<R>(in GemmArguments g, in R epilogue, ReadOnlySpan<Operand> operands)
    {
        int strideC = g.StrideC == 0 ? g.N : g.StrideC;
        for (int batch = 0; batch < g.Batch; batch++)
        {
            ReferenceOperand a = Factor(g.A, batch * g.BatchStrideA, g.StrideA, g.TransposeA ? g.K : g.M, g.TransposeA ? g.M : g.K);
            ReferenceOperand b = Factor(g.B, batch * g.BatchStrideB, g.StrideB, g.TransposeB ? g.N : g.K, g.TransposeB ? g.K : g.N);
            ReferenceOperand c = Factor(g.C, batch * g.BatchStrideC, strideC, g.M, g.N);
            for (int i = 0; i < g.M; i++)
            {
                for (int j = 0; j < g.N; j++)
                {
                    double sum = 0;
                    for (int k = 0; k < g.K; k++)
                        sum += (g.TransposeA ? a.Read(k, i) : a.Read(i, k)) * (g.TransposeB ? b.Read(j, k) : b.Read(k, j));
                    c.Write(i, j, g.Alpha * sum + (g.Beta == 0 ? 0 : g.Beta * c.Read(i, j)));
                }
            }
        }

        if (typeof(R) != typeof(Lift1<KeepRule>))
            Map(epilogue, (long)g.Batch * g.M, g.N, [new Operand(g.C, Layout.Full, strideC), .. operands]);
    }

    private static ReferenceOperand Factor(in Block block, long start, int stride, int rows, int columns) =>
        new(new Operand(start == 0 ? block : block.Slice(start, block.Length - start), Layout.Full, stride), rows, columns);

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
                    double[] weights = Weights(a, b, head, i, out double logSumExp);
                    for (int j = 0; j < weights.Length; j++)
                        weights[j] *= Keep(a, b, head, i, j);
                    for (int d = 0; d < a.HeadSize; d++)
                    {
                        double sum = 0;
                        for (int j = 0; j < weights.Length; j++)
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
        ReferenceOperand query = At(a.Query), key = At(a.Key), value = At(a.Value), slope = At(gradients.Output);
        ReferenceOperand queryGradient = At(gradients.Query), keyGradient = At(gradients.Key), valueGradient = At(gradients.Value);
        for (int b = 0; b < a.Batch; b++)
        {
            for (int head = 0; head < a.Heads; head++)
            {
                for (int d = 0; d < a.HeadSize; d++)
                {
                    for (int i = 0; i < a.QueryLength; i++)
                        queryGradient.Write(0, QueryIndex(a, b, i, head) + d, 0);
                    for (int j = 0; j < a.KeyLength; j++)
                    {
                        keyGradient.Write(0, KeyIndex(a, b, j, head) + d, 0);
                        valueGradient.Write(0, KeyIndex(a, b, j, head) + d, 0);
                    }
                }
            }

            for (int head = 0; head < a.Heads; head++)
            {
                for (int i = 0; i < a.QueryLength; i++)
                {
                    double[] weights = Weights(a, b, head, i, out _), products = new double[weights.Length];
                    double delta = 0;
                    for (int j = 0; j < weights.Length; j++)
                    {
                        for (int d = 0; d < a.HeadSize; d++)
                            products[j] += slope.Read(0, OutputIndex(a, b, i, head) + d) * value.Read(0, KeyIndex(a, b, j, head) + d);
                        products[j] *= Keep(a, b, head, i, j);
                        delta += weights[j] * products[j];
                    }

                    for (int j = 0; j < weights.Length; j++)
                    {
                        double scoreGradient = weights[j] * (products[j] - delta) * a.Scale, keep = Keep(a, b, head, i, j);
                        for (int d = 0; d < a.HeadSize; d++)
                        {
                            long q = QueryIndex(a, b, i, head) + d, k = KeyIndex(a, b, j, head) + d;
                            Add(valueGradient, k, weights[j] * keep * slope.Read(0, OutputIndex(a, b, i, head) + d));
                            Add(queryGradient, q, scoreGradient * key.Read(0, k));
                            Add(keyGradient, k, scoreGradient * query.Read(0, q));
                        }
                    }
                }
            }
        }
    }

    private static void Add(in ReferenceOperand target, long index, double value) => target.Write(0, index, target.Read(0, index) + value);

    /// <summary>The softmax of a query's visible scores; empty, or zero, when nothing is visible.</summary>
    private static double[] Weights(in AttentionArguments a, int b, int head, int i, out double logSumExp)
    {
        int visible = a.Causal ? Math.Clamp(i + 1 + a.KeyLength - a.QueryLength, 0, a.KeyLength) : a.KeyLength;
        ReferenceOperand query = At(a.Query), key = At(a.Key);
        var weights = new double[visible];
        double largest = double.NegativeInfinity, sum = 0;
        for (int j = 0; j < visible; j++)
        {
            for (int d = 0; d < a.HeadSize; d++)
                weights[j] += query.Read(0, QueryIndex(a, b, i, head) + d) * key.Read(0, KeyIndex(a, b, j, head) + d);
            weights[j] = weights[j] * a.Scale + (a.KeyBias is { } bias ? At(bias).Read(0, (long)b * a.KeyLength + j) : 0);
            largest = weights[j] > largest ? weights[j] : largest;
        }

        largest = double.IsNegativeInfinity(largest) ? 0 : largest;
        for (int j = 0; j < visible; j++)
            sum += weights[j] = Math.Exp(weights[j] - largest);
        for (int j = 0; j < visible; j++)
            weights[j] = sum == 0 ? 0 : weights[j] / sum;
        logSumExp = sum == 0 ? double.PositiveInfinity : largest + Math.Log(sum);
        return weights;
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
        ((long)b * a.QueryLength + i) * a.QueryStride + (long)head * a.HeadSize;

    private static long OutputIndex(in AttentionArguments a, int b, int i, int head) =>
        ((long)b * a.QueryLength + i) * a.OutputStride + (long)head * a.HeadSize;

    private static long KeyIndex(in AttentionArguments a, int b, int j, int head) =>
        ((long)b * (a.KeyCapacity == 0 ? a.KeyLength : a.KeyCapacity) + j) * a.KeyStride + (long)head * a.KeyHeads / a.Heads * a.HeadSize;

    /// <inheritdoc/>
    protected internal override void GatherCore(in Block table, in Block indices, in Block target, long columns, bool accumulate)
    {
        ReferenceOperand source = At(table), index = At(indices), result = At(target);
        for (long i = 0; i < indices.Length; i++)
        {
            for (long j = 0; j < columns; j++)
                result.Write(0, i * columns + j, source.Read(0, (long)index.Read(0, i) * columns + j) + (accumulate ? result.Read(0, i * columns + j) : 0));
        }
    }

    /// <inheritdoc/>
    protected internal override void ScatterAddCore(in Block source, in Block indices, in Block table, long columns)
    {
        ReferenceOperand values = At(source), index = At(indices), result = At(table);
        for (long i = 0; i < indices.Length; i++)
        {
            for (long j = 0; index.Read(0, i) >= 0 && j < columns; j++)
                Add(result, (long)index.Read(0, i) * columns + j, values.Read(0, i * columns + j));
        }
    }

    /// <inheritdoc/>
    protected internal override void RandomCore(in Block target, RandomKind kind, float scale, ulong seed, ulong stream)
    {
        ReferenceOperand result = At(target);
        Span<float> four = stackalloc float[4];
        for (long i = 0; i < target.Length; i++)
        {
            if (i % 4 == 0)
                RandomNumbers.Four(kind, scale, seed, stream, (ulong)i / 4, four);
            result.Write(0, i, four[(int)(i % 4)]);
        }
    }

    /// <inheritdoc/>
    protected internal override void PickCore(in Block source, in Block indices, in Block target, long columns)
    {
        ReferenceOperand values = At(source), index = At(indices), result = At(target);
        for (long i = 0; i < indices.Length; i++)
            result.Write(0, i, index.Read(0, i) < 0 ? 0 : values.Read(0, i * columns + (long)index.Read(0, i)));
    }

    /// <inheritdoc/>
    protected internal override void AddAtCore(in Block target, in Block indices, in Block value, long columns)
    {
        ReferenceOperand values = At(value), index = At(indices), result = At(target);
        for (long i = 0; i < indices.Length; i++)
        {
            if (index.Read(0, i) >= 0)
                Add(result, i * columns + (long)index.Read(0, i), values.Read(0, i));
        }
    }
}
