namespace ILGpuOptim.Files;

/// <summary>
/// Reads structures of Thrift's compact protocol, in which Parquet files describe themselves. Every length and count is checked against the
/// bytes that are left before anything is allocated for it.
/// </summary>
/// <param name="bytes">The bytes that hold one structure, perhaps followed by others.</param>
internal ref struct ThriftCompact(ReadOnlySpan<byte> bytes)
{
    /// <summary>Structures of Parquet are at most six deep, but for the logical types; anything deeper is damaged.</summary>
    private const int MaxDepth = 32;

    private const int Truth = 1, Falsehood = 2, Byte = 3, Int16 = 4, Int32 = 5, Int64 = 6, Double = 7, Binary = 8, List = 9, Set = 10, Map = 11, Structure = 12, Uuid = 13;

    private ReadOnlySpan<byte> rest = bytes;
    private int depth;

    /// <summary>Bytes that have not been read.</summary>
    public readonly int Remaining => rest.Length;

    /// <summary>
    /// Reads a structure: its fields by number. Integers are <see cref="long"/>, truth values <see cref="bool"/>, lists and sets
    /// <see cref="List{T}"/> of values, structures dictionaries like the result; strings, maps, floating-point numbers and UUIDs are passed over and give null.
    /// </summary>
    /// <exception cref="InvalidDataException">The bytes are no such structure.</exception>
    public Dictionary<int, object?> ReadStructure()
    {
        if (++depth > MaxDepth)
            throw new InvalidDataException("its structures are nested too deeply");
        var fields = new Dictionary<int, object?>();
        for (int id = 0; ;)
        {
            int header = ReadByte(), type = header & 15;
            if (header == 0)
                break;
            id = header >> 4 != 0 ? id + (header >> 4) : checked((int)Math.Clamp(ReadInteger(), short.MinValue, short.MaxValue));
            fields[id] = type switch { Truth => true, Falsehood => false, _ => ReadValue(type) };
        }

        depth--;
        return fields;
    }

    private object? ReadValue(int type)
    {
        switch (type)
        {
            // Elements of lists have a byte each; fields of structures hold their truth in the type.
            case Truth or Falsehood:
                return ReadByte() == Truth;
            case Byte:
                return (long)(sbyte)ReadByte();
            case Int16 or Int32 or Int64:
                return ReadInteger();
            case Double:
                Skip(8);
                return null;
            case Uuid:
                Skip(16);
                return null;
            case Binary:
                Skip(ReadCount());
                return null;
            case List or Set:
                return ReadList();
            case Map:
                SkipMap();
                return null;
            case Structure:
                return ReadStructure();
            default:
                throw new InvalidDataException($"it has a value of the unknown Thrift type {type}");
        }
    }

    private List<object?> ReadList()
    {
        if (++depth > MaxDepth)
            throw new InvalidDataException("its lists are nested too deeply");
        int header = ReadByte(), count = header >> 4 == 15 ? ReadCount() : Checked(header >> 4);
        var list = new List<object?>();
        for (int i = 0; i < count; i++)
            list.Add(ReadValue(header & 15));
        depth--;
        return list;
    }

    private void SkipMap()
    {
        int count = ReadCount();
        if (count == 0)
            return;
        int types = ReadByte();
        for (int i = 0; i < count; i++)
        {
            ReadValue(types >> 4);
            ReadValue(types & 15);
        }
    }

    /// <summary>A count of bytes or elements; an element takes at least a byte.</summary>
    private int ReadCount() => Checked(ReadVarint());

    private readonly int Checked(ulong count) => count <= (ulong)rest.Length ? (int)count
        : throw new InvalidDataException($"it states a length of {count:N0} where {rest.Length:N0} bytes are left");

    private readonly int Checked(int count) => Checked((ulong)count);

    private long ReadInteger()
    {
        ulong value = ReadVarint();
        return (long)(value >> 1) ^ -(long)(value & 1);
    }

    private ulong ReadVarint()
    {
        ulong value = 0;
        for (int shift = 0; shift < 64; shift += 7)
        {
            int part = ReadByte();
            value |= (ulong)(part & 127) << shift;
            if (part < 128)
                return value;
        }

        throw new InvalidDataException("it has an integer of more than 64 bits");
    }

    private int ReadByte()
    {
        if (rest.IsEmpty)
            throw new InvalidDataException("its description ends early");
        int value = rest[0];
        rest = rest[1..];
        return value;
    }

    private void Skip(int count)
    {
        if (count > rest.Length)
            throw new InvalidDataException("its description ends early");
        rest = rest[count..];
    }
}
