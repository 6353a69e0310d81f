using System.Buffers.Binary;
using System.Text;
using System.Text.Unicode;

namespace ILGpuOptim.Files;

/// <summary>Types of metadata values; the numbers are those of the format.</summary>
internal enum GgufValueType
{
    /// <summary>8 bits without a sign.</summary>
    UInt8,

    /// <summary>8 bits.</summary>
    Int8,

    /// <summary>16 bits without a sign.</summary>
    UInt16,

    /// <summary>16 bits.</summary>
    Int16,

    /// <summary>32 bits without a sign.</summary>
    UInt32,

    /// <summary>32 bits.</summary>
    Int32,

    /// <summary>A 32-bit float.</summary>
    Float32,

    /// <summary>0 or 1 in a byte.</summary>
    Bool,

    /// <summary>A length and UTF-8.</summary>
    Text,

    /// <summary>A type, a length, and values.</summary>
    Array,

    /// <summary>64 bits without a sign.</summary>
    UInt64,

    /// <summary>64 bits.</summary>
    Int64,

    /// <summary>A 64-bit float.</summary>
    Float64,
}

/// <summary>A tensor of a file.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Type">Its type.</param>
/// <param name="Shape">Its sizes, the row length last.</param>
/// <param name="Offset">Where its bytes begin in the file.</param>
internal sealed record GgufEntry(string Name, GgufType Type, IReadOnlyList<long> Shape, long Offset)
{
    /// <summary>Elements.</summary>
    public long Length { get; } = Shape.Aggregate(1L, (product, size) => product * size);

    /// <summary>Bytes.</summary>
    public long Bytes => GgufTypes.BytesOf(Type, Length);
}

/// <summary>
/// A GGUF file. Opening it reads and checks the metadata and the tensors' descriptions completely against the file's length, so that a damaged or
/// malicious file only causes an error; tensors are read on demand.
/// </summary>
internal sealed class GgufFile : IDisposable
{
    private const int MaxDimensions = 4, MaxAlignment = 1 << 20, MaxShown = 80;

    private readonly FileStream stream;
    private readonly long length;
    private readonly Dictionary<string, object> metadata = new(StringComparer.Ordinal);
    private readonly Dictionary<string, GgufEntry> tensors = new(StringComparer.Ordinal);

    /// <summary>Opens and checks a file.</summary>
    /// <exception cref="UserException">It is missing, unreadable, damaged, or has a tensor of an unsupported type.</exception>
    public GgufFile(string path)
    {
        Path = path;
        stream = SourceFile.Open(path);
        try
        {
            length = stream.Length;
            ReadHeader();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            stream.Dispose();
            throw new UserException($"{path}: the file cannot be read: {e.Message}", e);
        }
        catch
        {
            stream.Dispose();
            throw;
        }
    }

    /// <summary>The file.</summary>
    public string Path { get; }

    /// <summary>The metadata: long for integers, double for floats, bool, string, and arrays of these.</summary>
    public IReadOnlyDictionary<string, object> Metadata => metadata;

    /// <summary>The tensors by name.</summary>
    public IReadOnlyDictionary<string, GgufEntry> Tensors => tensors;

    /// <summary>True if a file begins like one of GGUF.</summary>
    /// <exception cref="UserException">It is missing or cannot be read.</exception>
    public static bool Recognises(string path)
    {
        using FileStream file = SourceFile.Open(path);
        var start = new byte[4];
        return file.ReadAtLeast(start, start.Length, throwOnEndOfStream: false) == start.Length && start.AsSpan().SequenceEqual("GGUF"u8);
    }

    /// <summary>Reads a tensor as f32.</summary>
    /// <exception cref="UserException">It is too large for memory, or the file cannot be read.</exception>
    public float[] Read(GgufEntry tensor)
    {
        if (tensor.Length > Array.MaxLength)
            throw new UserException($"{Path}: {Show(tensor.Name)} has {tensor.Length:N0} elements, more than fit into an array");
        try
        {
            var result = new float[tensor.Length];
            int piece = (int)Math.Min(1 << 16, tensor.Length), done = 0;
            var bytes = new byte[GgufTypes.BytesOf(tensor.Type, piece)];
            stream.Position = tensor.Offset;
            while (done < result.Length)
            {
                Span<float> target = result.AsSpan(done, Math.Min(piece, result.Length - done));
                Span<byte> source = bytes.AsSpan(0, (int)GgufTypes.BytesOf(tensor.Type, target.Length));
                stream.ReadExactly(source);
                GgufBlocks.Decode(tensor.Type, source, target);
                done += target.Length;
            }

            return result;
        }
        catch (IOException e)
        {
            throw new UserException($"{Path}: the file cannot be read: {e.Message}", e);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => stream.Dispose();

    private static string Show(string name) => name.Length <= MaxShown ? name : string.Concat(name.AsSpan(0, MaxShown), "…");

    private UserException Damaged(string what) => new($"{Path}: {what}; the file is damaged, download it again");

    private void ReadHeader()
    {
        Span<byte> start = stackalloc byte[4];
        if (stream.ReadAtLeast(start, 4, throwOnEndOfStream: false) < 4 || !start.SequenceEqual("GGUF"u8))
            throw new UserException($"{Path}: it does not begin with GGUF, so it is no GGUF file");
        uint version = (uint)Integer(4);
        if (version is not (2 or 3))
        {
            throw new UserException(BinaryPrimitives.ReverseEndianness(version) is 2 or 3
                ? $"{Path}: a big-endian GGUF file, which is not supported; take the little-endian one"
                : $"{Path}: GGUF of version {version}, which is not supported; versions 2 and 3 are");
        }

        // A tensor's description has at least 32 bytes, a value of the metadata 13.
        long tensorCount = Count("tensors", 32), valueCount = Count("metadata values", 13);
        for (long i = 0; i < valueCount; i++)
        {
            string key = Text("a key of the metadata");
            if (!metadata.TryAdd(key, Value(Type(key), key)))
                throw Damaged($"{Show(key)} appears twice in the metadata");
        }

        var described = new List<(string Name, GgufType Type, long[] Shape, long Offset)>();
        var names = new HashSet<string>(StringComparer.Ordinal);
        for (long i = 0; i < tensorCount; i++)
        {
            described.Add(Description());
            if (!names.Add(described[^1].Name))
                throw Damaged($"tensor {Show(described[^1].Name)} appears twice");
        }

        Place(described, Alignment());
    }

    private long Alignment() => !metadata.TryGetValue("general.alignment", out object? value) ? GgufWriter.Alignment
        : value is long alignment and >= 8 and <= MaxAlignment && (alignment & (alignment - 1)) == 0 ? alignment
        : throw Damaged($"general.alignment is {value}, not a power of two from 8 to {MaxAlignment}");

    private (string Name, GgufType Type, long[] Shape, long Offset) Description()
    {
        string name = Text("the name of a tensor");
        long dimensions = Integer(4);
        if (dimensions is < 1 or > MaxDimensions)
            throw Damaged($"tensor {Show(name)} has {dimensions} dimensions, not 1 to {MaxDimensions}");
        var shape = new long[dimensions];
        UInt128 elements = 1;
        for (int i = shape.Length - 1; i >= 0; i--)
        {
            shape[i] = Integer(8);
            if (shape[i] < 1 || (elements *= (UInt128)shape[i]) > long.MaxValue / 4)
                throw Damaged($"tensor {Show(name)} has an impossible shape");
        }

        uint number = (uint)Integer(4);
        var type = (GgufType)number;
        if (!Enum.IsDefined(type))
            throw new UserException($"{Path}: tensor {Show(name)} has the type {GgufTypes.NameOf(number)}, which is not supported; {string.Join(", ", Enum.GetNames<GgufType>())} are");
        if (shape[^1] % GgufTypes.BlockOf(type) != 0)
            throw Damaged($"tensor {Show(name)} of {type} has rows of {shape[^1]} values, which are no whole blocks of {GgufTypes.BlockOf(type)}");
        long offset = Integer(8);
        return offset >= 0 ? (name, type, shape, offset) : throw Damaged($"tensor {Show(name)} has an impossible offset");
    }

    /// <summary>Checks that the tensors follow one another up to the end of the file, each at the next multiple of the alignment.</summary>
    private void Place(List<(string Name, GgufType Type, long[] Shape, long Offset)> described, long alignment)
    {
        long start = Aligned(stream.Position, alignment), expected = 0;
        foreach ((string name, GgufType type, long[] shape, long offset) in described)
        {
            if (offset != expected)
                throw Damaged($"tensor {Show(name)} begins at byte {offset:N0}, not after the one before it ({expected:N0})");
            var entry = new GgufEntry(name, type, shape, start + offset);
            if (start > length || entry.Bytes > length - start - offset)
                throw new UserException($"{Path}: tensor {Show(name)} ends after byte {length:N0}, the last of the file; the file was cut short, download it again");
            tensors.Add(name, entry);
            expected = Aligned(offset + entry.Bytes, alignment);
        }

        if (length - start > expected)
            throw Damaged($"{length - start - expected:N0} bytes after its last tensor belong to none");
    }

    private static long Aligned(long bytes, long alignment) => (bytes + alignment - 1) / alignment * alignment;

    private GgufValueType Type(string key)
    {
        uint type = (uint)Integer(4);
        return Enum.IsDefined((GgufValueType)type) ? (GgufValueType)type : throw Damaged($"{Show(key)} has a value of the unknown type {type}");
    }

    private object Value(GgufValueType type, string key) => type switch
    {
        GgufValueType.Text => Text(key),
        GgufValueType.Bool => Flag(key),
        GgufValueType.Float32 => (double)BitConverter.Int32BitsToSingle((int)Integer(4)),
        GgufValueType.Float64 => BitConverter.Int64BitsToDouble(Integer(8)),
        GgufValueType.Array => List(key),
        GgufValueType.UInt64 => Integer(8) is >= 0 and var number ? number : throw Damaged($"{Show(key)} is larger than {long.MaxValue}"),
        GgufValueType.Int64 => Integer(8),
        GgufValueType.Int32 => (long)(int)Integer(4),
        GgufValueType.UInt32 => Integer(4),
        GgufValueType.Int16 => (long)(short)Integer(2),
        GgufValueType.UInt16 => Integer(2),
        GgufValueType.Int8 => (long)(sbyte)Integer(1),
        _ => Integer(1),
    };

    private object List(string key)
    {
        GgufValueType type = Type(key);
        if (type == GgufValueType.Array)
            throw Damaged($"{Show(key)} is an array of arrays, which no key has");
        long count = Count($"values of {Show(key)}", type switch
        {
            GgufValueType.Text or GgufValueType.UInt64 or GgufValueType.Int64 or GgufValueType.Float64 => 8,
            GgufValueType.UInt32 or GgufValueType.Int32 or GgufValueType.Float32 => 4,
            GgufValueType.UInt16 or GgufValueType.Int16 => 2,
            _ => 1,
        });
        return type switch
        {
            GgufValueType.Text => Values<string>(),
            GgufValueType.Bool => Values<bool>(),
            GgufValueType.Float32 or GgufValueType.Float64 => Values<double>(),
            _ => Values<long>(),
        };

        T[] Values<T>()
        {
            var result = new T[count];
            for (int i = 0; i < result.Length; i++)
                result[i] = (T)Value(type, key);
            return result;
        }
    }

    private bool Flag(string key) => Integer(1) switch
    {
        0 => false,
        1 => true,
        var other => throw Damaged($"{Show(key)} is {other}, neither true nor false"),
    };

    private long Count(string what, int smallest)
    {
        long count = Integer(8);
        return count >= 0 && count <= (length - stream.Position) / smallest && count <= Array.MaxLength ? count
            : throw Damaged($"{(ulong)count:N0} {what} do not fit into the {length - stream.Position:N0} bytes that follow");
    }

    private string Text(string what)
    {
        long bytes = Integer(8);
        if (bytes < 0 || bytes > Math.Min(length - stream.Position, Array.MaxLength))
            throw Damaged($"{Show(what)} claims {(ulong)bytes:N0} bytes of text where {length - stream.Position:N0} follow");
        var text = new byte[bytes];
        stream.ReadExactly(text);
        return Utf8.IsValid(text) ? Encoding.UTF8.GetString(text) : throw Damaged($"{Show(what)} is not UTF-8 text");
    }

    /// <summary>A little-endian integer without a sign; 8 bytes with one.</summary>
    private long Integer(int bytes)
    {
        Span<byte> raw = stackalloc byte[8];
        raw.Clear();
        if (stream.ReadAtLeast(raw[..bytes], bytes, throwOnEndOfStream: false) < bytes)
            throw Damaged("it ends within its header");
        return BinaryPrimitives.ReadInt64LittleEndian(raw);
    }
}
