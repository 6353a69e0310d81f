namespace ILGpuOptim.Tests.Cpu;

/// <summary>What a device made of a problem.</summary>
internal sealed record AttentionResults(AttentionProblem Problem, float[] LogSumExp, float[] Output, float[] QueryGradient, float[] KeyGradient, float[] ValueGradient, float[] DistanceGradient)
{
    public void AssertExact()
    {
        AttentionReference reference = Problem.Reference();
        AttentionShape shape = reference.Shape;
        (double[] query, double[] key, double[] value, double[] distances) = reference.Backward(Problem.OutputGradient, shape.Narrow ? Output : null);
        // Scores and slopes are differences of sums of HeadSize products of numbers near one, each rounded to f32.
        double tolerance = Math.Max(2e-6, 5e-7 * Math.Sqrt(shape.HeadSize));

        // Results in bf16 are rounded to 8 digits. Gradients are those of the rounded output.
        double digit = shape.Narrow ? 1.0 / 256 : 0;
        Compare("output", Output, reference.Output, shape.OutputStride, shape.HeadSize, shape.Heads, shape.QueryLength, shape.QueryLength);
        Compare("query gradient", QueryGradient, query, shape.QueryStride, shape.QueryHeadStride, shape.Heads, shape.QueryLength, shape.QueryLength);
        Compare("key gradient", KeyGradient, key, shape.KeyStride, shape.KeyHeadStride, shape.KeyHeads, shape.KeyCapacity, shape.KeyLength);
        Compare("value gradient", ValueGradient, value, shape.KeyStride, shape.KeyHeadStride, shape.KeyHeads, shape.KeyCapacity, shape.KeyLength);
        if (shape.Distances)
            Compare("distance gradient", DistanceGradient, distances, shape.Heads, 1, shape.Heads, Math.Max(1, DistanceGradient.Length), DistanceGradient.Length);

        void Compare(string what, float[] actual, double[] expected, int stride, int headStride, int heads, int capacity, int rows)
        {
            double largest = expected.Length == 0 ? 1 : Math.Max(1, expected.Max(Math.Abs));
            AssertClose(shape, what, actual, expected, i => tolerance * largest + digit * Math.Abs(expected[i]), stride, headStride, heads, capacity, rows);
        }
    }

    /// <summary>Each element is within its bound of what is expected, or padding that was not written.</summary>
    public static void AssertClose(AttentionShape shape, string what, float[] actual, double[] expected, Func<int, double> bound, int stride, int headStride, int heads, int capacity, int rows)
    {
        int size = Math.Min(headStride, shape.HeadSize);
        for (int i = 0; i < actual.Length; i++)
        {
            if (i % stride >= heads * headStride || i % stride % headStride >= size || i / stride % capacity >= rows)
                Assert.True(actual[i] == AttentionProblem.Untouched, $"{shape}: {what}[{i}] is padding but was written: {actual[i]}");
            else
                Assert.True(Math.Abs(actual[i] - expected[i]) <= bound(i), $"{shape}: {what}[{i}] is {actual[i]}, not {expected[i]} ± {bound(i)}");
        }
    }

    public void AssertSameBits(AttentionResults other)
    {
        Assert.True(Output.AsSpan().SequenceEqual(other.Output));
        Assert.True(QueryGradient.AsSpan().SequenceEqual(other.QueryGradient));
        Assert.True(KeyGradient.AsSpan().SequenceEqual(other.KeyGradient));
        Assert.True(ValueGradient.AsSpan().SequenceEqual(other.ValueGradient));
        Assert.True(DistanceGradient.AsSpan().SequenceEqual(other.DistanceGradient));
    }
}
