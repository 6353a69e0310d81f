using System.Buffers.Binary;
using System.Runtime.InteropServices;
using ILGpuOptim.Compute;
using Microsoft.Win32.SafeHandles;

namespace ILGpuOptim.Files;

/// <summary>
/// A safetensors file. The format: an 8-byte little-endian header length, a JSON header, then the tensors' bytes without gaps. A
/// file is checked completely when it is opened. Tensors are read through a handle, so truncating the file later causes an error, not a crash.
/// </summary>
internal sealed class SafetensorsFile : Safetensors
{
    /// <summary>The number of elements that are converted at a time.</summary>
    private const int Piece = 1 << 16;

    private readonly SafeFileHandle handle;
    private readonly SafetensorsHeader header;

    private SafetensorsFile(string path, SafeFileHandle handle) : base(path)
    {
        this.handle = handle;
        long length = RandomAccess.GetLength(handle);
        Span<byte> start = stackalloc byte[sizeof(ulong)];
        RandomAccess.Read(handle, start, 0);
        ulong claimed = BinaryPrimitives.ReadUInt64LittleEndian(start);
        byte[] bytes = new byte[Math.Min(length, sizeof(ulong) + (long)Math.Min(claimed, SafetensorsHeader.MaxBytes))];
        ReadAt(0, bytes);
        header = SafetensorsHeader.Parse(path, bytes, length);
    }

    /// <inheritdoc/>
    public override IReadOnlyDictionary<string, SafetensorsEntry> Tensors => header.Tensors;

    /// <inheritdoc/>
    public override IReadOnlyDictionary<string, string> Metadata => header.Metadata;

    /// <summary>Opens and checks a file.</summary>
    /// <exception cref="SafetensorsException">It is missing, unreadable or damaged.</exception>
    public static new SafetensorsFile Open(string path)
    {
        try
        {
            long length = SourceFile.Length(path);
            if (length < 10)
                throw new SafetensorsException($"{path}: {length} bytes are too few for a safetensors file; it was cut short, download it again");

            // Shared with writers, so that the file can be replaced by renaming while it is open.
            SafeFileHandle handle = File.OpenHandle(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            try
            {
                return new SafetensorsFile(path, handle);
            }
            catch
            {
                handle.Dispose();
                throw;
            }
        }
        catch (UserException e) when (e is not SafetensorsException)
        {
            throw new SafetensorsException(e.Message, e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new SafetensorsException($"{path}: the file cannot be read: {e.Message}; check the path and the read permission", e);
        }
    }

    /// <inheritdoc/>
    public override byte[] ReadBytes(string name)
    {
        SafetensorsEntry entry = this[name];
        if (entry.Bytes > Array.MaxLength)
            throw new SafetensorsException($"{Path}: {name} has {entry.Bytes:N0} bytes, more than can be read at once; read it as f32 or i32");
        byte[] bytes = new byte[entry.Bytes];
        ReadAt(Start(entry), bytes);
        return bytes;
    }

    /// <inheritdoc/>
    public override void ReadBytes(string name, long start, Span<byte> target)
    {
        SafetensorsEntry entry = this[name];
        if (start < 0 || target.Length > entry.Bytes - start)
            throw new ArgumentOutOfRangeException(nameof(start), $"{Path}: {target.Length} bytes from {start} on are out of range; {name} has {entry.Bytes}");
        ReadAt(Start(entry) + start, target);
    }

    /// <inheritdoc/>
    public override void ReadF32(string name, Span<float> target)
    {
        SafetensorsEntry entry = this[name];
        if (entry.Length != target.Length)
            throw new SafetensorsException($"{Path}: {name} has {entry.Length:N0} elements ({string.Join('×', entry.Shape)}), but {target.Length:N0} are expected; it belongs to another model");
        switch (entry.Type)
        {
            case "F32":
                // The bytes of a large tensor do not fit into one span.
                for (int start = 0, count; start < target.Length; start += count)
                {
                    count = Math.Min(Piece, target.Length - start);
                    ReadAt(Start(entry) + ((long)sizeof(float) * start), MemoryMarshal.AsBytes(target.Slice(start, count)));
                }

                break;
            case "BF16":
                Convert<ushort>(entry, target, Bf16.Widen);
                break;
            case "F16":
                Convert<Half>(entry, target, static (source, target) =>
                {
                    for (int i = 0; i < source.Length; i++)
                        target[i] = (float)source[i];
                });
                break;
            case "F64":
                Convert<double>(entry, target, static (source, target) =>
                {
                    for (int i = 0; i < source.Length; i++)
                        target[i] = (float)source[i];
                });
                break;
            default:
                throw new SafetensorsException($"{Path}: {name} has the type {entry.Type}, which does not convert to f32; convert it to F32, F16, BF16 or F64");
        }
    }

    private delegate void Conversion<T>(ReadOnlySpan<T> source, Span<float> target);

    /// <summary>Converts a tensor in blocks.</summary>
    private void Convert<T>(SafetensorsEntry entry, Span<float> target, Conversion<T> convert) where T : unmanaged
    {
        T[] piece = new T[Math.Min(Piece, target.Length)];
        int size = System.Runtime.CompilerServices.Unsafe.SizeOf<T>();
        long position = Start(entry);
        while (!target.IsEmpty)
        {
            Span<T> source = piece.AsSpan(0, Math.Min(piece.Length, target.Length));
            ReadAt(position, MemoryMarshal.AsBytes(source));
            convert(source, target[..source.Length]);
            position += (long)source.Length * size;
            target = target[source.Length..];
        }
    }

    /// <inheritdoc/>
    public override int[] ReadI32(string name)
    {
        SafetensorsEntry entry = this[name];
        var result = new int[ArrayLength(name)];
        ReadOnlySpan<byte> source = ReadBytes(name);
        for (int i = 0; i < result.Length; i++)
        {
            Int128 value = entry.Type switch
            {
                "I32" => At<int>(source, i),
                "I64" => At<long>(source, i),
                "U8" or "BOOL" => source[i],
                "I8" => (sbyte)source[i],
                "I16" => At<short>(source, i),
                "U16" => At<ushort>(source, i),
                "U32" => At<uint>(source, i),
                "U64" => At<ulong>(source, i),
                _ => throw NoIntegers(name, entry.Type),
            };
            if (value < int.MinValue || value > int.MaxValue)
                throw new SafetensorsException($"{Path}: {name} holds {value} at {i}, which is not a 32-bit integer; the tensor has unexpected contents");
            result[i] = (int)value;
        }

        return result.Length > 0 || IsInteger(entry.Type) ? result : throw NoIntegers(name, entry.Type);
    }

    private static bool IsInteger(string type) => type == "BOOL" || type[0] is 'I' or 'U';

    private SafetensorsException NoIntegers(string name, string type) =>
        new($"{Path}: {name} holds {type}, not integers; the tensor has unexpected contents");

    private static T At<T>(ReadOnlySpan<byte> bytes, int i) where T : unmanaged => MemoryMarshal.Cast<byte, T>(bytes)[i];

    private long Start(SafetensorsEntry entry) => header.DataStart + entry.Offset;

    private void ReadAt(long position, Span<byte> target)
    {
        ObjectDisposedException.ThrowIf(handle.IsClosed, this);
        try
        {
            while (!target.IsEmpty)
            {
                int read = RandomAccess.Read(handle, target, position);
                if (read == 0)
                    throw new SafetensorsException($"{Path}: the file was cut short while it was read; download it again");
                target = target[read..];
                position += read;
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new SafetensorsException($"{Path}: the file cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Closes the file.</summary>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
            handle.Dispose();
    }
}
