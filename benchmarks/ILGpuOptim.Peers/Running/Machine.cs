namespace PeerBenchmarks.Running;

/// <summary>What the whole machine's processors have done.</summary>
internal static class Machine
{
    private const double TicksPerSecond = 100; // USER_HZ, fixed in Linux's interface

    /// <summary>
    /// Time that all cores together have worked for anybody since the start, with what the hypervisor took away: the first
    /// line of /proc/stat less idle, iowait and the guests' share that user time holds already.
    /// </summary>
    public static TimeSpan Busy()
    {
        using var stat = new StreamReader("/proc/stat");
        var ticks = stat.ReadLine()!.Split(' ', StringSplitOptions.RemoveEmptyEntries).Skip(1).Select(double.Parse).ToArray();
        return TimeSpan.FromSeconds((ticks[0] + ticks[1] + ticks[2] + ticks[5] + ticks[6] + ticks[7]) / TicksPerSecond);
    }
}
