using System.Reflection;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Cli;

/// <summary>Turns whatever ends a command into one line and an exit code.</summary>
internal static class Failure
{
    /// <summary>Set to anything, it prints where an error came from.</summary>
    public const string DebugVariable = "ILGPUOPTIM_DEBUG";

    private const int Refused = 1, Unexpected = 70, ClosedPipe = 128 + 13;

    /// <summary>Prints the line, and returns the exit code: 1 for what the message explains, 70 for a fault of the program, 141 for a closed pipe.</summary>
    public static int Report(Exception e, TextWriter output)
    {
        Exception all = e;
        while (e is AggregateException or TargetInvocationException or TypeInitializationException && e.InnerException is { } inner)
            e = (e as AggregateException)?.InnerExceptions.OfType<UserException>().FirstOrDefault() ?? inner;
        for (Exception? cause = all; cause is not null; cause = cause.InnerException)
        {
            if (cause is ClosedOutputException)
                return ClosedPipe;
        }

        (int code, string line) = e switch
        {
            UserException => (Refused, $"error: {e.Message}"),
            _ when Devices.Explain(e) is { } reason => (Refused, $"error: {reason}"),
            IOException or UnauthorizedAccessException => (Refused, $"error: {e.Message}"),
            OutOfMemoryException => (Refused, "error: the memory does not suffice; use a smaller model, batch, block or file"),
            _ => (Unexpected, $"unexpected error: {e.Message.TrimEnd('.')}; please report it with the command and the files that it read ({DebugVariable}=1 prints where it came from)"),
        };
        try
        {
            output.WriteLine(Terminal.Line(line));
            if (Environment.GetEnvironmentVariable(DebugVariable) is { Length: > 0 })
                output.WriteLine(all);
        }
        catch (IOException)
        {
            // Standard error is closed too.
        }

        return code;
    }
}
