using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace ILGpuOptim.Data;

/// <summary>Stores token ids in memory or in a file.</summary>
internal abstract class TokenStore : IDisposable
{
    /// <summary>Fills <paramref name="target"/> with the ids from <paramref name="start"/>. Allocates nothing.</summary>
    public abstract void Read(long start, Span<int> target);

    /// <inheritdoc/>
    public abstract void Dispose();

    /// <summary>Converts 16-bit ids to 32 bits. The ids may be the upper half of the target's memory: each is read before it is overwritten.</summary>
    protected static void Widen(ReadOnlySpan<ushort> ids, Span<int> target)
    {
        for (int i = 0; i < ids.Length; i++)
            target[i] = ids[i];
    }
}

/// <summary>Ids in memory, with 16 bits if they fit.</summary>
internal sealed class TokenArray : TokenStore
{
    private readonly ushort[]? narrow;
    private readonly int[]? wide;

    /// <summary>Copies ids.</summary>
    /// <exception cref="ArgumentOutOfRangeException">An id is negative.</exception>
    public TokenArray(ReadOnlySpan<int> ids)
    {
        int largest = 0;
        foreach (int id in ids)
        {
            ArgumentOutOfRangeException.ThrowIfNegative(id, nameof(ids));
            largest = Math.Max(largest, id);
        }

        if (largest > ushort.MaxValue)
        {
            wide = ids.ToArray();
            return;
        }

        narrow = GC.AllocateUninitializedArray<ushort>(ids.Length);
        for (int i = 0; i < ids.Length; i++)
            narrow[i] = (ushort)ids[i];
    }

    /// <inheritdoc/>
    public override void Read(long start, Span<int> target)
    {
        if (wide is not null)
            wide.AsSpan((int)start, target.Length).CopyTo(target);
        else
            Widen(narrow.AsSpan((int)start, target.Length), target);
    }

    /// <summary>Does nothing: other sequences may share the ids.</summary>
    public override void Dispose()
    {
    }
}

/// <summary>Ids in a file, little-endian, 16 or 32 bits each. They are read through a handle, so truncating the file causes an error, not a crash.</summary>
/// <param name="path">The path, for messages.</param>
/// <param name="handle">The file, which the store owns.</param>
/// <param name="offset">The offset of the ids in bytes.</param>
/// <param name="width">The size of an id in bytes: 2 or 4.</param>
internal sealed class TokenFileStore(string path, SafeFileHandle handle, long offset, int width) : TokenStore
{
    /// <inheritdoc/>
    public override void Read(long start, Span<int> target)
    {
        ObjectDisposedException.ThrowIf(handle.IsClosed, this);
        Span<byte> bytes = MemoryMarshal.AsBytes(target)[^(target.Length * width)..];
        long position = offset + (start * width);
        try
        {
            for (Span<byte> rest = bytes; !rest.IsEmpty;)
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

        if (width == 2)
            Widen(MemoryMarshal.Cast<byte, ushort>(bytes), target);
    }

    /// <inheritdoc/>
    public override void Dispose() => handle.Dispose();
}
