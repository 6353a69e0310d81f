using Google.Protobuf;
using ILGpuOptim.Files;

namespace ILGpuOptim.Tests.Files;

/// <summary>The wire format of protocol buffers, against Google's implementation.</summary>
public class ProtobufTests
{
    [Theory]
    [InlineData(0L)]
    [InlineData(127L)]
    [InlineData(128L)]
    [InlineData(-1L)]
    [InlineData(long.MinValue)]
    [InlineData(long.MaxValue)]
    public void IntegersAreThoseOfGoogle(long value)
    {
        byte[] expected = Google(output =>
        {
            output.WriteTag(3, WireFormat.WireType.Varint);
            output.WriteInt64(value);
        });
        Assert.Equal(expected, ProtobufWriter.Message(message => message.Varint(3, value)).Written.ToArray());
        var reader = new ProtobufReader(expected);
        Assert.True(reader.Next());
        Assert.Equal((3, WireType.Varint, value), (reader.Field, reader.Type, (long)reader.Varint()));
        Assert.False(reader.Next());
    }

    [Fact]
    public void MessagesAreThoseOfGoogle()
    {
        byte[] expected = Google(output =>
        {
            output.WriteTag(1, WireFormat.WireType.LengthDelimited);
            output.WriteString("Käse");
            output.WriteTag(2000, WireFormat.WireType.Fixed32);
            output.WriteFloat(1.5f);
            output.WriteTag(4, WireFormat.WireType.Fixed64);
            output.WriteDouble(-2.25);
            output.WriteTag(5, WireFormat.WireType.LengthDelimited);
            output.WriteBytes(ByteString.CopyFrom(Google(inner =>
            {
                inner.WriteTag(1, WireFormat.WireType.Varint);
                inner.WriteInt64(300);
            })));
        });
        Assert.Equal(expected, ProtobufWriter.Message(message =>
        {
            message.Text(1, "Käse");
            message.Single(2000, 1.5f);
            message.Double(4, -2.25);
            message.Message(5, inner => inner.Varint(1, 300));
        }).Written.ToArray());

        var reader = new ProtobufReader(expected);
        reader.Next();
        reader.Skip();
        reader.Next();
        Assert.Equal((2000, 1.5f), (reader.Field, reader.Single()));
        reader.Next();
        reader.Skip();
        reader.Next();
        Assert.Equal(3, reader.Bytes().Length);
        Assert.False(reader.Next());
    }

    [Theory]
    [InlineData(new byte[] { 0x0a, 0x05, 1, 2 }, "5 bytes are announced where 2 are left")]
    [InlineData(new byte[] { 0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01 }, "18446744073709551615 bytes")]
    [InlineData(new byte[] { 0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80 }, "more than ten bytes")]
    [InlineData(new byte[] { 0x08, 0x80 }, "1 bytes are announced where 0 are left")]
    [InlineData(new byte[] { 0x0d, 0, 0, 0 }, "4 bytes are announced where 3 are left")]
    [InlineData(new byte[] { 0x0b }, "wire type 3")]
    [InlineData(new byte[] { 0x02 }, "the number 0")]
    public void DamagedMessagesAreRefused(byte[] message, string words) => Assert.Contains(words, Assert.Throws<InvalidDataException>(() =>
    {
        var reader = new ProtobufReader(message);
        while (reader.Next())
            reader.Skip();
    }).Message, StringComparison.Ordinal);

    private static byte[] Google(Action<CodedOutputStream> write)
    {
        using var bytes = new MemoryStream();
        using (var output = new CodedOutputStream(bytes, leaveOpen: true))
            write(output);
        return bytes.ToArray();
    }
}
