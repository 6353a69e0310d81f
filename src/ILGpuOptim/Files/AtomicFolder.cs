using System.Runtime.InteropServices;

namespace ILGpuOptim.Files;

/// <summary>Folders and files that appear whole or not at all, whatever happens to the process or the power.</summary>
public static class AtomicFolder
{
    private const string Mark = ".partial-";

    /// <summary>
    /// Fills a folder beside <paramref name="path"/>, flushes it to the disk and renames it. A folder already there is
    /// replaced only then. On failure nothing is left behind and the old folder is as it was.
    /// </summary>
    /// <param name="path">The folder.</param>
    /// <param name="fill">Writes files into the folder that it is given.</param>
    public static void Write(string path, Action<string> fill)
    {
        path = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        RemoveLeftovers(path);
        string partial = path + Mark + Environment.ProcessId;
        try
        {
            Directory.CreateDirectory(partial);
            fill(partial);
            foreach (string file in Directory.EnumerateFiles(partial, "*", SearchOption.AllDirectories))
                Flush(file);
            FlushFolder(partial);
            string old = path + Mark + "old";
            if (Directory.Exists(path))
                Directory.Move(path, old);
            Directory.Move(partial, path);
            FlushFolder(Path.GetDirectoryName(path)!);
            if (Directory.Exists(old))
                Directory.Delete(old, recursive: true);
        }
        catch
        {
            if (Directory.Exists(partial))
                Directory.Delete(partial, recursive: true);
            throw;
        }
    }

    /// <summary>Replaces a text file at once.</summary>
    public static void WriteText(string path, string text)
    {
        string partial = path + Mark + Environment.ProcessId;
        try
        {
            File.WriteAllText(partial, text);
            Flush(partial);
            File.Move(partial, path, overwrite: true);
        }
        catch
        {
            File.Delete(partial);
            throw;
        }
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
    private static void FlushFolder(string folder)
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
