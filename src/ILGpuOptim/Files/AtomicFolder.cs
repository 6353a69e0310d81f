using System.Runtime.InteropServices;
using System.Text;

namespace ILGpuOptim.Files;

/// <summary>
/// Writes folders and files completely or not at all, even if the process is killed or the power fails. Nothing made by others is
/// replaced or removed.
/// </summary>
public static class AtomicFolder
{
    /// <summary>
    /// Fills a folder beside <paramref name="path"/>, flushes it to the disk and gives it its name. On failure nothing is left behind and an
    /// older folder is as it was. On Linux the old and the new folder are exchanged at once; elsewhere a process that is killed between two
    /// renames leaves the old one aside, and the next that writes there puts it back.
    /// </summary>
    /// <param name="path">The folder; a link to a folder means that folder.</param>
    /// <param name="fill">Writes files into the folder that it is given.</param>
    /// <param name="obstacle">Why a folder that holds something may not be replaced, or null when it may. Without it such a folder is refused.</param>
    /// <exception cref="UserException">The folder holds something that may not be replaced.</exception>
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
    /// Fills a folder with files that belong together, as <see cref="Write"/>, and lists them in it. An older folder is replaced when it was made so,
    /// nothing in it was changed, and nothing was added to it.
    /// </summary>
    public static void WriteListed(string path, Action<string> fill) => Write(
        path,
        partial =>
        {
            fill(partial);
            FolderManifest.Write(partial);
        },
        FolderManifest.Obstacle);

    /// <summary>Fails when something at a path may not be replaced by a folder.</summary>
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
            Directory.Move(partial.New, path);
            return;
        }

        if (Exchange(partial.New, path))
            return;
        Directory.Move(path, partial.Old);
        try
        {
            Directory.Move(partial.New, path);
        }
        catch
        {
            Directory.Move(partial.Old, path);
            throw;
        }
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

    /// <summary>
    /// Removes the temporary folders that killed processes left in a folder, putting a replaced folder back where the new one never came.
    /// </summary>
    /// <param name="parent">The folder above those that were being written.</param>
    public static void RemoveLeftovers(string parent) => PartialFolder.Recover(Path.GetFullPath(parent));

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

    /// <summary>Exchanges two names in one step; false where the system or the file system cannot.</summary>
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
