namespace ILGpuOptim.Tests.Mixtures;

/// <summary>The specification, token by token. Values are x, the router, then w1, w3, w2 of each expert.</summary>
internal sealed class ExpertsReference(int tokens, int columns, int inner, int experts, int perToken, bool normalizes, int[] mask)
{
    public int[][] Choose(double[][] values) =>
        [.. Enumerable.Range(0, tokens).Select(t => Probabilities(values, t).Select((p, e) => (p, e)).OrderByDescending(pair => pair.p).ThenBy(pair => pair.e).Take(perToken).Select(pair => pair.e).ToArray())];

    public double[] Output(double[][] values, int[][] chosen)
    {
        var y = new double[tokens * columns];
        for (int t = 0; t < tokens; t++)
        {
            double[] p = Probabilities(values, t), x = values[0][(t * columns)..((t + 1) * columns)];
            double total = normalizes ? chosen[t].Sum(e => p[e]) : 1;
            foreach (int e in chosen[t])
            {
                double[] gate = Product(values[2 + 3 * e], x, inner), up = Product(values[3 + 3 * e], x, inner);
                double[] down = Product(values[4 + 3 * e], [.. gate.Zip(up, (g, u) => g / (1 + Math.Exp(-g)) * u)], columns);
                for (int c = 0; c < columns; c++)
                    y[t * columns + c] += p[e] / total * down[c];
            }
        }

        return y;
    }

    public double Loss(double[][] values, int[][] chosen)
    {
        double rows = mask.Sum();
        if (rows == 0)
            return 0;
        int[] counted = [.. Enumerable.Range(0, tokens).Where(t => mask[t] != 0)];
        double[][] p = [.. counted.Select(t => Probabilities(values, t))];
        return experts * Enumerable.Range(0, experts).Sum(e => counted.Count(t => chosen[t].Contains(e)) / rows * p.Sum(row => row[e]) / rows);
    }

    private double[] Probabilities(double[][] values, int t)
    {
        double[] z = Product(values[1], values[0][(t * columns)..((t + 1) * columns)], experts);
        double total = z.Sum(Math.Exp);
        return [.. z.Select(value => Math.Exp(value) / total)];
    }

    private static double[] Product(double[] weight, double[] x, int rows) =>
        [.. Enumerable.Range(0, rows).Select(r => x.Select((value, c) => weight[r * x.Length + c] * value).Sum())];
}
