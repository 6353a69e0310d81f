namespace ILGpuOptim.Lab;

/// <summary>Student's t-test of paired differences (Student, 1908), two-sided.</summary>
/// <param name="Mean">The mean difference.</param>
/// <param name="StandardDeviation">The sample standard deviation of the differences.</param>
/// <param name="HalfWidth">Half the width of the 95 % confidence interval of the mean.</param>
/// <param name="T">Student's t: the mean divided by its standard error.</param>
/// <param name="P">The probability of a t at least as far from 0 if the expected difference is 0.</param>
internal sealed record PairedTest(double Mean, double StandardDeviation, double HalfWidth, double T, double P)
{
    private const double Confidence = 0.95;

    /// <summary>Tests differences of pairs; null for fewer than two.</summary>
    public static PairedTest? Of(IReadOnlyList<double> differences)
    {
        int n = differences.Count;
        if (n < 2)
            return null;
        double mean = differences.Average();
        double deviation = Math.Sqrt(differences.Sum(d => (d - mean) * (d - mean)) / (n - 1)), error = deviation / Math.Sqrt(n);
        double t = error > 0 ? mean / error : mean == 0 ? 0 : double.CopySign(double.PositiveInfinity, mean);
        return new PairedTest(mean, deviation, Quantile(Confidence, n - 1) * error, t, 1 - Within(t, n - 1));
    }

    /// <summary>The probability that Student's t with whole degrees of freedom lies between -t and t (Abramowitz and Stegun 26.7.3 and 26.7.4).</summary>
    internal static double Within(double t, int degrees)
    {
        double angle = Math.Atan(Math.Abs(t) / Math.Sqrt(degrees)), sine = Math.Sin(angle), cosine = Math.Cos(angle);
        bool isOdd = degrees % 2 == 1;
        double sum = 0, term = isOdd ? cosine : 1;
        for (int k = isOdd ? 3 : 2; k <= degrees; k += 2)
        {
            sum += term;
            term *= cosine * cosine * (k - 1) / k;
        }

        return isOdd ? 2 / Math.PI * (angle + sine * sum) : sine * sum;
    }

    /// <summary>The t within which a probability lies, by bisection.</summary>
    internal static double Quantile(double probability, int degrees)
    {
        double low = 0, high = 1;
        while (Within(high, degrees) < probability)
            high *= 2;
        for (int i = 0; i < 100; i++)
        {
            double middle = (low + high) / 2;
            (low, high) = Within(middle, degrees) < probability ? (middle, high) : (low, middle);
        }

        return (low + high) / 2;
    }

    /// <summary>
    /// Holm's correction (Scandinavian Journal of Statistics 6, 1979): the i-th smallest of m probabilities is multiplied by m - i + 1, and none is
    /// below a smaller one's result. The order stays.
    /// </summary>
    public static IReadOnlyList<double> Holm(IReadOnlyList<double> probabilities)
    {
        var corrected = new double[probabilities.Count];
        double largest = 0;
        int left = probabilities.Count;
        foreach (int i in Enumerable.Range(0, probabilities.Count).OrderBy(i => probabilities[i]))
        {
            largest = Math.Max(largest, Math.Min(1, left-- * probabilities[i]));
            corrected[i] = largest;
        }

        return corrected;
    }
}
