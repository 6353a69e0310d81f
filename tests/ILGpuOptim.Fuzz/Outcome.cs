namespace ILGpuOptim.Fuzz;

/// <summary>The result of reading a case.</summary>
/// <param name="Error">The exception; null if the case was read.</param>
/// <param name="Bytes">The number of managed bytes allocated.</param>
/// <param name="MaxBytes">The limit of allocated bytes.</param>
/// <param name="Time">The time taken.</param>
/// <param name="MaxTime">The time limit.</param>
internal sealed record Outcome(Exception? Error, long Bytes, long MaxBytes, TimeSpan Time, TimeSpan MaxTime)
{
    /// <summary>True if the case was read or refused with a <see cref="UserException"/>, within the limits.</summary>
    public bool IsAccepted => Kind is null;

    /// <summary>A short name of the problem; null if there is none.</summary>
    public string? Kind => Error is not (null or UserException) ? $"{Error.GetType().Name} in {Place(Error)}"
        : Error is UserException && Error.Message.Contains("System.", StringComparison.Ordinal) ? "a type of .NET in the message"
        : Bytes > MaxBytes ? "too much memory"
        : Time > MaxTime ? "too slow"
        : null;

    /// <inheritdoc/>
    public override string ToString() => $"{Kind ?? (Error is null ? "read" : "refused")}: {Bytes:N0} bytes, {Time.TotalSeconds:F2} s\n  {Error}";

    /// <summary>The innermost method of the library in the stack trace.</summary>
    private static string Place(Exception e) =>
        (e.StackTrace ?? "").Split('\n').FirstOrDefault(line => line.Contains("ILGpuOptim", StringComparison.Ordinal))?.Trim().Split(" in ")[0] ?? "?";
}
