namespace ILGpuOptim.Files;

/// <summary>Git LFS pointers: small text files in place of large files that were not downloaded.</summary>
internal static class GitLfs
{
    /// <summary>Refuses a pointer.</summary>
    /// <param name="path">The file, for the message.</param>
    /// <param name="start">The first bytes of the file.</param>
    /// <exception cref="UserException">The file is a pointer.</exception>
    public static void Check(string path, ReadOnlySpan<byte> start)
    {
        if (IsPointer(start))
            throw new UserException(Message(path));
    }

    /// <summary>True if the first bytes of a file are those of a pointer.</summary>
    public static bool IsPointer(ReadOnlySpan<byte> start) => start.StartsWith("version https://git-lfs"u8);

    /// <summary>The error message for a pointer.</summary>
    public static string Message(string path) =>
        $"{path}: a Git LFS pointer, not the file itself; run \"git lfs pull\" in its repository, or download the file";
}
