using System.Buffers.Binary;
using System.Text.Json;

namespace ILGpuOptim.Files;

/// <summary>
/// The header of a safetensors file: an 8-byte little-endian length, and JSON of that length. Everything is checked against
/// the file size before memory is allocated, so a damaged or malicious file only causes an error.
/// </summary>
internal sealed class SafetensorsHeader
{
    /// <summary>The format's size limit; longer headers are refused before they are read.</summary>
    public const long MaxBytes = 100_000_000;

    /// <summary>The maximum rank; longer shapes are refused early.</summary>
    private const int MaxSizes = 32;

    /// <summary>The maximum length of a name in a message.</summary>
    private const int MaxShown = 80;

    private const string MetadataName = "__metadata__";

    private readonly string path;
    private readonly Dictionary<string, SafetensorsEntry> tensors = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> metadata = new(StringComparer.Ordinal);

    private SafetensorsHeader(string path) => this.path = path;

    /// <summary>The tensors by name.</summary>
    public IReadOnlyDictionary<string, SafetensorsEntry> Tensors => tensors;

    /// <summary>The entries of <c>__metadata__</c>.</summary>
    public IReadOnlyDictionary<string, string> Metadata => metadata;

    /// <summary>The offset of the tensors' bytes.</summary>
    public long DataStart { get; private set; }

    /// <summary>Reads and checks a header.</summary>
    /// <param name="path">The path, for messages.</param>
    /// <param name="start">The file's bytes: all, or at least the first 8 + <see cref="MaxBytes"/>.</param>
    /// <param name="fileBytes">The file size in bytes.</param>
    /// <exception cref="SafetensorsException">The header is damaged.</exception>
    public static SafetensorsHeader Parse(string path, ReadOnlySpan<byte> start, long fileBytes)
    {
        if (fileBytes < 10)
            throw new SafetensorsException($"{path}: {fileBytes} bytes are too few for a safetensors file; it was cut short, download it again");
        var header = new SafetensorsHeader(path);
        ulong bytes = BinaryPrimitives.ReadUInt64LittleEndian(start);
        if (bytes > MaxBytes)
        {
            throw OtherKind(path, start) is { } kind ? new SafetensorsException(kind) : header.Damaged($"its header claims {bytes:N0} bytes where at most {MaxBytes:N0} are allowed, so it is not a safetensors file");
        }

        if (bytes < 2 || (long)bytes > fileBytes - 8)
            throw header.Damaged($"its header claims {bytes:N0} bytes of a file of {fileBytes:N0}");
        header.DataStart = 8 + (long)bytes;
        header.Read(start.Slice(8, (int)bytes));
        header.CheckLayout(fileBytes - header.DataStart);
        return header;
    }

    /// <summary>The message for a file of another known format; null if the format is unknown.</summary>
    private static string? OtherKind(string path, ReadOnlySpan<byte> start) =>
        GitLfs.IsPointer(start) ? GitLfs.Message(path)
        : start.StartsWith("PK\x03\x04"u8) || start is [0x80, 2, ..] ? $"{path}: a file of PyTorch under the name of a safetensors file; convert it to safetensors"
        : start.StartsWith("GGUF"u8) ? $"{path}: a GGUF file under the name of a safetensors file; turn it into a folder with import"
        : start.StartsWith("<"u8) ? $"{path}: a web page instead of a safetensors file; download the file itself"
        : null;

    private SafetensorsException Damaged(string what, Exception? inner = null) =>
        new($"{path}: {what}; the file is damaged, download it again", inner);

    private static string Show(string name) => name.Length <= MaxShown ? name : string.Concat(name.AsSpan(0, MaxShown), "…");

    private void Read(ReadOnlySpan<byte> header)
    {
        if (header[0] != '{')
            throw Damaged("its header does not begin with {");
        try
        {
            var reader = new Utf8JsonReader(header, new JsonReaderOptions { MaxDepth = 4 });
            Expect(ref reader, JsonTokenType.StartObject);
            bool hasMetadata = false;
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                string name = reader.GetString()!;
                Expect(ref reader, JsonTokenType.StartObject);
                if (name == MetadataName)
                {
                    if (hasMetadata)
                        throw Damaged("its metadata appears twice");
                    hasMetadata = true;
                    ReadMetadata(ref reader);
                }
                else if (!tensors.TryAdd(name, ReadEntry(ref reader, name)))
                {
                    throw Damaged($"tensor {Show(name)} appears twice");
                }
            }

            if (reader.TokenType != JsonTokenType.EndObject)
                throw Damaged("its header is no JSON object");
            if (reader.Read())
                throw Damaged("its header goes on after its end");
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // InvalidOperationException: a string that is not UTF-8, or an unpaired surrogate.
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
            if (!metadata.TryAdd(key, reader.GetString()!))
                throw Damaged($"its metadata has {Show(key)} twice");
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
                type = reader.GetString()!;
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
                throw Damaged($"tensor {Show(name)} has an unexpected or repeated field {Show(field)}");
            }
        }

        if (type is null || shape is null || offsets is not [long begin, long end])
            throw Damaged($"tensor {Show(name)} lacks its dtype, shape or data_offsets");
        if (SafetensorsEntry.BitsOf(type) == 0)
            throw new SafetensorsException($"{path}: tensor {Show(name)} has the unknown dtype {Show(type)}; convert it, for example to F32 or BF16");
        if (SafetensorsEntry.BytesOf(type, shape) is not { } needed)
            throw Damaged($"tensor {Show(name)} has an impossible shape {string.Join('×', shape)}");
        if (begin > end || needed != end - begin)
            throw Damaged($"tensor {Show(name)} of {type} {string.Join('×', shape)} needs {needed:N0} bytes, but has bytes {begin} to {end}");
        return new SafetensorsEntry(type, shape, begin, needed);
    }

    private List<long> ReadIntegers(ref Utf8JsonReader reader, string name)
    {
        Expect(ref reader, JsonTokenType.StartArray);
        var result = new List<long>();
        while (reader.Read() && reader.TokenType == JsonTokenType.Number)
        {
            if (!reader.TryGetInt64(out long value) || value < 0 || result.Count == MaxSizes)
                throw Damaged($"tensor {Show(name)} has a size or offset that is no natural number, or too many of them");
            result.Add(value);
        }

        if (reader.TokenType != JsonTokenType.EndArray)
            throw Damaged($"tensor {Show(name)} has a size or offset that is no number");
        return result;
    }

    private void CheckLayout(long dataBytes)
    {
        long end = 0;
        foreach ((string name, SafetensorsEntry entry) in tensors.OrderBy(pair => pair.Value.Offset).ThenBy(pair => pair.Value.Bytes))
        {
            if (entry.Offset != end)
                throw Damaged($"tensor {Show(name)} begins at byte {entry.Offset:N0}, not where the one before it ends ({end:N0})");
            if (entry.Bytes > dataBytes - end)
                throw new SafetensorsException($"{path}: tensor {Show(name)} ends at byte {end + entry.Bytes:N0} of {dataBytes:N0}; the file was cut short, download it again");
            end += entry.Bytes;
        }

        if (end != dataBytes)
            throw Damaged($"{dataBytes - end:N0} bytes after its last tensor belong to none");
    }
}
