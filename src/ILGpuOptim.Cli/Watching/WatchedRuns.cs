using ILGpuOptim.Training;

namespace ILGpuOptim.Cli.Watching;

/// <summary>Finds and reads runs for the page.</summary>
internal static class WatchedRuns
{
    /// <summary>The most bytes of metrics that one answer holds.</summary>
    private const int MaxChunk = 1 << 22;

    /// <summary>Folders within a given folder are searched this deep: a comparison has its runs in <c>runs/NAME</c>.</summary>
    private const int Depth = 3;

    /// <summary>The run folders at or below the given folders, oldest first, each once.</summary>
    public static IReadOnlyList<string> Find(IEnumerable<string> folders) =>
        [.. folders.SelectMany(folder => Find(Path.GetFullPath(folder), Depth)).Distinct().OrderBy(folder => File.GetCreationTimeUtc(Path.Combine(folder, TrainingRun.SettingsFile))).ThenBy(folder => folder, StringComparer.Ordinal)];

    private static IEnumerable<string> Find(string folder, int depth)
    {
        if (File.Exists(Path.Combine(folder, TrainingRun.SettingsFile)))
            return [folder];
        if (depth == 0 || !Directory.Exists(folder))
            return [];
        var options = new EnumerationOptions { IgnoreInaccessible = true, AttributesToSkip = FileAttributes.Hidden | FileAttributes.System | FileAttributes.ReparsePoint };
        return Directory.EnumerateDirectories(folder, "*", options).SelectMany(inner => Find(inner, depth - 1));
    }

    /// <summary>Whole lines of a run's metrics from a byte on, and the byte after them. A file that became shorter is read from its start.</summary>
    public static (byte[] Lines, long Next, bool FromStart) Read(string folder, long from)
    {
        string path = Path.Combine(folder, TrainingRun.MetricsFile);
        if (!File.Exists(path))
            return ([], 0, from > 0);
        using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        bool restarts = from < 0 || from > file.Length;
        file.Position = restarts ? 0 : from;
        byte[] lines = new byte[Math.Min(MaxChunk, file.Length - file.Position)];
        long start = file.Position;
        int read = file.ReadAtLeast(lines, lines.Length, throwOnEndOfStream: false), end = lines.AsSpan(0, read).LastIndexOf((byte)'\n') + 1;
        return (lines[..end], start + end, restarts);
    }
}
