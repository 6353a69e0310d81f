using System.Runtime.InteropServices;
using System.Text;

namespace ILGpuOptim.Files;

/// <summary>
/// Writes folders and files completely or not at all, even if the process is killed or the power fails. Files made by others are not
/// replaced or removed.
/// </summary>
internal static class AtomicFolder
{
    /// <summary>
    /// Fills a temporary folder beside <paramref name="path"/>, flushes it to the disk and renames it. On failure nothing is left behind and an
    /// older folder is unchanged. On Linux the old and the new folder are exchanged atomically; elsewhere, if a process is killed between two
    /// renames, the next process that writes to the path restores the old folder.
    /// </summary>
    /// <param name="path">The folder; links are followed.</param>
    /// <param name="fill">Writes the files to the given folder.</param>
    /// <param name="obstacle">Returns the reason why a non-empty folder may not be replaced, or null. Without it, non-empty folders are refused.</param>
    /// <exception cref="UserException">The folder has contents that may not be replaced.</exception>
    /// <exception cref="IOException">The disk is full, or the folder cannot be created.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder may not be written.</exception>
    public static void Write(string path, Action<string> fill, Func<string, string?>? obstacle = null)
    {
        path = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        if (Directory.Exists(path))
            path = Directory.ResolveLinkTarget(path, returnFinalTarget: true)?.FullName ?? path;
        if (Path.GetDirectoryName(path) is not { } parent)
            throw new IOException($"{path} cannot be replaced");
        CheckReplaceable(path, obstacle);
        using var partial = new PartialFolder(path);
        Directory.CreateDirectory(partial.New);
        fill(partial.New);
        foreach (string file in Directory.EnumerateFiles(partial.New, "*", SearchOption.AllDirectories))
            Flush(file);
        foreach (string folder in Directory.EnumerateDirectories(partial.New, "*", SearchOption.AllDirectories))
            FlushFolder(folder);
        FlushFolder(partial.New);
        CheckReplaceable(path, obstacle);
        Replace(partial, path);
        FlushFolder(parent);
    }

    /// <summary>
    /// As <see cref="Write"/>, and adds a manifest of the files. An older folder is replaced if it has exactly the files of its manifest, unchanged.
    /// </summary>
    public static void WriteListed(string path, Action<string> fill) => Write(
        path,
        partial =>
        {
            fill(partial);
            FolderManifest.Write(partial);
        },
        FolderManifest.Obstacle);

    /// <summary>Throws if the contents of a path may not be replaced by a folder.</summary>
    private static void CheckReplaceable(string path, Func<string, string?>? obstacle)
    {
        if (File.Exists(path))
            throw new IOException($"{path} is a file");
        if (!Directory.Exists(path) || !Directory.EnumerateFileSystemEntries(path).Any())
            return;
        if ((obstacle is null ? "the folder holds something already" : obstacle(path)) is { } reason)
            throw new UserException($"{path}: {reason}; choose another folder");
    }

    private static void Replace(PartialFolder partial, string path)
    {
        if (!Directory.Exists(path))
        {
            Rename(partial.New, path);
            return;
        }

        if (Exchange(partial.New, path))
            return;
        Rename(path, partial.Old);
        try
        {
            Rename(partial.New, path);
        }
        catch
        {
            Rename(partial.Old, path);
            throw;
        }
    }

    /// <summary>
    /// Renames a folder, or a file over an older one. Windows refuses it while another process, such as a virus scanner, has one of the files open;
    /// there it is tried for two seconds.
    /// </summary>
    internal static void Rename(string from, string to)
    {
        for (int tries = OperatingSystem.IsWindows() ? 40 : 1; ; tries--)
        {
            try
            {
                if (Directory.Exists(from))
                    Directory.Move(from, to);
                else
                    File.Move(from, to, overwrite: true);
                return;
            }
            catch (Exception e) when (tries > 1 && e is IOException or UnauthorizedAccessException)
            {
                Thread.Sleep(50);
            }
        }
    }

    /// <summary>Replaces a text file atomically; on failure the old one is unchanged.</summary>
    /// <exception cref="IOException">The disk is full, or the folder is missing.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder may not be written.</exception>
    public static void WriteText(string path, string text) => WriteBytes(path, Encoding.UTF8.GetBytes(text));

    /// <summary>Replaces a file atomically, as <see cref="WriteText"/>.</summary>
    public static void WriteBytes(string path, ReadOnlySpan<byte> contents)
    {
        using var file = new AtomicFile(path);
        file.Stream.Write(contents);
        file.Finish();
    }

    /// <summary>
    /// Removes the temporary folders that killed processes left in a folder, and restores a replaced folder if the new one is not in place.
    /// </summary>
    /// <param name="parent">The parent of the folders that were being written.</param>
    public static void RemoveLeftovers(string parent) => PartialFolder.Recover(Path.GetFullPath(parent));

    private static void Flush(string file)
    {
        using var stream = new FileStream(file, FileMode.Open, FileAccess.ReadWrite);
        stream.Flush(flushToDisk: true);
    }

    /// <summary>Flushes a folder to the disk, which makes renames in it durable.</summary>
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

    /// <summary>Exchanges two names atomically; false if the system does not support it.</summary>
    private static bool Exchange(string first, string second)
    {
        const int currentFolder = -100;
        const uint exchange = 2;
        try
        {
            return OperatingSystem.IsLinux() && Rename(currentFolder, first, currentFolder, second, exchange) == 0;
        }
        catch (EntryPointNotFoundException)
        {
            return false;
        }
    }

    [DllImport("libc", EntryPoint = "renameat2", CharSet = CharSet.Ansi, BestFitMapping = false, ThrowOnUnmappableChar = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int Rename(int oldFolder, string oldPath, int newFolder, string newPath, uint flags);

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
