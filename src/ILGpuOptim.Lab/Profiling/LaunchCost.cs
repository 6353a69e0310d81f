using ILGpuOptim.Compute;

namespace ILGpuOptim.Lab;

/// <summary>
/// What a launch must do: bytes that it reads and writes, each operand once for each however often a cache is read, and floating-point operations.
/// Random numbers count no operations: theirs are on integers.
/// </summary>
/// <param name="Bytes">Bytes read and written.</param>
/// <param name="Operations">Floating-point operations.</param>
internal readonly record struct LaunchCost(long Bytes, double Operations)
{
    internal static LaunchCost OfMap<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands) where R : unmanaged, IMap6 =>
        new(BytesOf<R>(rows, columns, operands, 0), OperationsOf(rule) * rows * columns);

    internal static LaunchCost OfRows<R>(in R rule, long rows, long columns, ReadOnlySpan<Operand> operands) where R : unmanaged, IRowRule
    {
        long before = CountingLane.Count;
        CountingLane a = default, b = default, c = default, d = default, e = default, f = default;
        rule.FirstTerm(a, b, c, d, e, f);
        rule.Map(default, default, ref a, ref b, ref c, ref d, ref e, ref f);
        if (R.HasSecond)
            rule.SecondTerm(default, a, b, c, d, e, f);
        long elements = CountingLane.Count - before + (R.HasSecond ? 2 : 1);
        before = CountingLane.Count;
        rule.First(default(CountingLane));
        if (R.HasSecond)
            rule.Second(default(CountingLane), default);
        return new(BytesOf<R>(rows, columns, operands, 0), (double)rows * (elements * columns + CountingLane.Count - before));
    }

    internal static LaunchCost OfProduct(in GemmArguments g)
    {
        long a = (long)g.M * g.K, b = (long)g.N * g.K, c = (long)g.M * g.N;
        return new(
            (g.BatchStrideA == 0 ? 1 : g.Batch) * g.A.Type.Bytes(g.TransposeA ? g.K : g.M, g.TransposeA ? g.M : g.K)
                + (g.BatchStrideB == 0 ? 1 : g.Batch) * g.B.Type.Bytes(g.TransposeB ? g.N : g.K, g.TransposeB ? g.K : g.N)
                + (g.Beta == 0 ? 1 : 2) * g.Batch * g.C.Type.Bytes(g.M, g.N),
            2.0 * g.Batch * c * g.K);
    }

    /// <summary>A product whose epilogue has its tile of C in the cache: it moves its other operands.</summary>
    internal static LaunchCost OfProduct<R>(in GemmArguments g, in R epilogue, ReadOnlySpan<Operand> operands) where R : unmanaged, IMap6
    {
        LaunchCost product = OfProduct(g);
        long rows = (long)g.Batch * g.M;
        return new(product.Bytes + BytesOf<R>(rows, g.N, operands, 1), product.Operations + OperationsOf(epilogue) * rows * g.N);
    }

    /// <summary>Attention computes a number of products over the pairs of a query and a key that it attends to, and an exponential for each pair.</summary>
    internal static LaunchCost OfAttention(in AttentionArguments a, long pairs, bool backward)
    {
        long before = CountingLane.Count;
        CountingLane.Exp(default);
        double operations = (double)pairs * a.Heads * ((backward ? 5 : 2) * 2.0 * a.HeadSize + CountingLane.Count - before);
        long queries = (long)a.Batch * a.QueryLength * a.Heads * a.HeadSize, keys = (long)a.Batch * a.KeyLength * a.KeyHeads * a.HeadSize;
        long sums = a.LogSumExp is null ? 0 : (long)a.Batch * a.Heads * a.QueryLength;
        long bias = (a.DistanceBias is null ? 0 : a.Distances * a.Heads) + (a.KeyBias is null ? 0 : (long)a.Batch * a.KeyLength) + (a.Ranges is null ? 0 : 2L * a.Batch * a.QueryLength);
        return new(a.Query.Type.Bytes(1, (backward ? 4 : 2) * (queries + keys)) + sizeof(float) * (sums + bias), operations);
    }

    private static double OperationsOf<R>(in R rule) where R : unmanaged, IMap6
    {
        long before = CountingLane.Count;
        CountingLane a = default, b = default, c = default, d = default, e = default, f = default;
        rule.Apply(ref a, ref b, ref c, ref d, ref e, ref f);
        int sums = 0;
        for (int k = 0; k < Access.MaxOperands; k++)
            sums += R.Access.Reduces(k) ? 1 : 0;
        return CountingLane.Count - before + sums;
    }

    private static long BytesOf<R>(long rows, long columns, ReadOnlySpan<Operand> operands, int first) where R : IRule
    {
        long bytes = 0;
        Access access = R.Access;
        for (int k = 0; k < operands.Length; k++)
        {
            (long r, long c) = operands[k].Layout switch
            {
                Layout.Full => (rows, columns),
                Layout.PerRow => (1, rows),
                Layout.PerColumn => (1, columns),
                Layout.RowsAndColumns => (1, rows + columns),
                _ => (1, 1),
            };
            int times = (access.Reads(k + first) ? 1 : 0) + (access.Writes(k + first) || access.Reduces(k + first) ? 1 : 0);
            bytes += times * operands[k].Block.Type.Bytes(r, c);
        }

        return bytes;
    }

    /// <summary>The sum.</summary>
    public static LaunchCost operator +(LaunchCost left, LaunchCost right) => new(left.Bytes + right.Bytes, left.Operations + right.Operations);
}
