namespace ILGpuOptim.Files;

/// <summary>A field of a Thrift structure: its number, and the number of its type.</summary>
internal readonly record struct ThriftField(int Id, int Type);

/// <summary>
/// Reads structures of Thrift's compact protocol, in which Parquet files describe themselves, field by field. Nothing is allocated; every
/// length and count is checked against the bytes that are left.
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

    /// <summary>Structures that stood in lists so far, those that were passed over included.</summary>
    public int ListedStructures { get; private set; }

    /// <summary>Reads the header of a structure's next field, whose value must be read or passed over then.</summary>
    /// <param name="field">The field before it, the default value at first; becomes the next one.</param>
    /// <returns>False at the end of the structure.</returns>
    /// <exception cref="InvalidDataException">The bytes are no such structure; so for all methods.</exception>
    public bool Next(ref ThriftField field)
    {
        int header = ReadByte();
        if (header == 0)
            return false;
        int id = header >> 4 != 0 ? field.Id + (header >> 4) : (int)Math.Clamp(ReadInteger(), short.MinValue, short.MaxValue);
        field = new ThriftField(id, header & 15);
        return true;
    }

    /// <summary>The value of an integer field.</summary>
    public long Integer(ThriftField field) => field.Type switch
    {
        Byte => (sbyte)ReadByte(),
        Int16 or Int32 or Int64 => ReadInteger(),
        _ => throw new InvalidDataException($"its field {field.Id} is no integer"),
    };

    /// <summary>Begins a field that is a structure; its own fields follow.</summary>
    public readonly void EnterStructure(ThriftField field)
    {
        if (field.Type != Structure)
            throw new InvalidDataException($"its field {field.Id} is no structure");
    }

    /// <summary>Begins a field that is a list of structures; their fields follow.</summary>
    /// <returns>The number of structures.</returns>
    public int EnterList(ThriftField field)
    {
        if (field.Type is not (List or Set))
            throw new InvalidDataException($"its field {field.Id} is no list");
        int count = ListHeader(out int type);
        return count == 0 || type == Structure ? count : throw new InvalidDataException($"its list {field.Id} holds no structures");
    }

    /// <summary>Passes over the value of a field.</summary>
    public void Skip(ThriftField field)
    {
        // Fields hold their truth in the type; elements of lists have a byte each.
        if (field.Type is not (Truth or Falsehood))
            SkipValue(field.Type);
    }

    private void SkipValue(int type)
    {
        if (++depth > MaxDepth)
            throw new InvalidDataException("its structures and lists are nested too deeply");
        switch (type)
        {
            case Truth or Falsehood or Byte:
                ReadByte();
                break;
            case Int16 or Int32 or Int64:
                ReadVarint();
                break;
            case Double:
                SkipBytes(8);
                break;
            case Uuid:
                SkipBytes(16);
                break;
            case Binary:
                SkipBytes(Count(ReadVarint()));
                break;
            case List or Set:
                for (int count = ListHeader(out int elements); count > 0; count--)
                    SkipValue(elements);
                break;
            case Map:
                SkipMap();
                break;
            case Structure:
                for (ThriftField field = default; Next(ref field);)
                    Skip(field);
                break;
            default:
                throw new InvalidDataException($"it has a value of the unknown Thrift type {type}");
        }

        depth--;
    }

    private int ListHeader(out int type)
    {
        int header = ReadByte(), count = Count(header >> 4 == 15 ? ReadVarint() : (ulong)(header >> 4));
        type = header & 15;
        if (type == Structure)
            ListedStructures += count;
        return count;
    }

    private void SkipMap()
    {
        int count = Count(ReadVarint());
        if (count == 0)
            return;
        int types = ReadByte();
        for (; count > 0; count--)
        {
            SkipValue(types >> 4);
            SkipValue(types & 15);
        }
    }

    /// <summary>A count of bytes or elements; an element takes at least a byte.</summary>
    private readonly int Count(ulong stated) => stated <= (ulong)rest.Length ? (int)stated
        : throw new InvalidDataException($"it states a length of {stated:N0} where {rest.Length:N0} bytes are left");

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
        int value = rest.IsEmpty ? throw new InvalidDataException("its description ends early") : rest[0];
        rest = rest[1..];
        return value;
    }

    private void SkipBytes(int count) => rest = count <= rest.Length ? rest[count..] : throw new InvalidDataException("its description ends early");
}
