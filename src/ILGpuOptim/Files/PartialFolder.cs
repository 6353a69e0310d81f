using System.Buffers;

namespace ILGpuOptim.Files;

/// <summary>
/// A temporary folder beside a path, <c>NAME.partial-</c> with eight random hexadecimal digits. It holds a marker file, the new file or
/// folder (<c>new</c>) and, where two names cannot be exchanged at once, the old one (<c>old</c>). The marker is locked while its process
/// lives; the folder is removed by its process, or by the next one that writes to the path. A folder without the marker is never touched.
/// </summary>
internal sealed class PartialFolder : IDisposable
{
    private const string Mark = ".partial-", MarkerFile = "temporary-folder-of-ilgpuoptim";
    private const int Digits = 8;

    private static readonly SearchValues<char> Hexadecimal = SearchValues.Create("0123456789abcdef");

    private readonly string folder;
    private readonly FileStream marker;

    /// <summary>Makes the folder, and removes what a killed process left beside the path.</summary>
    /// <param name="path">The full path of the file or folder that is to be written.</param>
    /// <exception cref="IOException">The disk is full, or the folder cannot be created.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder above may not be written.</exception>
    public PartialFolder(string path)
    {
        Recover(Path.GetDirectoryName(path)!, Path.GetFileName(path));
        folder = path + Mark + Guid.NewGuid().ToString("N")[..Digits];
        Directory.CreateDirectory(folder);
        try
        {
            marker = new FileStream(Path.Combine(folder, MarkerFile), FileMode.CreateNew, FileAccess.ReadWrite, FileShare.None);
            marker.Write(Contents);
            marker.Flush();
        }
        catch
        {
            Remove(folder, marker);
            throw;
        }
    }

    private static ReadOnlySpan<byte> Contents => "ilgpuoptim made this folder and removes it.\n"u8;

    /// <summary>Where the new file or folder is made.</summary>
    public string New => Path.Combine(folder, "new");

    /// <summary>Where the old one is kept until the new one has its name.</summary>
    public string Old => Path.Combine(folder, "old");

    /// <summary>Removes the temporary folders that killed processes left in a folder, putting a replaced folder back where the new one never came.</summary>
    /// <param name="parent">The folder.</param>
    /// <param name="name">The one file or folder whose temporary folders are meant; null for all.</param>
    public static void Recover(string parent, string? name = null)
    {
        if (!Directory.Exists(parent))
            return;
        foreach (string leftover in Directory.EnumerateDirectories(parent).Where(path => TargetOf(path) is { } target && (name is null || target == name)).ToArray())
        {
            using FileStream? marker = Claim(leftover);
            if (marker is null)
                continue;
            string target = Path.Combine(parent, TargetOf(leftover)!), old = Path.Combine(leftover, "old");
            if (Directory.Exists(old) && !Path.Exists(target))
                Directory.Move(old, target);
            Remove(leftover, marker);
        }
    }

    /// <summary>The name before the mark; null for a folder that is named otherwise.</summary>
    private static string? TargetOf(string path)
    {
        string name = Path.GetFileName(path);
        int end = name.Length - Mark.Length - Digits;
        return end > 0 && name.AsSpan(end).StartsWith(Mark, StringComparison.Ordinal) && !name.AsSpan(end + Mark.Length).ContainsAnyExcept(Hexadecimal) ? name[..end] : null;
    }

    /// <summary>The locked marker of a folder that no living process works in; null when one does, or when the folder is not ours.</summary>
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
    /// Removes what we put into a temporary folder, the marker last; something else in it keeps the folder. The marker is unlocked before, because
    /// Windows deletes no open file; whoever removes the rest then, nothing of value is left.
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

            marker?.Dispose();
            File.Delete(Path.Combine(folder, MarkerFile));
            Directory.Delete(folder);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // What is left is temporary; the next process that writes to the path tries again.
        }
        finally
        {
            marker?.Dispose();
        }
    }

    /// <summary>Removes the folder.</summary>
    public void Dispose() => Remove(folder, marker);
}
