using System.Buffers.Binary;
using System.Text;

namespace ILGpuOptim.Files;

/// <summary>Fields of a message in the encoding of protocol buffers.</summary>
internal sealed class ProtocolMessage
{
    private const int Variable = 0, Delimited = 2, Fixed = 5;

    private readonly MemoryStream bytes = new();

    /// <summary>The encoded fields.</summary>
    public byte[] ToArray() => bytes.ToArray();

    /// <summary>Appends an integer.</summary>
    public void Number(int field, long value)
    {
        Write((ulong)(field << 3 | Variable));
        Write((ulong)value);
    }

    /// <summary>Appends a float.</summary>
    public void Float(int field, float value)
    {
        Write((ulong)(field << 3 | Fixed));
        Span<byte> raw = stackalloc byte[sizeof(float)];
        BinaryPrimitives.WriteSingleLittleEndian(raw, value);
        bytes.Write(raw);
    }

    /// <summary>Appends bytes.</summary>
    public void Bytes(int field, ReadOnlySpan<byte> value)
    {
        Begin(field, value.Length);
        bytes.Write(value);
    }

    /// <summary>Appends text.</summary>
    public void Text(int field, string value) => Bytes(field, Encoding.UTF8.GetBytes(value));

    /// <summary>Appends a message.</summary>
    public void Message(int field, ProtocolMessage value) => Bytes(field, value.bytes.GetBuffer().AsSpan(0, (int)value.bytes.Length));

    /// <summary>Appends the tag and the length of bytes that the caller writes elsewhere, after these.</summary>
    public void Begin(int field, long length)
    {
        Write((ulong)(field << 3 | Delimited));
        Write((ulong)length);
    }

    /// <summary>The encoded length.</summary>
    public long Length => bytes.Length;

    private void Write(ulong value)
    {
        while (value >= 128)
        {
            bytes.WriteByte((byte)(value | 128));
            value >>= 7;
        }

        bytes.WriteByte((byte)value);
    }
}
