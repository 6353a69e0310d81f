using System.IO.Compression;

namespace ILGpuOptim.Files;

/// <summary>
/// Unpacks a .gz file of one or more archives, completely or with an error. <see cref="GZipStream"/> ends without one where a file was cut short, or where
/// something that is no archive follows. So an archive of a known mark is appended to the file, and the mark must come out last.
/// </summary>
internal sealed class GzipContents : Stream
{
    private static readonly byte[] Mark = [.. "\u0004end of file \u00ad\u0004"u8];

    private readonly GZipStream unpacked;
    private readonly byte[] buffer = new byte[64 << 10];
    private int start, end;
    private bool isFinished;

    /// <summary>Unpacks a file, which this stream then owns.</summary>
    public GzipContents(Stream file) => unpacked = new GZipStream(new Appended(file), CompressionMode.Decompress);

    /// <inheritdoc/>
    public override bool CanRead => true;

    /// <inheritdoc/>
    public override bool CanSeek => false;

    /// <inheritdoc/>
    public override bool CanWrite => false;

    /// <inheritdoc/>
    public override long Length => throw new NotSupportedException();

    /// <inheritdoc/>
    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    /// <inheritdoc/>
    /// <exception cref="InvalidDataException">The file is damaged or incomplete.</exception>
    public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

    /// <inheritdoc cref="Read(byte[], int, int)"/>
    public override int Read(Span<byte> buffer)
    {
        while (!isFinished && end - start <= Mark.Length)
            Fill();
        ReadOnlySpan<byte> ready = this.buffer.AsSpan(start, isFinished ? 0 : Math.Min(buffer.Length, end - start - Mark.Length));
        ready.CopyTo(buffer);
        start += ready.Length;
        return ready.Length;
    }

    /// <inheritdoc/>
    public override void Flush()
    {
    }

    /// <inheritdoc/>
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void SetLength(long value) => throw new NotSupportedException();

    /// <inheritdoc/>
    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing)
            unpacked.Dispose();
        base.Dispose(disposing);
    }

    /// <summary>Unpacks more. The last bytes are kept back until it is known whether they are the mark.</summary>
    private void Fill()
    {
        buffer.AsSpan(start..end).CopyTo(buffer);
        (start, end) = (0, end - start);
        int read;
        try
        {
            read = unpacked.Read(buffer.AsSpan(end));
        }
        catch (InvalidDataException e)
        {
            throw new InvalidDataException("the gzip archive is damaged or was cut short; make or download it again", e);
        }

        end += read;
        isFinished = read == 0;
        if (isFinished && !buffer.AsSpan(start..end).SequenceEqual(Mark))
            throw new InvalidDataException("the gzip archive was cut short, or something else follows it; make or download it again");
    }

    /// <summary>A file with the archive of the mark behind it.</summary>
    private sealed class Appended(Stream file) : Stream
    {
        private readonly MemoryStream mark = new(Packed());

        public override bool CanRead => true;

        public override bool CanSeek => false;

        public override bool CanWrite => false;

        public override long Length => throw new NotSupportedException();

        public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

        public override int Read(byte[] buffer, int offset, int count) => Read(buffer.AsSpan(offset, count));

        public override int Read(Span<byte> buffer) => file.Read(buffer) is > 0 and var read ? read : mark.Read(buffer);

        public override void Flush()
        {
        }

        public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        protected override void Dispose(bool disposing)
        {
            if (disposing)
                file.Dispose();
            base.Dispose(disposing);
        }

        private static byte[] Packed()
        {
            var packed = new MemoryStream();
            using (var gzip = new GZipStream(packed, CompressionLevel.Fastest))
                gzip.Write(Mark);
            return packed.ToArray();
        }
    }
}
