using System.Buffers.Binary;
using System.Text;
using System.Text.Json;

namespace ILGpuOptim.Files;

/// <summary>
/// Writes a safetensors file tensor by tensor, so that no second copy of a model is needed. The file appears under its
/// name only when it is whole and on the disk.
/// </summary>
public sealed class SafetensorsWriter : IDisposable
{
    private readonly string path;
    private readonly string temporary;
    private readonly FileStream stream;
    private readonly List<(string Name, long Bytes)> tensors;
    private int next;
    private bool finished;

    /// <summary>Begins a file with its header.</summary>
    /// <param name="path">Where the file appears at the end.</param>
    /// <param name="tensors">Name, type and sizes of each tensor, in the order in which they will be written.</param>
    /// <param name="metadata">Free text.</param>
    public SafetensorsWriter(string path, IEnumerable<(string Name, string Type, IReadOnlyList<int> Shape)> tensors, IReadOnlyDictionary<string, string>? metadata = null)
    {
        this.path = path;
        temporary = path + ".tmp";
        this.tensors = [];
        using var header = new MemoryStream();
        using (var json = new Utf8JsonWriter(header))
        {
            json.WriteStartObject();
            if (metadata is { Count: > 0 })
            {
                json.WriteStartObject("__metadata__");
                foreach ((string key, string value) in metadata)
                    json.WriteString(key, value);
                json.WriteEndObject();
            }

            long offset = 0;
            foreach ((string name, string type, IReadOnlyList<int> shape) in tensors)
            {
                long bytes = shape.Aggregate(1L, (product, size) => product * size) * SafetensorsFile.BitsOf(type) / 8;
                json.WriteStartObject(name);
                json.WriteString("dtype", type);
                json.WriteStartArray("shape");
                foreach (int size in shape)
                    json.WriteNumberValue(size);
                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(offset);
                json.WriteNumberValue(offset += bytes);
                json.WriteEndArray();
                json.WriteEndObject();
                this.tensors.Add((name, bytes));
            }

            json.WriteEndObject();
        }

        // Padded with blanks so that the data is aligned.
        while (header.Length % 8 != 0)
            header.Write(" "u8);
        stream = new FileStream(temporary, FileMode.Create, FileAccess.Write, FileShare.None, 1 << 20);
        Span<byte> length = stackalloc byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
        stream.Write(length);
        stream.Write(header.GetBuffer(), 0, (int)header.Length);
    }

    /// <summary>Writes the next tensor's bytes, little-endian.</summary>
    public void Write(string name, ReadOnlySpan<byte> bytes)
    {
        if (next >= tensors.Count || tensors[next].Name != name || tensors[next].Bytes != bytes.Length)
            throw new ArgumentException($"{name} with {bytes.Length} bytes is not the next tensor that was announced", nameof(name));
        stream.Write(bytes);
        next++;
    }

    /// <summary>Flushes the file to the disk and gives it its name.</summary>
    public void Finish()
    {
        if (next != tensors.Count)
            throw new InvalidOperationException($"{tensors.Count - next} announced tensors were not written");
        stream.Flush(flushToDisk: true);
        stream.Dispose();
        File.Move(temporary, path, overwrite: true);
        finished = true;
    }

    /// <summary>Removes a file that was not finished.</summary>
    public void Dispose()
    {
        if (finished)
            return;
        try
        {
            stream.Dispose();
        }
        catch (IOException)
        {
            // The buffered rest does not fit the disk: the file goes away in any case.
        }

        File.Delete(temporary);
    }
}
