namespace ILGpuOptim.Files;

/// <summary>Pointers of Git LFS: small text files that stand for large ones that were not downloaded.</summary>
internal static class GitLfs
{
    /// <summary>Refuses a pointer.</summary>
    /// <param name="path">The file, for the message.</param>
    /// <param name="start">The first bytes of the file.</param>
    /// <exception cref="UserException">It is one.</exception>
    public static void Check(string path, ReadOnlySpan<byte> start)
    {
        if (IsPointer(start))
            throw new UserException(Message(path));
    }

    /// <summary>Whether a file that begins with these bytes is a pointer.</summary>
    public static bool IsPointer(ReadOnlySpan<byte> start) => start.StartsWith("version https://git-lfs"u8);

    /// <summary>What a pointer is and what to do.</summary>
    public static string Message(string path) =>
        $"{path}: a Git LFS pointer, not the file itself; run \"git lfs pull\" in its repository, or download the file";
}
