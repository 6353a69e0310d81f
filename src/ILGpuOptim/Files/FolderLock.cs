using System.Globalization;

namespace ILGpuOptim.Files;

/// <summary>
/// An exclusive lock of a folder: the process keeps the file <c>lock</c> open, so the lock ends with the process.
/// The process id is in <c>lock.pid</c>, for messages.
/// </summary>
internal sealed class FolderLock : IDisposable
{
    private const string FileName = "lock", OwnerFile = "lock.pid";

    /// <summary>The error codes of a file that another process has open.</summary>
    private const int Locked = 11, LockedOnMacOS = 35, LockedOnWindows = unchecked((int)0x80070020);

    private readonly string folder;
    private readonly FileStream file;

    private FolderLock(string folder, FileStream file) => (this.folder, this.file) = (folder, file);

    /// <summary>Takes the lock of an existing folder.</summary>
    /// <exception cref="UserException">Another process has it.</exception>
    /// <exception cref="IOException">The disk is full or read-only.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder may not be written.</exception>
    public static FolderLock Take(string folder)
    {
        string path = Path.Combine(folder, FileName);
        FileStream file;
        CheckOwn(folder);
        try
        {
            file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, bufferSize: 0);
        }
        catch (IOException e) when (e.HResult is Locked or LockedOnMacOS or LockedOnWindows)
        {
            throw UserException.NamingSettings($"{folder}: {Owner(folder)} works in this folder; wait until it ends, or choose another {nameof(folder):setting}", e);
        }

        try
        {
            File.WriteAllText(Path.Combine(folder, OwnerFile), Environment.ProcessId.ToString(CultureInfo.InvariantCulture));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The lock works without the process id.
        }

        return new FolderLock(folder, file);
    }

    /// <summary>True if an entry of a folder belongs to its lock: an empty file, or one with a process id.</summary>
    public static bool Owns(string path) => Path.GetFileName(path) switch
    {
        FileName => File.Exists(path) && !SourceFile.HasContents(path),
        OwnerFile => File.Exists(path) && (!SourceFile.HasContents(path) || (new FileInfo(path).Length < 16 && int.TryParse(File.ReadAllText(path), NumberStyles.None, CultureInfo.InvariantCulture, out _))),
        _ => false,
    };

    /// <summary>Refuses other files with the names of the lock, which would be overwritten and removed.</summary>
    private static void CheckOwn(string folder)
    {
        foreach (string path in (string[])[Path.Combine(folder, FileName), Path.Combine(folder, OwnerFile)])
        {
            if (Path.Exists(path) && !Owns(path))
                throw UserException.NamingSettings($"{path}: a run keeps its lock under this name, but the file is not a lock; move it away, or choose another {nameof(folder):setting}");
        }
    }

    private static string Owner(string folder)
    {
        try
        {
            return int.TryParse(File.ReadAllText(Path.Combine(folder, OwnerFile)), NumberStyles.None, CultureInfo.InvariantCulture, out int id) ? $"another process ({id})" : "another process";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return "another process";
        }
    }

    /// <summary>Releases the lock. The empty file stays: removing it would let two processes lock two files of that name.</summary>
    public void Dispose()
    {
        try
        {
            File.Delete(Path.Combine(folder, OwnerFile));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It is only used in messages.
        }

        file.Dispose();
    }
}
