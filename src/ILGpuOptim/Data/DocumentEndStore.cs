using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace ILGpuOptim.Data;

/// <summary>Stores the ends of documents, in ascending order, in memory or in a file.</summary>
internal abstract class DocumentEndStore : IDisposable
{
    /// <summary>Fills <paramref name="target"/> with the ends from index <paramref name="first"/>. Allocates nothing.</summary>
    public abstract void Read(long first, Span<long> target);

    /// <inheritdoc/>
    public abstract void Dispose();
}

/// <summary>Ends in memory.</summary>
internal sealed class DocumentEndArray(long[] ends) : DocumentEndStore
{
    /// <inheritdoc/>
    public override void Read(long first, Span<long> target) => ends.AsSpan((int)first, target.Length).CopyTo(target);

    /// <summary>Does nothing: other instances may share the ends.</summary>
    public override void Dispose()
    {
    }
}

/// <summary>Ends in a file, as 64-bit little-endian integers. They are read on demand, so a file may be larger than memory.</summary>
/// <param name="path">The path, for messages.</param>
/// <param name="handle">The file, which the store owns.</param>
/// <param name="offset">The offset of the ends in bytes.</param>
internal sealed class DocumentEndFileStore(string path, SafeFileHandle handle, long offset) : DocumentEndStore
{
    /// <inheritdoc/>
    public override void Read(long first, Span<long> target)
    {
        ObjectDisposedException.ThrowIf(handle.IsClosed, this);
        long position = offset + (first * sizeof(long));
        try
        {
            for (Span<byte> rest = MemoryMarshal.AsBytes(target); !rest.IsEmpty;)
            {
                int read = RandomAccess.Read(handle, rest, position);
                if (read == 0)
                    throw new UserException($"{path}: the file was cut short while it was in use; make it again");
                rest = rest[read..];
                position += read;
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{path}: the file cannot be read any more: {e.Message}", e);
        }
    }

    /// <inheritdoc/>
    public override void Dispose() => handle.Dispose();
}
