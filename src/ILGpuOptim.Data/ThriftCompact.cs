namespace ILGpuOptim.Files;

/// <summary>A field of a Thrift structure: its number and its type code.</summary>
internal readonly record struct ThriftField(int Id, int Type);

/// <summary>
/// Reads structures in Thrift's compact protocol, the format of Parquet metadata, field by field. Allocates nothing; every length and count is
/// checked against the remaining bytes.
/// </summary>
/// <param name="bytes">The bytes of a structure; others may follow.</param>
internal ref struct ThriftCompact(ReadOnlySpan<byte> bytes)
{
    /// <summary>The nesting limit. Parquet structures, except logical types, are at most six deep.</summary>
    private const int MaxDepth = 32;

    private const int Truth = 1, Falsehood = 2, Byte = 3, Int16 = 4, Int32 = 5, Int64 = 6, Double = 7, Binary = 8, List = 9, Set = 10, Map = 11, Structure = 12, Uuid = 13;

    private ReadOnlySpan<byte> rest = bytes;
    private int depth;

    /// <summary>The number of unread bytes.</summary>
    public readonly int Remaining => rest.Length;

    /// <summary>The number of structures in lists so far, including skipped ones.</summary>
    public int ListedStructures { get; private set; }

    /// <summary>Reads the header of the next field; its value must be read or skipped before the next call.</summary>
    /// <param name="field">The previous field, or the default value for the first call; receives the next field.</param>
    /// <returns>False at the end of the structure.</returns>
    /// <exception cref="InvalidDataException">The bytes are damaged; this applies to all methods.</exception>
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
        _ => throw new InvalidDataException($"its field {field.Id} is not an integer"),
    };

    /// <summary>Enters a structure field; its own fields follow.</summary>
    public readonly void EnterStructure(ThriftField field)
    {
        if (field.Type != Structure)
            throw new InvalidDataException($"its field {field.Id} is not a structure");
    }

    /// <summary>Enters a list of structures; their fields follow.</summary>
    /// <returns>The number of structures.</returns>
    public int EnterList(ThriftField field)
    {
        if (field.Type is not (List or Set))
            throw new InvalidDataException($"its field {field.Id} is not a list");
        int count = ListHeader(out int type);
        return count == 0 || type == Structure ? count : throw new InvalidDataException($"its list {field.Id} holds no structures");
    }

    /// <summary>Skips the value of a field.</summary>
    public void Skip(ThriftField field)
    {
        // The value of a Boolean field is in its type; a Boolean list element has a byte.
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

    /// <summary>Checks a count of bytes or elements; an element has at least one byte.</summary>
    private readonly int Count(ulong stated) => stated <= (ulong)rest.Length ? (int)stated
        : throw new InvalidDataException($"it states a length of {stated:N0} where {rest.Length:N0} bytes remain");

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
        int value = rest.IsEmpty ? throw new InvalidDataException("its metadata ends early") : rest[0];
        rest = rest[1..];
        return value;
    }

    private void SkipBytes(int count) => rest = count <= rest.Length ? rest[count..] : throw new InvalidDataException("its metadata ends early");
}
