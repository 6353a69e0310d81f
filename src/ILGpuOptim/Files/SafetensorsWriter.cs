using System.Buffers.Binary;
using System.Text.Json;

namespace ILGpuOptim.Files;

/// <summary>
/// Writes a safetensors file tensor by tensor, without a second copy of the model in memory. The same tensors give the
/// same bytes. The file appears under its name when it is complete and on the disk. Tensors are sorted by decreasing
/// element size, otherwise in the announced order, so that each is aligned to its elements: PyTorch refuses unaligned
/// tensors, and the format has no padding.
/// </summary>
public sealed class SafetensorsWriter : IDisposable
{
    private readonly AtomicFile file;
    private readonly List<(string Name, long Bytes)> tensors = [];
    private readonly Dictionary<string, long> offsets = new(StringComparer.Ordinal);
    private readonly long dataStart;
    private int next;
    private long written;

    /// <summary>Creates a file and writes its header.</summary>
    /// <param name="path">The path of the file.</param>
    /// <param name="tensors">The name, type and shape of each tensor, in the order in which they will be written.</param>
    /// <param name="metadata">The entries of <c>__metadata__</c>; written in order of keys.</param>
    /// <exception cref="ArgumentException">Two tensors have the same name, or a type is unknown, or a shape is invalid.</exception>
    /// <exception cref="IOException">The disk is full, or the folder is missing.</exception>
    public SafetensorsWriter(string path, IEnumerable<(string Name, string Type, IReadOnlyList<int> Shape)> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        using MemoryStream header = Header(tensors, metadata);
        dataStart = 8 + header.Length;
        file = new AtomicFile(path);
        try
        {
            Span<byte> length = stackalloc byte[8];
            BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
            file.Stream.Write(length);
            file.Stream.Write(header.GetBuffer(), 0, (int)header.Length);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    private MemoryStream Header(IEnumerable<(string Name, string Type, IReadOnlyList<int> Shape)> announced, IReadOnlyDictionary<string, string>? metadata)
    {
        var layout = new List<(string Name, string Type, IReadOnlyList<int> Shape, long Bytes)>();
        var names = new HashSet<string>(StringComparer.Ordinal) { "__metadata__" };
        foreach ((string name, string type, IReadOnlyList<int> shape) in announced)
        {
            if (!names.Add(name))
                throw new ArgumentException($"the name {name} appears twice", nameof(announced));
            if (SafetensorsEntry.BytesOf(type, shape.Select(size => (long)size)) is not { } bytes)
                throw new ArgumentException($"{name}: {type} {string.Join('×', shape)} is not a valid type and shape", nameof(announced));
            tensors.Add((name, bytes));
            layout.Add((name, type, shape, bytes));
        }

        var header = new MemoryStream();
        using (var json = new Utf8JsonWriter(header))
        {
            json.WriteStartObject();
            if (metadata is { Count: > 0 })
            {
                json.WriteStartObject("__metadata__");
                foreach ((string key, string value) in metadata.OrderBy(pair => pair.Key, StringComparer.Ordinal))
                    json.WriteString(key, value);
                json.WriteEndObject();
            }

            long offset = 0;
            // OrderBy is stable.
            foreach ((string name, string type, IReadOnlyList<int> shape, long bytes) in layout.OrderByDescending(tensor => SafetensorsEntry.BitsOf(tensor.Type)))
            {
                offsets.Add(name, offset);
                json.WriteStartObject(name);
                json.WriteString("dtype", type);
                json.WriteStartArray("shape");
                foreach (int size in shape)
                    json.WriteNumberValue(size);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(offset);
                json.WriteNumberValue(offset = checked(offset + bytes));
                json.WriteEndArray();
                json.WriteEndObject();
            }

            json.WriteEndObject();
        }

        // Padded with spaces, so that the data is aligned.
        while (header.Length % 8 != 0)
            header.WriteByte((byte)' ');
        if (header.Length > SafetensorsHeader.MaxBytes)
            throw new ArgumentException($"{tensors.Count:N0} tensors make a header of {header.Length:N0} bytes; the format allows {SafetensorsHeader.MaxBytes:N0}", nameof(announced));
        return header;
    }

    /// <summary>Writes bytes of the next tensor, little-endian: all at once, or in consecutive parts.</summary>
    /// <exception cref="ArgumentException">Another tensor is next, or there are more bytes than announced.</exception>
    /// <exception cref="IOException">The disk is full.</exception>
    public void Write(string name, ReadOnlySpan<byte> bytes)
    {
        // A tensor without elements has no bytes, so it may be skipped.
        while (next < tensors.Count && tensors[next].Bytes == 0 && tensors[next].Name != name)
            next++;
        if (next >= tensors.Count || tensors[next].Name != name || bytes.Length > tensors[next].Bytes - written)
            throw new ArgumentException($"{name} with {written} + {bytes.Length} bytes is not the next tensor that was announced", nameof(name));
        // Setting the position flushes the stream's buffer, so it is set only when necessary.
        long position = dataStart + offsets[name] + written;
        if (file.Stream.Position != position)
            file.Stream.Position = position;
        file.Stream.Write(bytes);
        written += bytes.Length;
        if (written == tensors[next].Bytes)
            (next, written) = (next + 1, 0);
    }

    /// <summary>Flushes the file to the disk and renames it.</summary>
    /// <exception cref="InvalidOperationException">An announced tensor is missing or incomplete.</exception>
    /// <exception cref="IOException">The disk is full.</exception>
    public void Finish()
    {
        while (next < tensors.Count && tensors[next].Bytes == 0)
            next++;
        if (next != tensors.Count)
            throw new InvalidOperationException($"{tensors[next].Name} and {tensors.Count - next - 1} tensors after it were announced, but not written completely");
        file.Finish();
    }

    /// <summary>Removes a file that was not finished.</summary>
    public void Dispose() => file.Dispose();
}
