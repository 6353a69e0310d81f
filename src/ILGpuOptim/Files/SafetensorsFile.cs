using System.Buffers.Binary;
using System.IO.MemoryMappedFiles;
using System.Text;
using System.Text.Json;
using ILGpuOptim.Compute;

namespace ILGpuOptim.Files;

/// <summary>One tensor of a safetensors file.</summary>
/// <param name="Type">The format's name of the element type, such as <c>F32</c>.</param>
/// <param name="Shape">The sizes; empty for a scalar.</param>
/// <param name="Offset">Where its bytes begin, from the start of the data.</param>
/// <param name="Bytes">How many bytes it has.</param>
public sealed record SafetensorsEntry(string Type, IReadOnlyList<long> Shape, long Offset, long Bytes)
{
    /// <summary>The number of elements.</summary>
    public long Length => Shape.Aggregate(1L, (product, size) => product * size);
}

/// <summary>
/// A safetensors file, memory-mapped: opening reads the header alone, and a tensor's bytes are touched when they are
/// asked for. The format: an 8-byte little-endian header length, a JSON header, then the tensors' bytes without gaps.
/// </summary>
public sealed unsafe class SafetensorsFile : IDisposable
{
    private const long MostHeaderBytes = 100_000_000;

    private readonly string path;
    private readonly MemoryMappedFile file;
    private readonly MemoryMappedViewAccessor view;
    private readonly byte* data;
    private readonly Dictionary<string, SafetensorsEntry> tensors = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> metadata = new(StringComparer.Ordinal);

    private SafetensorsFile(string path, MemoryMappedFile file, long length)
    {
        this.path = path;
        this.file = file;
        view = file.CreateViewAccessor(0, length, MemoryMappedFileAccess.Read);
        byte* start = null;
        view.SafeMemoryMappedViewHandle.AcquirePointer(ref start);
        start += view.PointerOffset;
        try
        {
            long header = BinaryPrimitives.ReadInt64LittleEndian(new ReadOnlySpan<byte>(start, 8));
            if (header is < 2 or > MostHeaderBytes || header > length - 8)
                throw Damaged($"its header claims {header} bytes of a file of {length}");
            data = start + 8 + header;
            ReadHeader(new ReadOnlySpan<byte>(start + 8, (int)header));
            CheckLayout(length - 8 - header);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The tensors by name.</summary>
    public IReadOnlyDictionary<string, SafetensorsEntry> Tensors => tensors;

    /// <summary>Free text under <c>__metadata__</c>.</summary>
    public IReadOnlyDictionary<string, string> Metadata => metadata;

    /// <summary>Opens and checks a file.</summary>
    /// <exception cref="SafetensorsException">It is missing, unreadable or damaged.</exception>
    public static SafetensorsFile Open(string path)
    {
        try
        {
            long length = new FileInfo(path).Length;
            if (length < 10)
                throw new SafetensorsException($"{path}: {length} bytes are too few for a safetensors file; it was cut short, take another copy");
            MemoryMappedFile file = MemoryMappedFile.CreateFromFile(path, FileMode.Open, null, 0, MemoryMappedFileAccess.Read);
            try
            {
                return new SafetensorsFile(path, file, length);
            }
            catch
            {
                file.Dispose();
                throw;
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new SafetensorsException($"{path}: {e.Message}", e);
        }
    }

    /// <summary>A tensor's description.</summary>
    /// <exception cref="SafetensorsException">There is none of this name.</exception>
    public SafetensorsEntry this[string name] =>
        tensors.TryGetValue(name, out SafetensorsEntry? entry)
            ? entry
            : throw new SafetensorsException($"{path}: there is no tensor named {name}; it has {tensors.Count} others");

    /// <summary>A tensor's bytes, in the file itself.</summary>
    public ReadOnlySpan<byte> Bytes(string name)
    {
        SafetensorsEntry entry = this[name];
        if (entry.Bytes > int.MaxValue)
            throw new SafetensorsException($"{path}: {name} has {entry.Bytes:N0} bytes, more than can be read at once");
        return new ReadOnlySpan<byte>(data + entry.Offset, (int)entry.Bytes);
    }

    /// <summary>A tensor's numbers as f32, from F32, F16, BF16 or F64.</summary>
    public float[] ReadF32(string name)
    {
        var result = new float[this[name].Length];
        ReadF32(name, result);
        return result;
    }

    /// <summary>As <see cref="ReadF32(string)"/>, into <paramref name="target"/>, whose length must agree.</summary>
    public void ReadF32(string name, Span<float> target)
    {
        SafetensorsEntry entry = this[name];
        CheckLength(name, entry, target.Length);
        byte* source = data + entry.Offset;
        for (int i = 0; i < target.Length; i++)
        {
            target[i] = entry.Type switch
            {
                "F32" => BinaryPrimitives.ReadSingleLittleEndian(new ReadOnlySpan<byte>(source + i * 4L, 4)),
                "F16" => (float)BinaryPrimitives.ReadHalfLittleEndian(new ReadOnlySpan<byte>(source + i * 2L, 2)),
                "BF16" => Bf16.Widen(BinaryPrimitives.ReadUInt16LittleEndian(new ReadOnlySpan<byte>(source + i * 2L, 2))),
                "F64" => (float)BinaryPrimitives.ReadDoubleLittleEndian(new ReadOnlySpan<byte>(source + i * 8L, 8)),
                _ => throw new SafetensorsException($"{path}: {name} holds {entry.Type}, not numbers that convert to f32"),
            };
        }
    }

    /// <summary>A tensor's integers, from I32 or I64.</summary>
    public int[] ReadI32(string name)
    {
        SafetensorsEntry entry = this[name];
        var result = new int[entry.Length];
        byte* source = data + entry.Offset;
        for (int i = 0; i < result.Length; i++)
        {
            long value = entry.Type switch
            {
                "I32" => BinaryPrimitives.ReadInt32LittleEndian(new ReadOnlySpan<byte>(source + i * 4L, 4)),
                "I64" => BinaryPrimitives.ReadInt64LittleEndian(new ReadOnlySpan<byte>(source + i * 8L, 8)),
                _ => throw new SafetensorsException($"{path}: {name} holds {entry.Type}, not I32 or I64"),
            };
            if (value is < int.MinValue or > int.MaxValue)
                throw new SafetensorsException($"{path}: {name} holds {value}, which is no 32-bit integer");
            result[i] = (int)value;
        }

        return result;
    }

    private void CheckLength(string name, SafetensorsEntry entry, long length)
    {
        if (entry.Length != length)
            throw new SafetensorsException($"{path}: {name} has {entry.Length} elements ({string.Join('×', entry.Shape)}), but {length} are expected");
    }

    private SafetensorsException Damaged(string what, Exception? inner = null) =>
        new($"{path}: {what}; the file is damaged, take another copy", inner);

    private void ReadHeader(ReadOnlySpan<byte> header)
    {
        try
        {
            var reader = new Utf8JsonReader(header, new JsonReaderOptions { MaxDepth = 8 });
            Expect(ref reader, JsonTokenType.StartObject);
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                string name = reader.GetString()!;
                Expect(ref reader, JsonTokenType.StartObject);
                if (name == "__metadata__")
                    ReadMetadata(ref reader);
                else if (!tensors.TryAdd(name, ReadEntry(ref reader, name)))
                    throw Damaged($"tensor {name} appears twice");
            }

            if (reader.TokenType != JsonTokenType.EndObject)
                throw Damaged("its header is no JSON object");
            while (reader.Read())
                throw Damaged("its header goes on after its end");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException or DecoderFallbackException)
        {
            throw Damaged("its header is not the JSON of a safetensors file", e);
        }
    }

    private void Expect(ref Utf8JsonReader reader, JsonTokenType type)
    {
        if (!reader.Read() || reader.TokenType != type)
            throw Damaged($"its header has {reader.TokenType} where {type} belongs");
    }

    private void ReadMetadata(ref Utf8JsonReader reader)
    {
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string key = reader.GetString()!;
            Expect(ref reader, JsonTokenType.String);
            metadata[key] = reader.GetString()!;
        }

        if (reader.TokenType != JsonTokenType.EndObject)
            throw Damaged("its metadata is not text");
    }

    private SafetensorsEntry ReadEntry(ref Utf8JsonReader reader, string name)
    {
        string? type = null;
        List<long>? shape = null, offsets = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            string field = reader.GetString()!;
            if (field == "dtype" && type is null)
            {
                Expect(ref reader, JsonTokenType.String);
                type = reader.GetString();
            }
            else if (field == "shape" && shape is null)
            {
                shape = ReadIntegers(ref reader, name);
            }
            else if (field == "data_offsets" && offsets is null)
            {
                offsets = ReadIntegers(ref reader, name);
            }
            else
            {
                throw Damaged($"tensor {name} has an unexpected field {field}");
            }
        }

        if (type is null || shape is null || offsets is not { Count: 2 })
            throw Damaged($"tensor {name} lacks its dtype, shape or data_offsets");
        int bits = BitsOf(type);
        if (bits == 0)
            throw Damaged($"tensor {name} has the unknown dtype {type}");
        long bytes = offsets[1] - offsets[0];
        UInt128 needed = (UInt128)bits;
        foreach (long size in shape)
        {
            needed *= (UInt128)size;
            if (needed > (UInt128)long.MaxValue)
                throw Damaged($"tensor {name} has an impossible shape {string.Join('×', shape)}");
        }

        if (bytes < 0 || needed != (UInt128)bytes * 8)
            throw Damaged($"tensor {name} of {type} {string.Join('×', shape)} cannot have {bytes} bytes");
        return new SafetensorsEntry(type, shape, offsets[0], bytes);
    }

    private List<long> ReadIntegers(ref Utf8JsonReader reader, string name)
    {
        Expect(ref reader, JsonTokenType.StartArray);
        var result = new List<long>();
        while (reader.Read() && reader.TokenType == JsonTokenType.Number)
        {
            if (!reader.TryGetInt64(out long value) || value < 0 || result.Count == 32)
                throw Damaged($"tensor {name} has a size or offset that is no natural number, or too many of them");
            result.Add(value);
        }

        if (reader.TokenType != JsonTokenType.EndArray)
            throw Damaged($"tensor {name} has a size or offset that is no number");
        return result;
    }

    /// <summary>The bits of an element, 0 for an unknown type.</summary>
    internal static int BitsOf(string type) => type switch
    {
        "F64" or "I64" or "U64" => 64,
        "F32" or "I32" or "U32" => 32,
        "F16" or "BF16" or "I16" or "U16" => 16,
        "F8_E4M3" or "F8_E5M2" or "I8" or "U8" or "BOOL" => 8,
        _ => 0,
    };

    private void CheckLayout(long length)
    {
        long end = 0;
        foreach ((string name, SafetensorsEntry entry) in tensors.OrderBy(pair => pair.Value.Offset).ThenBy(pair => pair.Value.Bytes))
        {
            if (entry.Offset != end)
                throw Damaged($"tensor {name} begins at byte {entry.Offset}, not where the one before it ends ({end})");
            end = entry.Offset + entry.Bytes;
            if (end > length)
                throw Damaged($"tensor {name} ends at byte {end} of {length}");
        }

        if (end != length)
            throw Damaged($"{length - end} bytes after its last tensor belong to none");
    }

    /// <summary>Unmaps the file.</summary>
    public void Dispose()
    {
        view.SafeMemoryMappedViewHandle.ReleasePointer();
        view.Dispose();
        file.Dispose();
    }
}
