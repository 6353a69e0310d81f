namespace ILGpuOptim.Files;

/// <summary>Opens input files. Pipes, sockets and devices are refused without opening them, since they may block or never end.</summary>
internal static class SourceFile
{
    /// <summary>Opens a file that other processes may replace.</summary>
    /// <exception cref="UserException">It is missing, empty, a folder, a pipe or a device, or cannot be read.</exception>
    public static FileStream Open(string path)
    {
        try
        {
            Length(path);
            return new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw Unreadable(path, e);
        }
    }

    /// <summary>All bytes of a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="most">The size limit in bytes.</param>
    /// <param name="remedy">What to do with a larger file; the end of the message.</param>
    /// <exception cref="UserException">As for <see cref="Open"/>, or the file is too large.</exception>
    public static byte[] ReadAllBytes(string path, long most, string remedy)
    {
        using FileStream file = Open(path);
        if (file.Length > Math.Min(most, Array.MaxLength))
            throw new UserException($"{path}: the file has {file.Length:N0} bytes, more than the {Math.Min(most, Array.MaxLength):N0} that are read at once; {remedy}");
        try
        {
            byte[] bytes = new byte[file.Length];
            file.ReadExactly(bytes);
            return bytes;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Unreadable(path, e);
        }
    }

    /// <summary>The length of a file in bytes, at least 1.</summary>
    /// <exception cref="UserException">It is missing, empty, a folder, a pipe or a device.</exception>
    public static long Length(string path)
    {
        if (Directory.Exists(path))
            throw new UserException($"{path}: this is a folder; name a file");
        return (LengthOf(path) ?? throw new UserException($"{path}: there is no such file; check the path")) is > 0 and var length ? length
            : throw new UserException($"{path}: the file is empty, or it is a pipe or a device; name a file with contents");
    }

    /// <summary>True if there is a non-empty file that is not a pipe or a device.</summary>
    public static bool HasContents(string path) => LengthOf(path) > 0;

    /// <summary>The length of a file, following links; null if there is no file. Pipes, sockets, devices and files in /proc have length zero; opening a pipe would wait for its writer.</summary>
    private static long? LengthOf(string path)
    {
        FileInfo? file = new(path);
        if (file.LinkTarget is not null)
            file = file.ResolveLinkTarget(returnFinalTarget: true) as FileInfo;
        return file is { Exists: true } ? file.Length : null;
    }

    /// <summary>All text of a file: UTF-8, or another encoding of Unicode that its byte order mark names.</summary>
    /// <exception cref="UserException">As for <see cref="ReadAllBytes"/>.</exception>
    public static string ReadAllText(string path, long most, string remedy)
    {
        using var reader = new StreamReader(new MemoryStream(ReadAllBytes(path, most, remedy)));
        return reader.ReadToEnd();
    }

    private static UserException Unreadable(string path, Exception e) =>
        new($"{path}: the file cannot be read: {e.Message}; check the path and the read permission", e);
}
