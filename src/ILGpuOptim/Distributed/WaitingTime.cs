using System.Diagnostics;

namespace ILGpuOptim.Distributed;

/// <summary>
/// How long a rank has waited for a message of another. The time begins again if the rank has not looked for the message for a second: it may have computed meanwhile.
/// </summary>
internal struct WaitingTime
{
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);

    private long began, looked;

    /// <summary>Begins to wait.</summary>
    public static WaitingTime Begin()
    {
        long now = Stopwatch.GetTimestamp();
        return new() { began = now, looked = now };
    }

    /// <summary>The time so far, for a rank that has just looked for the message.</summary>
    public TimeSpan Look()
    {
        long now = Stopwatch.GetTimestamp();
        if (Stopwatch.GetElapsedTime(looked, now) > Pause)
            began = now;
        looked = now;
        return Stopwatch.GetElapsedTime(began, now);
    }
}
