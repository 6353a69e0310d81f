using System.Buffers.Binary;
using System.IO.Hashing;
using System.Runtime.InteropServices;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data;

/// <summary>Writes the ends of a token file's documents while the tokens are written. The file appears under its name when it is complete.</summary>
internal sealed class DocumentFileWriter : IDisposable
{
    private readonly AtomicFile file;
    private readonly XxHash128 hash = new();
    private long tokens, last, documents;

    /// <summary>Creates the file of ends for a token file.</summary>
    /// <exception cref="IOException">The folder is missing.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder may not be written.</exception>
    public DocumentFileWriter(string tokenFile)
    {
        file = new AtomicFile(DocumentFile.PathOf(tokenFile));
        file.Stream.Write(new byte[DocumentFile.HeaderBytes]);
    }

    /// <summary>Records tokens that were written.</summary>
    public void Append(ReadOnlySpan<int> ids)
    {
        tokens += ids.Length;
        hash.Append(MemoryMarshal.AsBytes(ids));
    }

    /// <summary>Ends a document. A document without tokens is not recorded.</summary>
    public void End()
    {
        if (tokens == last)
            return;
        Span<byte> end = stackalloc byte[sizeof(long)];
        BinaryPrimitives.WriteInt64LittleEndian(end, tokens);
        file.Stream.Write(end);
        (last, documents) = (tokens, documents + 1);
    }

    /// <summary>Completes the file. Tokens after the last end form a document.</summary>
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
