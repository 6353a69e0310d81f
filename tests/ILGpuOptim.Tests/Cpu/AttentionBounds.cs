namespace ILGpuOptim.Tests.Cpu;

/// <summary>
/// Bounds of the errors of attention whose products round their factors to bf16 or tf32, element by element, to first order: stored operands (tf32 only), weights and gradients of
/// scores are rounded; sums, exponentials and all else are f32.
/// </summary>
internal sealed class AttentionBounds
{
    /// <summary>The unit roundoff of f32, and what first-order bounds leave out.</summary>
    private const double Single = 1.0 / (1 << 24), Rest = 1.05;

    private readonly AttentionShape shape;
    private readonly AttentionProblem problem;
    private readonly AttentionReference reference;
    private readonly double round, stored, product, sum;

    public AttentionBounds(AttentionResults results)
    {
        problem = results.Problem;
        reference = problem.Reference();
        shape = reference.Shape;

        // Half a unit of the last place, relative: 8 or 11 significant bits.
        round = Math.Pow(2, shape.Narrow ? -8 : -11);
        stored = shape.Narrow ? 0 : round;
        sum = 2 * (shape.HeadSize + 16) * Single;
        product = (1 + stored) * (1 + stored) - 1 + sum;
        Output = new double[reference.Output.Length];
        Query = new double[problem.Query.Length];
        Key = new double[problem.Key.Length];
        Value = new double[problem.Value.Length];
        Distances = new double[shape.DistanceNumbers];
        for (int b = 0; b < shape.Batch; b++)
        {
            for (int h = 0; h < shape.Heads; h++)
            {
                for (int i = 0; i < shape.QueryLength; i++)
                    AddRow(b, h, i, results.Output);
            }
        }
    }

    public double[] Output { get; }
    public double[] Query { get; }
    public double[] Key { get; }
    public double[] Value { get; }
    public double[] Distances { get; }

    /// <summary>Compares results with those of the textbook.</summary>
    public static void AssertWithin(AttentionResults results)
    {
        var bounds = new AttentionBounds(results);
        AttentionShape shape = bounds.shape;
        (double[] query, double[] key, double[] value, double[] distances) = bounds.reference.Backward(results.Problem.OutputGradient, results.Output);
        Compare("output", results.Output, bounds.reference.Output, bounds.Output, shape.OutputStride, shape.HeadSize, shape.Heads, shape.QueryLength, shape.QueryLength);
        Compare("query gradient", results.QueryGradient, query, bounds.Query, shape.QueryStride, shape.QueryHeadStride, shape.Heads, shape.QueryLength, shape.QueryLength);
        Compare("key gradient", results.KeyGradient, key, bounds.Key, shape.KeyStride, shape.KeyHeadStride, shape.KeyHeads, shape.KeyCapacity, shape.KeyLength);
        Compare("value gradient", results.ValueGradient, value, bounds.Value, shape.KeyStride, shape.KeyHeadStride, shape.KeyHeads, shape.KeyCapacity, shape.KeyLength);
        if (shape.Distances)
            Compare("distance gradient", results.DistanceGradient, distances, bounds.Distances, shape.Heads, 1, shape.Heads, Math.Max(1, distances.Length), distances.Length);

        void Compare(string what, float[] actual, double[] expected, double[] bound, int stride, int headStride, int heads, int capacity, int rows) =>
            AttentionResults.AssertClose(shape, what, actual, expected, i => Rest * bound[i] + (shape.Narrow ? 1.0 / 256 : Single) * Math.Abs(expected[i]) + 1e-30, stride, headStride, heads, capacity, rows);
    }

    private void AddRow(int b, int h, int i, float[] output)
    {
        int keys = shape.KeyLength;
        double[] errors = new double[keys], slopes = new double[keys], slopeErrors = new double[keys], derivatives = new double[keys], tangents = new double[keys];
        ReadOnlySpan<double> weights = reference.Weights.AsSpan(shape.Row(b, h, i) * keys, keys);
        double largest = double.NegativeInfinity, average = 0, dot = 0, dotError = 0;
        double[] scores = new double[keys];
        for (int j = 0; j < keys; j++)
        {
            scores[j] = double.NegativeInfinity;
            if (!reference.Sees(b, i, j))
                continue;
            double score = 0, size = 0, kept = reference.Kept(b, h, i, j);
            for (int d = 0; d < shape.HeadSize; d++)
            {
                double factor = shape.Scale * problem.Query[shape.Query(b, i, h, d)] * problem.Key[shape.Key(b, j, h, d)], slope = kept * problem.OutputGradient[shape.Output(b, i, h, d)] * problem.Value[shape.Key(b, j, h, d)];
                score += factor;
                size += Math.Abs(factor);
                slopes[j] += slope;
                slopeErrors[j] += product * Math.Abs(slope);
            }

            tangents[j] = shape.Cap == 0 ? 0 : Math.Tanh(score / shape.Cap);
            derivatives[j] = 1 - tangents[j] * tangents[j];
            double capped = shape.Cap == 0 ? score : shape.Cap * tangents[j], key = problem.Bias?[b * keys + j] ?? 0, distance = problem.Distances?[shape.Distance(i, j, h)] ?? 0;
            scores[j] = capped + key + distance;
            errors[j] = product * size + 4 * Single * (Math.Abs(score) + Math.Abs(capped) + Math.Abs(distance) + (double.IsFinite(key) ? 2 * Math.Abs(key) : 0)) + 8 * Single * shape.Cap;
            largest = Math.Max(largest, scores[j]);
        }

        for (int j = 0; j < keys; j++)
        {
            // The exponential's argument and its own error.
            if (weights[j] == 0)
                continue;
            errors[j] += 4 * Single * (Math.Abs(scores[j] - largest) + Math.Abs(largest)) + 16 * Single;
            average += weights[j] * errors[j];
        }

        for (int d = 0; d < shape.HeadSize; d++)
        {
            double one = problem.OutputGradient[shape.Output(b, i, h, d)] * output[shape.Output(b, i, h, d)];
            dot += one;
            dotError += sum * Math.Abs(one);
        }

        for (int j = 0; j < keys; j++)
        {
            if (weights[j] == 0)
                continue;
            double kept = reference.Kept(b, h, i, j), weight = errors[j] + average + 2 * (keys + 16) * Single, factor = weight + round + stored + 2 * (keys + 16) * Single, slope = weights[j] * (slopes[j] - dot);
            double error = weight * Math.Abs(slope) + weights[j] * (slopeErrors[j] + dotError + 4 * Single * (Math.Abs(slopes[j]) + Math.Abs(dot)));
            if (shape.Distances)
                Distances[shape.Distance(i, j, h)] += error + 2 * (keys + 16) * Single * Math.Abs(slope);
            error = derivatives[j] * error + (shape.Cap == 0 ? 0 : Math.Abs(slope) * (2 * Math.Abs(tangents[j]) * errors[j] / shape.Cap + 16 * Single));
            slope *= derivatives[j];
            double gradient = shape.Scale * (error + (round + stored + 2 * (keys + shape.QueryLength + 16) * Single) * Math.Abs(slope));
            for (int d = 0; d < shape.HeadSize; d++)
            {
                Output[shape.Output(b, i, h, d)] += factor * kept * weights[j] * Math.Abs(problem.Value[shape.Key(b, j, h, d)]);
                Value[shape.Key(b, j, h, d)] += (factor + 2 * shape.QueryLength * Single) * kept * weights[j] * Math.Abs(problem.OutputGradient[shape.Output(b, i, h, d)]);
                Query[shape.Query(b, i, h, d)] += gradient * Math.Abs(problem.Key[shape.Key(b, j, h, d)]);
                Key[shape.Key(b, j, h, d)] += gradient * Math.Abs(problem.Query[shape.Query(b, i, h, d)]);
            }
        }
    }
}
