using System.Buffers.Binary;
using System.IO.Hashing;
using System.Runtime.InteropServices;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data;

/// <summary>Writes the ends of a token file's documents while the tokens are written. The file appears when it is finished.</summary>
internal sealed class DocumentFileWriter : IDisposable
{
    private readonly AtomicFile file;
    private readonly XxHash128 hash = new();
    private long tokens, last, documents;

    /// <summary>Begins the file that belongs to a token file.</summary>
    /// <exception cref="IOException">The folder is missing.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder may not be written.</exception>
    public DocumentFileWriter(string tokenFile)
    {
        file = new AtomicFile(DocumentFile.PathOf(tokenFile));
        file.Stream.Write(new byte[DocumentFile.HeaderBytes]);
    }

    /// <summary>Counts tokens that were written.</summary>
    public void Append(ReadOnlySpan<int> ids)
    {
        tokens += ids.Length;
        hash.Append(MemoryMarshal.AsBytes(ids));
    }

    /// <summary>Ends a document; one without tokens leaves nothing.</summary>
    public void End()
    {
        if (tokens == last)
            return;
        Span<byte> end = stackalloc byte[sizeof(long)];
        BinaryPrimitives.WriteInt64LittleEndian(end, tokens);
        file.Stream.Write(end);
        (last, documents) = (tokens, documents + 1);
    }

    /// <summary>Completes the file; what is behind the last end is a document too.</summary>
    public void Finish()
    {
        End();
        file.Stream.Position = 0;
        file.Stream.Write(DocumentFile.Header(tokens, documents, hash.GetCurrentHash()));
        file.Finish();
    }

    /// <inheritdoc/>
    public void Dispose() => file.Dispose();
}
