using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace ILGpuOptim.Data;

/// <summary>Where the ends of documents are kept, in ascending order: in memory or in a file.</summary>
internal abstract class DocumentEndStore : IDisposable
{
    /// <summary>Reads the ends from number <paramref name="first"/> on that fill <paramref name="target"/>; allocates nothing.</summary>
    public abstract void Read(long first, Span<long> target);

    /// <inheritdoc/>
    public abstract void Dispose();
}

/// <summary>Ends in memory.</summary>
internal sealed class DocumentEndArray(long[] ends) : DocumentEndStore
{
    /// <inheritdoc/>
    public override void Read(long first, Span<long> target) => ends.AsSpan((int)first, target.Length).CopyTo(target);

    /// <summary>Keeps the ends: others may share them.</summary>
    public override void Dispose()
    {
    }
}

/// <summary>Ends in a file, as 64-bit little-endian integers. They are read through a handle, so that a file may be larger than the memory.</summary>
/// <param name="path">For messages.</param>
/// <param name="handle">The file, which the store owns.</param>
/// <param name="offset">The byte where the ends begin.</param>
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
