namespace ILGpuOptim.Fuzz;

/// <summary>What reading a case came to.</summary>
/// <param name="Error">The exception; null when the case was read.</param>
/// <param name="Bytes">Managed bytes that were allocated in all.</param>
/// <param name="MostBytes">The bytes that are accepted.</param>
/// <param name="Time">How long it took.</param>
/// <param name="MostTime">The time that is accepted.</param>
internal sealed record Outcome(Exception? Error, long Bytes, long MostBytes, TimeSpan Time, TimeSpan MostTime)
{
    /// <summary>Whether the case was read or refused as it should be, in bounded time and memory.</summary>
    public bool IsAccepted => Kind is null;

    /// <summary>A short name of what is wrong; null when nothing is.</summary>
    public string? Kind => Error is not (null or UserException) ? $"{Error.GetType().Name} in {Place(Error)}"
        : Error is UserException && Error.Message.Contains("System.", StringComparison.Ordinal) ? "a type of .NET in the message"
        : Bytes > MostBytes ? "too much memory"
        : Time > MostTime ? "too slow"
        : null;

    /// <inheritdoc/>
    public override string ToString() => $"{Kind ?? (Error is null ? "read" : "refused")}: {Bytes:N0} bytes, {Time.TotalSeconds:F2} s\n  {Error}";

    /// <summary>The innermost method of the library.</summary>
    private static string Place(Exception e) =>
        (e.StackTrace ?? "").Split('\n').FirstOrDefault(line => line.Contains("ILGpuOptim", StringComparison.Ordinal))?.Trim().Split(" in ")[0] ?? "?";
}
