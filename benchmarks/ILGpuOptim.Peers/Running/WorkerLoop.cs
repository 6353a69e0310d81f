using System.Diagnostics;
using PeerBenchmarks.Workloads;

namespace PeerBenchmarks.Running;

/// <summary>
/// The worker's end of a comparison. It says what it is, then answers each line <c>COUNT CASE</c> with COUNT times in
/// milliseconds for one unit of work of that case. Between lines it sleeps, so that the others have the machine.
/// </summary>
internal static class WorkerLoop
{
    // A time is taken over at least this long, far above the clock's grain and the cost of waking threads.
    private const double ShortestTiming = 15;

    public static void Run(Workload workload, TextReader orders, TextWriter answers)
    {
        answers.WriteLine(workload.Description);
        answers.Flush();
        string prepared = "";
        int units = 1;
        while (orders.ReadLine() is { } line)
        {
            var words = line.Split(' ', 2);
            int count = int.Parse(words[0]);
            if (words[1] != prepared)
            {
                workload.Prepare(prepared = words[1]);
                units = Warm(workload);
            }
            // The first run after a pause finds cold caches and sleeping threads; long units do not notice.
            if (workload.Slow is false)
                Time(workload, units);
            answers.WriteLine(string.Join(' ', Enumerable.Range(0, count).Select(_ => (Time(workload, units) / units).ToString("R"))));
            answers.Flush();
        }
    }

    /// <summary>Runs until the work has settled; returns how many units make a timing long enough.</summary>
    private static int Warm(Workload workload)
    {
        long start = Stopwatch.GetTimestamp();
        double fastest = double.PositiveInfinity;
        for (int runs = 0; runs < (workload.Slow ? 2 : 4) || Stopwatch.GetElapsedTime(start).TotalMilliseconds < 200; runs++)
            fastest = Math.Min(fastest, Time(workload, 1));
        return Math.Max(1, (int)Math.Ceiling(ShortestTiming / fastest));
    }

    private static double Time(Workload workload, int units)
    {
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < units; i++)
            workload.Run();
        return Stopwatch.GetElapsedTime(start).TotalMilliseconds;
    }
}
