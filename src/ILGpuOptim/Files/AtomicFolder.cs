using System.Runtime.InteropServices;
using System.Text;

namespace ILGpuOptim.Files;

/// <summary>
/// Folders and files that appear whole or not at all, whatever happens to the process or the power. One process at a
/// time writes to a path.
/// </summary>
public static class AtomicFolder
{
    private const string Mark = ".partial-";

    /// <summary>
    /// Fills a folder beside <paramref name="path"/>, flushes it to the disk and renames it. A folder already there is
    /// replaced only then. On failure nothing is left behind and the old folder is as it was.
    /// </summary>
    /// <param name="path">The folder.</param>
    /// <param name="fill">Writes files into the folder that it is given.</param>
    /// <exception cref="IOException">The disk is full, or the folder cannot be created.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder may not be written.</exception>
    public static void Write(string path, Action<string> fill)
    {
        path = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        RemoveLeftovers(path);
        string partial = path + Mark + Environment.ProcessId, old = path + Mark + "old";
        try
        {
            Directory.CreateDirectory(partial);
            fill(partial);
            foreach (string file in Directory.EnumerateFiles(partial, "*", SearchOption.AllDirectories))
                Flush(file);
            foreach (string folder in Directory.EnumerateDirectories(partial, "*", SearchOption.AllDirectories))
                FlushFolder(folder);
            FlushFolder(partial);
            if (Directory.Exists(path))
                Directory.Move(path, old);
            Directory.Move(partial, path);
        }
        catch
        {
            if (Directory.Exists(old) && !Directory.Exists(path))
                Directory.Move(old, path);
            if (Directory.Exists(partial))
                Directory.Delete(partial, recursive: true);
            throw;
        }

        FlushFolder(Path.GetDirectoryName(path)!);
        if (Directory.Exists(old))
            Directory.Delete(old, recursive: true);
    }

    /// <summary>Replaces a text file at once; on failure the old one is as it was.</summary>
    /// <exception cref="IOException">The disk is full, or the folder is missing.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder may not be written.</exception>
    public static void WriteText(string path, string text) => WriteBytes(path, Encoding.UTF8.GetBytes(text));

    /// <summary>Replaces a file at once, as <see cref="WriteText"/>.</summary>
    public static void WriteBytes(string path, ReadOnlySpan<byte> contents)
    {
        using var file = new AtomicFile(path);
        file.Stream.Write(contents);
        file.Finish();
    }

    /// <summary>Removes what a killed process left beside a folder, putting a replaced folder back where the new one never came.</summary>
    public static void RemoveLeftovers(string path)
    {
        path = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        string parent = Path.GetDirectoryName(path)!, old = path + Mark + "old";
        if (Directory.Exists(old) && !Directory.Exists(path))
            Directory.Move(old, path);
        if (!Directory.Exists(parent))
            return;
        foreach (string leftover in Directory.EnumerateDirectories(parent, Path.GetFileName(path) + Mark + "*"))
            Directory.Delete(leftover, recursive: true);
    }

    private static void Flush(string file)
    {
        using var stream = new FileStream(file, FileMode.Open, FileAccess.ReadWrite);
        stream.Flush(flushToDisk: true);
    }

    /// <summary>A rename is on the disk when its folder is.</summary>
    internal static void FlushFolder(string folder)
    {
        if (OperatingSystem.IsWindows())
            return;
        int handle = OpenFolder(folder, 0);
        if (handle < 0)
            return;
        _ = Synchronize(handle);
        _ = Close(handle);
    }

    [DllImport("libc", EntryPoint = "open", CharSet = CharSet.Ansi, BestFitMapping = false, ThrowOnUnmappableChar = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int OpenFolder(string path, int flags);

    [DllImport("libc", EntryPoint = "fsync")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int Synchronize(int handle);

    [DllImport("libc", EntryPoint = "close")]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int Close(int handle);
}
