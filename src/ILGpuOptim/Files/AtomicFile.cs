namespace ILGpuOptim.Files;

/// <summary>
/// A file that is written elsewhere (<see cref="PartialFolder"/>) and gets its name when it is whole and on the disk. Without
/// <see cref="Finish"/> nothing is left of it, and an older file of that name stays.
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
        string folder = Path.GetDirectoryName(this.path) ?? throw new IOException($"{path} is no name of a file");
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

    /// <summary>Takes the contents.</summary>
    public FileStream Stream { get; }

    /// <summary>Flushes the file to the disk and gives it its name.</summary>
    /// <exception cref="IOException">The disk is full.</exception>
    public void Finish()
    {
        Stream.Flush(flushToDisk: true);
        Stream.Dispose();
        File.Move(partial.New, path, overwrite: true);
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
            // The buffered rest does not fit the disk: the file goes away in any case.
        }

        partial.Dispose();
    }
}
