using System.Buffers.Binary;
using System.Globalization;
using System.Numerics;
using ILGpuOptim.Files;

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

        Record(0, output => output.Text(3, "brain.Event:2"));
        Record(step + 1, output => output.Message(7, session => session.Varint(1, SessionStart)));
    }

    /// <summary>Appends scalars.</summary>
    /// <exception cref="UserException">The disk is full.</exception>
    public void Append(long step, params ReadOnlySpan<(string Tag, float Value)> scalars)
    {
        (string Tag, float Value)[] values = [.. scalars];
        Summary(step, [.. values.Select(item => ProtobufWriter.Message(value =>
        {
            value.Text(1, item.Tag);
            value.Single(2, item.Value);
        }))]);
    }

    /// <summary>Appends a text, which TensorBoard shows as Markdown.</summary>
    /// <exception cref="UserException">The disk is full.</exception>
    public void Append(long step, string tag, string text) => Summary(step, ProtobufWriter.Message(value =>
    {
        value.Text(1, tag);
        value.Message(8, tensor =>
        {
            tensor.Varint(1, StringType);
            tensor.Message(2, shape => shape.Message(2, dimension => dimension.Varint(1, 1)));

            // Four spaces make a block of code, in which nothing is Markdown.
            tensor.Text(8, "    " + text.ReplaceLineEndings("\n    "));
        });
        value.Message(9, metadata => metadata.Message(1, plugin => plugin.Text(1, "text")));
    }));

    /// <summary>Passes all events to the operating system.</summary>
    /// <exception cref="UserException">The disk is full.</exception>
    public void Flush() => Write(file.Flush);

    private void Summary(long step, params IReadOnlyList<ProtobufWriter> values) => Record(step, output => output.Message(5, summary =>
    {
        foreach (ProtobufWriter value in values)
            summary.Message(1, value);
    }));

    private void Record(long step, Action<ProtobufWriter> what)
    {
        ReadOnlySpan<byte> data = ProtobufWriter.Message(output =>
        {
            output.Double(1, (DateTime.UtcNow - DateTime.UnixEpoch).TotalSeconds);
            output.Varint(2, step);
            what(output);
        }).Written;
        byte[] record = new byte[12 + data.Length + 4];
        BinaryPrimitives.WriteUInt64LittleEndian(record, (ulong)data.Length);
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(8), MaskedChecksum(record.AsSpan(0, 8)));
        data.CopyTo(record.AsSpan(12));
        BinaryPrimitives.WriteUInt32LittleEndian(record.AsSpan(12 + data.Length), MaskedChecksum(data));
        Write(() => file.Write(record));
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
