namespace ILGpuOptim.Files;

/// <summary>
/// A file that is written as <c>path.tmp</c> and gets its name when it is whole and on the disk. Without
/// <see cref="Finish"/> nothing is left of it, and an older file of that name stays.
/// </summary>
internal sealed class AtomicFile : IDisposable
{
    private readonly string path;
    private readonly string temporary;
    private bool closed;

    /// <summary>Begins a file.</summary>
    /// <exception cref="IOException">The folder is missing.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder may not be written.</exception>
    public AtomicFile(string path)
    {
        this.path = Path.GetFullPath(path);
        temporary = this.path + ".tmp";
        Stream = new FileStream(temporary, FileMode.Create, FileAccess.Write, FileShare.None, 1 << 18);
    }

    /// <summary>Takes the contents.</summary>
    public FileStream Stream { get; }

    /// <summary>Flushes the file to the disk and gives it its name.</summary>
    /// <exception cref="IOException">The disk is full.</exception>
    public void Finish()
    {
        Stream.Flush(flushToDisk: true);
        Stream.Dispose();
        File.Move(temporary, path, overwrite: true);
        closed = true;
        AtomicFolder.FlushFolder(Path.GetDirectoryName(path)!);
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

        File.Delete(temporary);
    }
}
