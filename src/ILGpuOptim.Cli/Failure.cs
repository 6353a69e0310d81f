using System.Reflection;
using ILGpuOptim.Cli.Commands;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Cli;

/// <summary>Converts the exception that ended a command to one line and an exit code.</summary>
internal static class Failure
{
    /// <summary>If this environment variable is set, stack traces are printed.</summary>
    public const string DebugVariable = "ILGPUOPTIM_DEBUG";

    private const int Refused = 1, Unexpected = 70, ClosedPipe = 128 + 13;

    /// <summary>Prints the line, and returns the exit code: 1 for errors of the user or the environment, 70 for errors of the program, 141 for a closed pipe.</summary>
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
            UserException error => (Refused, $"error: {error.MessageWith(SettingFlags.NameOf)}"),
            _ when Devices.Explain(e) is { } reason => (Refused, $"error: {reason}"),
            IOException or UnauthorizedAccessException => (Refused, $"error: {e.Message}"),
            OutOfMemoryException => (Refused, "error: out of memory; use a smaller model, batch, block or file"),
            _ => (Unexpected, $"unexpected error: {e.Message.TrimEnd('.')}; please report it with the command and its input files ({DebugVariable}=1 prints the stack trace)"),
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
