namespace PeerBenchmarks.Running;

/// <summary>The times of every side for one case, in milliseconds: a list for each turn.</summary>
internal sealed record Outcome(IReadOnlyDictionary<string, List<double[]>> Turns)
{
    /// <summary>The middle time of a side.</summary>
    public double Median(string candidate) => Quantile(Turns[candidate].SelectMany(turn => turn), 0.5);

    /// <summary>Half the distance between the quartiles of a side, relative to its median: the noise of the measurement.</summary>
    public double Spread(string candidate)
    {
        var times = Turns[candidate].SelectMany(turn => turn).ToArray();
        return 0.5 * (Quantile(times, 0.75) - Quantile(times, 0.25)) / Median(candidate);
    }

    /// <summary>
    /// How many times as fast as <paramref name="peer"/> a side is: the middle over the rounds of the quotient of neighbouring
    /// turns, so that a machine which changes its speed between rounds does not count for or against anybody. Quartiles
    /// of the quotients (<paramref name="quantile"/> 0.25 and 0.75) that lie far apart mark a disturbed measurement.
    /// </summary>
    public double Ratio(string candidate, string peer, double quantile = 0.5) =>
        Quantile(Turns[candidate].Zip(Turns[peer], (mine, theirs) => Quantile(theirs, 0.5) / Quantile(mine, 0.5)), quantile);

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
    // On a machine that is never free there is nothing to measure.
    private const int MaxAttempts = 4;

    /// <summary>
    /// Each side measures <paramref name="count"/> units a turn, <paramref name="rounds"/> turns. A round in which other
    /// processes used the machine is measured again, whatever its figures: programs differ in how they bear the loss of a core.
    /// </summary>
    public static Outcome Take(IReadOnlyList<Worker> workers, Func<string, string> caseOf, int rounds, int count, bool alone)
    {
        var times = workers.ToDictionary(worker => worker.Candidate.Name, _ => new List<double[]>());
        foreach (var worker in workers)
            worker.Measure(1, caseOf(worker.Candidate.Name)); // prepares and warms up
        int disturbed = 0;
        foreach (var group in alone ? workers.Select(worker => new[] { worker }) : [[.. workers]])
        {
            int attempts = rounds * MaxAttempts;
            for (int round = 0; round < rounds && attempts > 0; attempts--)
            {
                var turns = Array.ConvertAll(group, worker => (worker.Candidate.Name, Times: worker.Measure(count, caseOf(worker.Candidate.Name)), worker.Disturbed));
                if (turns.Any(turn => turn.Disturbed))
                {
                    disturbed++;
                    continue;
                }
                foreach (var turn in turns)
                    times[turn.Name].Add(turn.Times);
                round++;
            }
            if (times[group[0].Candidate.Name].Count < rounds)
                throw new WorkerException($"{caseOf(workers[0].Candidate.Name)}: other programs used this machine in {disturbed} of {rounds * MaxAttempts} rounds; stop them and measure again.");
        }
        if (disturbed > 0)
            Console.Error.WriteLine($"{caseOf(workers[0].Candidate.Name)}: measured {disturbed} rounds again, as other programs used the machine");
        return new Outcome(times);
    }
}
