using System.Buffers;

namespace ILGpuOptim.Files;

/// <summary>
/// A temporary folder beside a path, <c>NAME.partial-</c> with eight random hexadecimal digits. It holds a marker file, the new file or
/// folder (<c>new</c>) and, where two names cannot be exchanged atomically, the old one (<c>old</c>). The marker is locked while its process
/// runs; the folder is removed by its process, or by the next one that writes to the path. A folder without the marker is left alone, unless it is
/// empty: a process was killed between creating the folder and the marker, or between deleting them.
/// </summary>
internal sealed class PartialFolder : IDisposable
{
    private const string Mark = ".partial-", MarkerFile = "temporary-folder-of-ilgpuoptim";
    private const int Digits = 8;

    private static readonly SearchValues<char> Hexadecimal = SearchValues.Create("0123456789abcdef");

    private readonly string folder;
    private readonly FileStream marker;

    /// <summary>Creates the folder, and removes those that killed processes left beside the path.</summary>
    /// <param name="path">The full path of the file or folder that is to be written.</param>
    /// <exception cref="IOException">The disk is full, or the folder cannot be created.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder above may not be written.</exception>
    public PartialFolder(string path)
    {
        Recover(Path.GetDirectoryName(path)!, Path.GetFileName(path));
        for (int tries = 10; ; tries--)
        {
            folder = path + Mark + Guid.NewGuid().ToString("N")[..Digits];
            Directory.CreateDirectory(folder);
            FileStream? created = null;
            try
            {
                created = marker = new FileStream(Path.Combine(folder, MarkerFile), FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None);
                marker.Write(Contents);
                marker.Flush();

                // Until the marker is locked, another process may take the folder for an abandoned one, and remove it.
                if (File.Exists(marker.Name))
                    return;
                marker.Dispose();
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                Remove(folder, created);
                if (tries <= 1)
                    throw;
            }
        }
    }

    private static ReadOnlySpan<byte> Contents => "ilgpuoptim made this folder and removes it.\n"u8;

    /// <summary>The path of the new file or folder.</summary>
    public string New => Path.Combine(folder, "new");

    /// <summary>The path of the old one until the new one is in place.</summary>
    public string Old => Path.Combine(folder, "old");

    /// <summary>Removes the temporary folders that killed processes left in a folder, and restores a replaced folder if the new one is not in place.</summary>
    /// <param name="parent">The folder.</param>
    /// <param name="name">The file or folder whose temporary folders are removed; null for all.</param>
    public static void Recover(string parent, string? name = null)
    {
        if (!Directory.Exists(parent))
            return;
        foreach (string leftover in Directory.EnumerateDirectories(parent).Where(path => TargetOf(path) is { } target && (name is null || target == name)).ToArray())
        {
            using FileStream? marker = Claim(leftover);
            if (marker is null)
            {
                RemoveEmpty(leftover);
                continue;
            }

            string target = Path.Combine(parent, TargetOf(leftover)!), old = Path.Combine(leftover, "old");
            if (Directory.Exists(old) && !Path.Exists(target))
                Directory.Move(old, target);
            Remove(leftover, marker);
        }
    }

    /// <summary>Removes a folder that has nothing in it, not even a marker.</summary>
    private static void RemoveEmpty(string folder)
    {
        try
        {
            if (new DirectoryInfo(folder).LinkTarget is null)
                Directory.Delete(folder);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It holds something, which is not ours or in use.
        }
    }

    /// <summary>The name before the mark; null for other folders.</summary>
    private static string? TargetOf(string path)
    {
        string name = Path.GetFileName(path);
        int end = name.Length - Mark.Length - Digits;
        return end > 0 && name.AsSpan(end).StartsWith(Mark, StringComparison.Ordinal) && !name.AsSpan(end + Mark.Length).ContainsAnyExcept(Hexadecimal) ? name[..end] : null;
    }

    /// <summary>Locks and returns the marker of an abandoned folder; null if a process uses the folder, or it is not a temporary folder of ours.</summary>
    private static FileStream? Claim(string folder)
    {
        FileStream? marker = null;
        try
        {
            marker = new FileStream(Path.Combine(folder, MarkerFile), FileMode.Open, FileAccess.Read, FileShare.None);
            Span<byte> contents = stackalloc byte[Contents.Length + 1];

            // A process may have been killed before it wrote the marker's text.
            if (marker.ReadAtLeast(contents, contents.Length, throwOnEndOfStream: false) is int read && (read == 0 || contents[..read].SequenceEqual(Contents)))
                return marker;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Not ours, or in use.
        }

        marker?.Dispose();
        return null;
    }

    /// <summary>
    /// Removes our files in a temporary folder, the marker last. The folder stays if it has other files. The marker is deleted while it is locked, so that the
    /// process that has just created it and waits for the lock finds it gone; Windows creates and locks in one operation, and does not delete open files.
    /// </summary>
    private static void Remove(string folder, FileStream? marker)
    {
        try
        {
            foreach (string part in (string[])["new", "old"])
            {
                string path = Path.Combine(folder, part);
                if (Directory.Exists(path) && new DirectoryInfo(path).LinkTarget is null)
                    Directory.Delete(path, recursive: true);
                else
                    File.Delete(path);
            }

            if (OperatingSystem.IsWindows())
                marker?.Dispose();
            File.Delete(Path.Combine(folder, MarkerFile));
            Directory.Delete(folder);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The rest is temporary; the next process that writes to the path tries again.
        }
        finally
        {
            marker?.Dispose();
        }
    }

    /// <summary>Removes the folder.</summary>
    public void Dispose() => Remove(folder, marker);
}
