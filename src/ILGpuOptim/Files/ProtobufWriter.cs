using System.Buffers;
using System.Buffers.Binary;
using System.Text;

namespace ILGpuOptim.Files;

/// <summary>Writes the fields of a protocol buffer message.</summary>
internal sealed class ProtobufWriter
{
    private readonly ArrayBufferWriter<byte> bytes = new();

    /// <summary>A message of the given fields.</summary>
    public static ProtobufWriter Message(Action<ProtobufWriter> write)
    {
        var message = new ProtobufWriter();
        write(message);
        return message;
    }

    /// <summary>The bytes of the message.</summary>
    public ReadOnlySpan<byte> Written => bytes.WrittenSpan;

    /// <summary>Writes an integer or an enumeration's member.</summary>
    public void Varint(int field, long value)
    {
        Tag(field, WireType.Varint);
        Varint((ulong)value);
    }

    /// <summary>Writes a double-precision number.</summary>
    public void Double(int field, double value)
    {
        Tag(field, WireType.Fixed64);
        BinaryPrimitives.WriteDoubleLittleEndian(bytes.GetSpan(8), value);
        bytes.Advance(8);
    }

    /// <summary>Writes a single-precision number.</summary>
    public void Single(int field, float value)
    {
        Tag(field, WireType.Fixed32);
        BinaryPrimitives.WriteSingleLittleEndian(bytes.GetSpan(4), value);
        bytes.Advance(4);
    }

    /// <summary>Writes bytes.</summary>
    public void Bytes(int field, ReadOnlySpan<byte> value)
    {
        Begin(field, value.Length);
        bytes.Write(value);
    }

    /// <summary>Writes the tag and the length of bytes that the caller writes after those of the message.</summary>
    public void Begin(int field, long length)
    {
        Tag(field, WireType.Bytes);
        Varint((ulong)length);
    }

    /// <summary>Writes a text.</summary>
    public void Text(int field, string value) => Bytes(field, Encoding.UTF8.GetBytes(value));

    /// <summary>Writes a message as a field of this one.</summary>
    public void Message(int field, ProtobufWriter message) => Bytes(field, message.Written);

    /// <summary>Writes a message of the given fields as a field of this one.</summary>
    public void Message(int field, Action<ProtobufWriter> write) => Message(field, Message(write));

    private void Tag(int field, WireType type) => Varint((ulong)field << 3 | (ulong)type);

    private void Varint(ulong value)
    {
        Span<byte> target = bytes.GetSpan(10);
        int count = 0;
        for (; value >= 0x80; value >>= 7)
            target[count++] = (byte)(value | 0x80);
        target[count++] = (byte)value;
        bytes.Advance(count);
    }
}
