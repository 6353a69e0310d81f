namespace ILGpuOptim.Lab;

/// <summary>A setting to search.</summary>
/// <param name="Name"><c>lr</c>, <c>clip</c>, <c>weight_decay</c>, or an option of the optimizer.</param>
/// <param name="Grid">The values that are tried, ascending.</param>
/// <param name="Further">Values beyond the ends of the grid, which are tried only while the best value is at that end; ascending.</param>
/// <param name="Start">The value while other settings are searched first.</param>
internal sealed record SearchAxis(string Name, IReadOnlyList<double> Grid, IReadOnlyList<double> Further, double Start);

/// <summary>Searches settings one after another: each over its grid, the others at their best values so far.</summary>
internal static class CoordinateSearch
{
    /// <summary>An axis as it was searched last.</summary>
    /// <param name="Axis">The axis.</param>
    /// <param name="Best">The best value.</param>
    /// <param name="Tried">The loss of each value tried, by ascending value; infinite for a run that diverged.</param>
    public sealed record Searched(SearchAxis Axis, double Best, IReadOnlyList<(double Value, double Loss)> Tried)
    {
        /// <summary>"lowest" or "highest" if the best value is the last that the protocol allows there; null between, or if there is one value only.</summary>
        public string? Edge => Tried.Count < 2 ? null : Best == Tried[0].Value ? "lowest" : Best == Tried[^1].Value ? "highest" : null;
    }

    /// <summary>Searches the axes in order, until a pass changes no value.</summary>
    /// <param name="axes">The settings.</param>
    /// <param name="passes">The most passes over all axes.</param>
    /// <param name="loss">Returns the loss of a value for each axis; the same values may be asked for again.</param>
    /// <returns>Each axis, and false if the last pass still changed a value.</returns>
    public static (IReadOnlyList<Searched> Axes, bool IsSettled) Find(IReadOnlyList<SearchAxis> axes, int passes, Func<IReadOnlyList<double>, double> loss)
    {
        double[] point = [.. axes.Select(axis => axis.Start)];
        var searched = new Searched[axes.Count];
        bool changed = true;
        for (int pass = 0; pass < passes && changed; pass++)
        {
            changed = false;
            for (int i = 0; i < axes.Count; i++)
            {
                searched[i] = Search(axes[i], value =>
                {
                    double[] at = [.. point];
                    at[i] = value;
                    return loss(at);
                });
                changed |= searched[i].Best != point[i];
                point[i] = searched[i].Best;
            }
        }

        return (searched, axes.Count <= 1 || !changed);
    }

    private static Searched Search(SearchAxis axis, Func<double, double> loss)
    {
        var tried = new SortedList<double, double>();
        foreach (double value in axis.Grid)
            tried[value] = loss(value);
        while (true)
        {
            // Where all runs diverged the lowest value counts as the best, so that the search goes on below it.
            double best = tried.MinBy(item => item.Value).Key;
            double[] next = [.. best == tried.Keys[0] ? axis.Further.Where(value => value < best).TakeLast(1) : [], .. best == tried.Keys[^1] ? axis.Further.Where(value => value > best).Take(1) : []];
            if (next.Length == 0)
                return new Searched(axis, best, [.. tried.Select(item => (item.Key, item.Value))]);
            foreach (double value in next)
                tried[value] = loss(value);
        }
    }
}
