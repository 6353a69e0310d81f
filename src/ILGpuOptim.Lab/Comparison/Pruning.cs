namespace ILGpuOptim.Lab;

/// <summary>
/// Successive halving (Jamieson and Talwalkar, AISTATS 2016) over the learning rates of one optimizer, by validation
/// loss: all run to a quarter of the steps, the survivors to one half, and the remaining ones to the end. At each rung
/// the better half stays, and every run within 2 % of the best, because losses that close may still change order while the
/// rate decays. The rule uses losses only, so it is deterministic.
/// </summary>
internal static class Pruning
{
    /// <summary>The fraction of the best loss by which a loss may be larger and stay.</summary>
    public const double Margin = 0.02;

    /// <summary>The steps after which rates are pruned: the first validations at or after a quarter and a half of the steps.</summary>
    public static IReadOnlyList<int> Rungs(int steps, int interval)
    {
        int First(double part) => checked((int)Math.Min(steps, Math.Ceiling(part * steps / interval) * interval));
        return [.. new[] { First(0.25), First(0.5) }.Where(step => step < steps).Distinct()];
    }

    /// <summary>True for each loss that stays, in order. Losses that are not finite never stay.</summary>
    public static IReadOnlyList<bool> Survivors(IReadOnlyList<double> losses)
    {
        double[] finite = [.. losses.Where(double.IsFinite).Order()];
        if (finite.Length == 0)
            return [.. losses.Select(_ => false)];
        double median = finite[(finite.Length + 1) / 2 - 1];
        double limit = Math.Max(median, finite[0] + Margin * Math.Abs(finite[0]));
        return [.. losses.Select(loss => loss <= limit)];
    }

    /// <summary>The index of the smallest finite loss, the first of equals; -1 when there is none.</summary>
    public static int Best(IReadOnlyList<double> losses)
    {
        int best = -1;
        for (int i = 0; i < losses.Count; i++)
        {
            if (double.IsFinite(losses[i]) && (best < 0 || losses[i] < losses[best]))
                best = i;
        }

        return best;
    }
}
