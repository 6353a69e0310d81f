using System.Globalization;
using System.Runtime.InteropServices;

namespace ILGpuOptim.Cli;

/// <summary>
/// Ctrl-C, a request to end (SIGTERM) and a terminal that is gone (SIGHUP). While training steps are made, each asks to save and stop; before and
/// after, when nothing would be lost, each ends the process at once. So does Ctrl-C after one of them.
/// </summary>
internal sealed class StopSignals : IDisposable
{
    private readonly CancellationTokenSource stop = new();
    private readonly List<PosixSignalRegistration> registrations = [];
    private volatile bool saves;

    public StopSignals()
    {
        registrations.Add(PosixSignalRegistration.Create(PosixSignal.SIGINT, Handle));
        registrations.Add(PosixSignalRegistration.Create(PosixSignal.SIGTERM, Handle));

        // nohup starts processes that ignore SIGHUP.
        if (!IgnoresHangup())
            registrations.Add(PosixSignalRegistration.Create(PosixSignal.SIGHUP, Handle));
    }

    /// <summary>Cancelled when the command should save and stop.</summary>
    public CancellationToken Token => stop.Token;

    /// <summary>True while there is something to save.</summary>
    public bool Saves
    {
        get => saves;
        set => saves = value;
    }

    /// <summary>Tells at Ctrl-C that the step is finished first.</summary>
    public bool Announces { get; init; } = true;

    private void Handle(PosixSignalContext context)
    {
        bool interrupts = context.Signal == PosixSignal.SIGINT;

        // A second Ctrl-C ends the process without saving. Other signals may come twice: a closed terminal and its shell both send SIGHUP.
        context.Cancel = saves && !(interrupts && stop.IsCancellationRequested);
        if (!context.Cancel)
            return;
        stop.Cancel();
        if (interrupts && Announces)
            Console.Error.WriteLine("stopping after this step; press Ctrl-C again to quit at once without saving");
    }

    /// <summary>Linux reports ignored signals as a hexadecimal bit mask.</summary>
    private static bool IgnoresHangup() => OperatingSystem.IsLinux() && File.ReadLines("/proc/self/status")
        .Where(line => line.StartsWith("SigIgn:", StringComparison.Ordinal))
        .Any(line => (ulong.Parse(line["SigIgn:".Length..], NumberStyles.HexNumber | NumberStyles.AllowLeadingWhite, CultureInfo.InvariantCulture) & 1) != 0);

    public void Dispose()
    {
        registrations.ForEach(registration => registration.Dispose());
        stop.Dispose();
    }
}
