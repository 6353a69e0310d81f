namespace ILGpuOptim.Lab;

/// <summary>The tokens with which the baseline reaches a loss, as a multiple of the protocol's.</summary>
/// <param name="Multiple">The multiple, or the last measured one if the loss lies beyond it.</param>
/// <param name="Beyond">-1: fewer tokens than the smallest multiple measured; 1: more than the largest; 0: between.</param>
internal sealed record TokenEquivalent(double Multiple, int Beyond)
{
    /// <summary>Interpolates the baseline's losses linearly in the logarithm of the tokens.</summary>
    /// <param name="curve">The baseline's loss for each multiple.</param>
    /// <param name="loss">The loss to reach.</param>
    /// <returns>Null if there are fewer than two multiples, or if the baseline's loss does not fall from each to the next.</returns>
    public static TokenEquivalent? Of(IEnumerable<(double Multiple, double Loss)> curve, double loss)
    {
        (double Multiple, double Loss)[] points = [.. curve.OrderBy(point => point.Multiple)];
        if (points.Length < 2 || points.Zip(points.Skip(1)).Any(pair => !(pair.Second.Loss < pair.First.Loss)))
            return null;
        if (loss > points[0].Loss)
            return new TokenEquivalent(points[0].Multiple, -1);
        if (loss < points[^1].Loss)
            return new TokenEquivalent(points[^1].Multiple, 1);
        int i = Array.FindIndex(points, 1, point => point.Loss <= loss);
        ((double left, double above), (double right, double below)) = (points[i - 1], points[i]);
        return new TokenEquivalent(left * Math.Pow(right / left, (above - loss) / (above - below)), 0);
    }
}
