using System.Buffers.Binary;
using System.Globalization;
using System.Numerics;
using Google.Protobuf;

namespace ILGpuOptim.Training;

/// <summary>
/// Writes event files for TensorBoard: <c>events.out.tfevents.*</c> in the folder <c>tensorboard</c> of a run. A file is a sequence of records (length,
/// checksum, bytes, checksum), each a protocol buffer <c>Event</c> of TensorFlow's <c>event.proto</c>. A resumed run begins another file, which tells
/// TensorBoard to drop the steps that are repeated.
/// </summary>
internal sealed class TensorBoardWriter : IDisposable
{
    /// <summary>The folder within the run folder.</summary>
    public const string Folder = "tensorboard";

    private const uint StringType = 7, SessionStart = 1;
    private readonly string path;
    private readonly FileStream file;

    /// <summary>Creates a file.</summary>
    /// <param name="run">The run folder.</param>
    /// <param name="step">The step after which training begins.</param>
    /// <exception cref="UserException">It cannot be written.</exception>
    public TensorBoardWriter(string run, long step)
    {
        DateTimeOffset now = DateTimeOffset.UtcNow;
        path = Path.Combine(run, Folder, $"events.out.tfevents.{now.ToUnixTimeSeconds().ToString(CultureInfo.InvariantCulture)}.{Environment.ProcessId}.{step}");
        try
        {
            Directory.CreateDirectory(Path.Combine(run, Folder));
            file = new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.Read | FileShare.Delete, 1 << 16);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw Failed(e);
        }

        Record(0, output => Put(output, 3, bytes => bytes.WriteString("brain.Event:2")));
        Record(step + 1, output => Put(output, 7, Message(session => { session.WriteTag(1, WireFormat.WireType.Varint); session.WriteEnum((int)SessionStart); })));
    }

    /// <summary>Appends scalars.</summary>
    /// <exception cref="UserException">The disk is full.</exception>
    public void Append(long step, params ReadOnlySpan<(string Tag, float Value)> scalars)
    {
        (string Tag, float Value)[] values = [.. scalars];
        Summary(step, [.. values.Select(item => Message(value =>
        {
            Put(value, 1, bytes => bytes.WriteString(item.Tag));
            value.WriteTag(2, WireFormat.WireType.Fixed32);
            value.WriteFloat(item.Value);
        }))]);
    }

    /// <summary>Appends a text, which TensorBoard shows as Markdown.</summary>
    /// <exception cref="UserException">The disk is full.</exception>
    public void Append(long step, string tag, string text) => Summary(step, Message(value =>
    {
        ByteString plugin = Message(data => Put(data, 1, bytes => bytes.WriteString("text")));
        ByteString shape = Message(dimensions => Put(dimensions, 2, Message(dimension => { dimension.WriteTag(1, WireFormat.WireType.Varint); dimension.WriteInt64(1); })));
        Put(value, 1, bytes => bytes.WriteString(tag));
        Put(value, 8, Message(tensor =>
        {
            tensor.WriteTag(1, WireFormat.WireType.Varint);
            tensor.WriteEnum((int)StringType);
            Put(tensor, 2, shape);

            // Four spaces make a block of code, in which nothing is Markdown.
            Put(tensor, 8, ByteString.CopyFromUtf8("    " + text.ReplaceLineEndings("\n    ")));
        }));
        Put(value, 9, Message(metadata => Put(metadata, 1, plugin)));
    }));

    /// <summary>Passes all events to the operating system.</summary>
    /// <exception cref="UserException">The disk is full.</exception>
    public void Flush() => Write(file.Flush);

    private void Summary(long step, params IReadOnlyList<ByteString> values) => Record(step, output => Put(output, 5, Message(summary =>
    {
        foreach (ByteString value in values)
            Put(summary, 1, value);
    })));

    private void Record(long step, Action<CodedOutputStream> what)
    {
        ByteString data = Message(output =>
        {
            output.WriteTag(1, WireFormat.WireType.Fixed64);
            output.WriteDouble((DateTime.UtcNow - DateTime.UnixEpoch).TotalSeconds);
            output.WriteTag(2, WireFormat.WireType.Varint);
            output.WriteInt64(step);
            what(output);
        });
        byte[] record = new byte[12 + data.Length + 4];
        BinaryPrimitives.WriteUInt64LittleEndian(record, (ulong)data.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(8), MaskedChecksum(record.AsSpan(0, 8)));
        data.CopyTo(record, 12);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(12 + data.Length), MaskedChecksum(data.Span));
        Write(() => file.Write(record));
    }

    private static ByteString Message(Action<CodedOutputStream> write)
    {
        using var bytes = new MemoryStream();
        using (var output = new CodedOutputStream(bytes, leaveOpen: true))
            write(output);
        return ByteString.CopyFrom(bytes.GetBuffer(), 0, (int)bytes.Length);
    }

    private static void Put(CodedOutputStream output, int field, ByteString message) => Put(output, field, bytes => bytes.WriteBytes(message));

    private static void Put(CodedOutputStream output, int field, Action<CodedOutputStream> value)
    {
        output.WriteTag(field, WireFormat.WireType.LengthDelimited);
        value(output);
    }

    /// <summary>CRC-32C, rotated and shifted as TensorFlow's record format has it, so that a checksum of data with checksums differs from them.</summary>
    internal static uint MaskedChecksum(ReadOnlySpan<byte> data)
    {
        uint checksum = uint.MaxValue;
        foreach (byte value in data)
            checksum = BitOperations.Crc32C(checksum, value);
        return BitOperations.RotateRight(~checksum, 15) + 0xa282ead8;
    }

    private void Write(Action write)
    {
        try
        {
            write();
        }
        catch (IOException e)
        {
            throw Failed(e);
        }
    }

    private UserException Failed(Exception e) => UserException.NamingSettings($"{path}: TensorBoard's events cannot be written: {e.Message}; free some space, check the write permission, or leave out {nameof(TrainingSettings.TensorBoard):setting}", e);

    public void Dispose()
    {
        try
        {
            file.Dispose();
        }
        catch (IOException)
        {
            // Flush has reported it.
        }
    }
}
