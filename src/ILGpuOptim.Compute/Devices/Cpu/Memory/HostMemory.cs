using System.Globalization;

namespace ILGpuOptim.Compute;

/// <summary>
/// The memory that this process can still allocate: free memory of the system, within the limits of its control groups (containers, systemd, Slurm).
/// Sources: Linux's <c>/proc/meminfo</c> and the memory controllers of cgroup v1 and v2; elsewhere, the runtime's own figures.
/// </summary>
internal static class HostMemory
{
    /// <summary>Bytes that are free now. Memory that the process already holds does not count.</summary>
    public static long AvailableBytes() => AvailableBytes("/");

    /// <summary>As <see cref="AvailableBytes()"/>, with the system's files below another root.</summary>
    internal static long AvailableBytes(string root)
    {
        GCMemoryInfo runtime = GC.GetGCMemoryInfo();
        long available = Math.Max(0, runtime.TotalAvailableMemoryBytes - Math.Max(0, Environment.WorkingSet));
        if (Field(Path.Combine(root, "proc/meminfo"), "MemAvailable:") is { } kibibytes)
            available = Math.Min(available, kibibytes * 1024);
        foreach (string line in Lines(Path.Combine(root, "proc/self/cgroup")))
        {
            // "0::/path" is version 2; "5:memory:/path" is version 1's memory controller.
            string[] parts = line.Split(':', 3);
            if (parts is ["0", "", var unified])
                available = Math.Min(available, Left(Path.Combine(root, "sys/fs/cgroup"), unified, "memory.max", "memory.current", "inactive_file"));
            else if (parts is [_, var controllers, var path] && controllers.Split(',').Contains("memory"))
                available = Math.Min(available, Left(Path.Combine(root, "sys/fs/cgroup/memory"), path, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"));
        }

        return available;
    }

    /// <summary>The free bytes within the limits of a group and all groups above it. Inside a container the group's path may be missing; then the root is used.</summary>
    private static long Left(string mount, string path, string limit, string usage, string reclaimable)
    {
        long left = long.MaxValue;
        for (string? group = path.Trim('/'); group is not null; group = group.Length == 0 ? null : Path.GetDirectoryName(group) ?? "")
        {
            string folder = Path.Combine(mount, group);
            if (Number(Path.Combine(folder, limit)) is { } most && Number(Path.Combine(folder, usage)) is { } used)
                left = Math.Min(left, Math.Max(0, most - used + (Field(Path.Combine(folder, "memory.stat"), reclaimable) ?? 0)));
        }

        return left;
    }

    /// <summary>A file's number; null where there is no file, or no limit ("max").</summary>
    private static long? Number(string file) =>
        Lines(file) is [var line, ..] && long.TryParse(line.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out long value) ? value : null;

    /// <summary>The number after a name at the beginning of a line.</summary>
    private static long? Field(string file, string name)
    {
        foreach (string line in Lines(file))
        {
            if (line.Split(' ', StringSplitOptions.RemoveEmptyEntries) is [var first, var value, ..] && first == name
                && long.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out long number))
                return number;
        }

        return null;
    }

    private static string[] Lines(string file)
    {
        try
        {
            return File.Exists(file) ? File.ReadAllLines(file) : [];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }
}
