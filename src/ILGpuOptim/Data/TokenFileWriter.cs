using System.Buffers.Binary;
using System.Runtime.InteropServices;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data;

/// <summary>
/// Writes a token file piece by piece in bounded memory, and the ends of documents to the file beside it (<see cref="DocumentFile"/>).
/// The files appear under their names when they are complete.
/// </summary>
public sealed class TokenFileWriter : IDisposable
{
    private readonly AtomicFile file;
    private readonly TokenFormat format;
    private readonly string path;
    private readonly DocumentFileWriter documents;

    /// <summary>Creates a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="format">The format.</param>
    /// <exception cref="IOException">The folder is missing.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder may not be written.</exception>
    public TokenFileWriter(string path, TokenFormat format)
    {
        (this.path, this.format) = (path, format);
        file = new AtomicFile(path);
        try
        {
            documents = new DocumentFileWriter(path);
        }
        catch
        {
            file.Dispose();
            throw;
        }

        if (format != TokenFormat.Plain)
            file.Stream.Write(new byte[TokenFile.HeaderBytes]);
    }

    /// <summary>The number of ids so far.</summary>
    public long Count { get; private set; }

    /// <summary>Appends ids.</summary>
    /// <exception cref="UserException">An id does not fit the format.</exception>
    /// <exception cref="IOException">The disk is full.</exception>
    public void Append(ReadOnlySpan<int> ids)
    {
        Count += ids.Length;
        documents.Append(ids);
        if (TokenFile.Width(format) == 4)
        {
            file.Stream.Write(MemoryMarshal.AsBytes(ids));
            return;
        }

        Span<byte> bytes = stackalloc byte[2];
        foreach (int id in ids)
        {
            if ((uint)id > ushort.MaxValue)
                throw new UserException($"{path}: the id {id} does not fit 16 bits; use the format {TokenFormat.LlmCWide}");
            BinaryPrimitives.WriteUInt16LittleEndian(bytes, (ushort)id);
            file.Stream.Write(bytes);
        }
    }

    /// <summary>Ends a document. A document without ids is not recorded.</summary>
    /// <exception cref="IOException">The disk is full.</exception>
    public void EndDocument() => documents.End();

    /// <summary>Completes the files. Ids after the last end form a document.</summary>
    /// <exception cref="UserException">There are more ids than the format supports.</exception>
    /// <exception cref="IOException">The disk is full.</exception>
    public void Finish()
    {
        if (format != TokenFormat.Plain)
        {
            if (Count > int.MaxValue)
                throw new UserException($"{path}: {Count:N0} ids are more than the {int.MaxValue:N0} of a file in this format; split the data");
            file.Stream.Position = 0;
            file.Stream.Write(TokenFile.Header(format, (int)Count));
        }

        file.Finish();
        documents.Finish();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        file.Dispose();
        documents.Dispose();
    }
}
