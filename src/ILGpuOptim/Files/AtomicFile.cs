namespace ILGpuOptim.Files;

/// <summary>
/// A file that is written in a temporary folder (<see cref="PartialFolder"/>) and renamed once it is complete and on the disk. Without
/// <see cref="Finish"/> it is removed, and an older file of that name is unchanged.
/// </summary>
internal sealed class AtomicFile : IDisposable
{
    private readonly string path;
    private readonly PartialFolder partial;
    private bool closed;

    /// <summary>Begins a file.</summary>
    /// <exception cref="IOException">The folder is missing, or the disk is full.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder may not be written.</exception>
    public AtomicFile(string path)
    {
        this.path = Path.GetFullPath(path);
        string folder = Path.GetDirectoryName(this.path) ?? throw new IOException($"{path} is not the name of a file");
        if (!Directory.Exists(folder))
            throw new DirectoryNotFoundException($"there is no folder {folder}");
        partial = new PartialFolder(this.path);
        try
        {
            Stream = new FileStream(partial.New, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1 << 18);
        }
        catch
        {
            partial.Dispose();
            throw;
        }
    }

    /// <summary>The stream to write to.</summary>
    public FileStream Stream { get; }

    /// <summary>Flushes the file to the disk and renames it.</summary>
    /// <exception cref="IOException">The disk is full.</exception>
    public void Finish()
    {
        Stream.Flush(flushToDisk: true);
        Stream.Dispose();
        AtomicFolder.Rename(partial.New, path);
        closed = true;
        AtomicFolder.FlushFolder(Path.GetDirectoryName(path)!);
        partial.Dispose();
    }

    /// <summary>Removes a file that was not finished.</summary>
    public void Dispose()
    {
        if (closed)
            return;
        closed = true;
        try
        {
            Stream.Dispose();
        }
        catch (IOException)
        {
            // The buffered data does not fit on the disk; the file is removed anyway.
        }

        partial.Dispose();
    }
}
