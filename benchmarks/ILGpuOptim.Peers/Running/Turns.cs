namespace PeerBenchmarks.Running;

/// <summary>The times of every side for one case, in milliseconds: a list for each turn.</summary>
internal sealed record Outcome(IReadOnlyDictionary<string, List<double[]>> Turns)
{
    /// <summary>The middle time of a side.</summary>
    public double Median(string contender) => Quantile(Turns[contender].SelectMany(turn => turn), 0.5);

    /// <summary>Half the distance between the quartiles of a side, relative to its median: the noise of the measurement.</summary>
    public double Spread(string contender)
    {
        var times = Turns[contender].SelectMany(turn => turn).ToArray();
        return 0.5 * (Quantile(times, 0.75) - Quantile(times, 0.25)) / Median(contender);
    }

    /// <summary>
    /// How many times as fast as <paramref name="peer"/> a side is: the middle over the rounds of the quotient of neighbouring
    /// turns, so that a machine which changes its speed between rounds does not count for or against anybody.
    /// </summary>
    public double Ratio(string contender, string peer) =>
        Quantile(Turns[contender].Zip(Turns[peer], (mine, theirs) => Quantile(theirs, 0.5) / Quantile(mine, 0.5)), 0.5);

    private static double Quantile(IEnumerable<double> values, double share)
    {
        var sorted = values.Order().ToArray();
        double place = share * (sorted.Length - 1);
        int below = (int)place;
        return sorted[below] + (place - below) * (sorted[Math.Min(below + 1, sorted.Length - 1)] - sorted[below]);
    }
}

/// <summary>
/// Lets the sides of a comparison take turns, A B C A B C, so that a machine that grows slower or faster meanwhile does
/// so for all of them.
/// </summary>
internal static class Turns
{
    /// <summary>Each side measures <paramref name="count"/> units a turn, <paramref name="rounds"/> turns.</summary>
    public static Outcome Take(IReadOnlyList<Worker> workers, string @case, int rounds, int count, bool alone)
    {
        var times = workers.ToDictionary(worker => worker.Contender.Name, _ => new List<double[]>());
        if (alone)
            foreach (var worker in workers)
                times[worker.Contender.Name].AddRange(worker.Measure(rounds * count, @case).Chunk(count));
        else
            for (int round = 0; round < rounds; round++)
                foreach (var worker in workers)
                    times[worker.Contender.Name].Add(worker.Measure(count, @case));
        return new Outcome(times);
    }
}
