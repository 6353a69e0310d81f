using System.Diagnostics;

namespace PeerBenchmarks.Running;

/// <summary>A side of a comparison failed.</summary>
internal sealed class WorkerException(string message) : Exception(message);

/// <summary>
/// The coordinator's end of a running candidate. Every side has a process and an environment of its own, so no side's
/// spinning threads, allocator or pinning touches another's.
/// </summary>
internal sealed class Worker : IDisposable
{
    // Both clocks tick in hundredths of a second, on each core.
    private static readonly TimeSpan Grain = TimeSpan.FromMilliseconds(20);

    private readonly Process process;

    public Worker(Candidate candidate)
    {
        Candidate = candidate;
        var start = new ProcessStartInfo(candidate.Program, candidate.Arguments)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
        };
        // These choose OpenBLAS's kernels by hand, for other programs; a peer picks its own.
        start.Environment.Remove("OPENBLAS_CORETYPE");
        start.Environment.Remove("OPENBLAS_L2_SIZE");
        foreach (var (name, value) in candidate.Environment)
            start.Environment[name] = value;
        try
        {
            process = Process.Start(start)!;
        }
        catch (System.ComponentModel.Win32Exception error)
        {
            throw new WorkerException($"{candidate.Name}: cannot start {candidate.Program}: {error.Message}");
        }
        Description = Answer();
    }

    /// <summary>Which side this is.</summary>
    public Candidate Candidate { get; }

    /// <summary>What the side says of itself: versions, kernels.</summary>
    public string Description { get; }

    /// <summary>The most memory that the process has held, in bytes.</summary>
    public long PeakBytes
    {
        get
        {
            process.Refresh();
            return process.PeakWorkingSet64;
        }
    }

    /// <summary>Whether others used the machine during the last measurement: more than a tenth of one core.</summary>
    public bool Disturbed { get; private set; }

    /// <summary>Times <paramref name="count"/> units of a case, in milliseconds, and returns when the process is quiet again.</summary>
    /// <exception cref="WorkerException">The process ended.</exception>
    public double[] Measure(int count, string @case)
    {
        var clock = Stopwatch.StartNew();
        var (busy, own) = (Machine.Busy(), Used());
        process.StandardInput.WriteLine($"{count} {@case}");
        process.StandardInput.Flush();
        var times = Answer().Split(' ').Select(double.Parse).ToArray();
        AwaitQuiet();
        var foreign = Machine.Busy() - busy - (Used() - own);
        Disturbed = foreign > clock.Elapsed / 10 + Grain;
        return times;
    }

    /// <summary>
    /// Waits until the process's threads have stopped spinning (OpenMP's and OpenBLAS's do so for some tens of
    /// milliseconds after the last call), so that the next side finds both cores free.
    /// </summary>
    private void AwaitQuiet()
    {
        var deadline = Stopwatch.StartNew();
        var before = TimeSpan.MinValue;
        for (var now = Used(); now > before && deadline.ElapsedMilliseconds < 1000; now = Used())
        {
            before = now;
            Thread.Sleep(25);
        }
    }

    private TimeSpan Used()
    {
        process.Refresh();
        return process.TotalProcessorTime;
    }

    private string Answer() => process.StandardOutput.ReadLine()
        ?? throw new WorkerException($"{Candidate.Name}: its process ended without an answer");

    public void Dispose()
    {
        process.StandardInput.Close();
        if (!process.WaitForExit(5000))
            process.Kill();
        process.Dispose();
    }
}
