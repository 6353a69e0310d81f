using System.Buffers.Binary;

namespace ILGpuOptim.Files;

/// <summary>The wire type of a field of a protocol buffer message: how its value is encoded.</summary>
internal enum WireType
{
    /// <summary>An integer of one to ten bytes.</summary>
    Varint = 0,

    /// <summary>Eight bytes.</summary>
    Fixed64 = 1,

    /// <summary>A length and that many bytes: text, bytes or a message.</summary>
    Bytes = 2,

    /// <summary>Four bytes.</summary>
    Fixed32 = 5,
}

/// <summary>Reads the fields of a protocol buffer message one by one. Every length is checked against the bytes that are left.</summary>
/// <param name="message">The bytes of the message.</param>
/// <exception cref="InvalidDataException">From any method: the message is damaged or truncated.</exception>
internal ref struct ProtobufReader(ReadOnlySpan<byte> message)
{
    private ReadOnlySpan<byte> rest = message;

    /// <summary>The number of the current field.</summary>
    public int Field { get; private set; }

    /// <summary>How the current field is encoded.</summary>
    public WireType Type { get; private set; }

    /// <summary>Reads the number and type of the next field; its value must be read or skipped before the next call.</summary>
    /// <returns>False at the end of the message.</returns>
    public bool Next()
    {
        if (rest.IsEmpty)
            return false;
        ulong tag = Varint();
        if (tag >> 3 is 0 or > (1 << 29) - 1)
            throw new InvalidDataException($"a field has the number {tag >> 3}.");
        (Field, Type) = ((int)(tag >> 3), (WireType)(tag & 7));
        return Enum.IsDefined(Type) ? true : throw new InvalidDataException($"field {Field} has the unknown wire type {tag & 7}.");
    }

    /// <summary>The integer of the current field.</summary>
    public ulong Varint()
    {
        ulong value = 0;
        for (int shift = 0; shift < 64; shift += 7)
        {
            byte next = Take(1)[0];
            value |= (ulong)(next & 0x7f) << shift;
            if (next < 0x80)
                return value;
        }

        throw new InvalidDataException("an integer has more than ten bytes.");
    }

    /// <summary>The single-precision number of the current field.</summary>
    public float Single() => BinaryPrimitives.ReadSingleLittleEndian(Take(4));

    /// <summary>The bytes of the current field.</summary>
    public ReadOnlySpan<byte> Bytes() => Take(Varint());

    /// <summary>Skips the value of the current field.</summary>
    public void Skip()
    {
        if (Type == WireType.Varint)
            Varint();
        else
            Take(Type switch { WireType.Fixed64 => 8, WireType.Fixed32 => 4, _ => Varint() });
    }

    private ReadOnlySpan<byte> Take(ulong count)
    {
        if (count > (ulong)rest.Length)
            throw new InvalidDataException($"{count} bytes are announced where {rest.Length} are left.");
        ReadOnlySpan<byte> taken = rest[..(int)count];
        rest = rest[(int)count..];
        return taken;
    }
}
