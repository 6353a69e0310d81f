using System.IO.Compression;

namespace ILGpuOptim.Files;

/// <summary>
/// Unpacks a .gz file of one or more archives, completely or with an error. <see cref="GZipStream"/> ends without one where a file was cut short, or where
/// something that is no archive follows. So an archive of a known mark is appended to the file, and the mark must come out last.
/// </summary>
internal sealed class GzipContents : ReadOnlyStream
{
    private static readonly byte[] Mark = [.. "\u0004end of file \u00ad\u0004"u8];

    private readonly GZipStream unpacked;
    private readonly byte[] buffer = new byte[64 << 10];
    private int start, end;
    private bool isFinished;

    /// <summary>Unpacks a file, which this stream then owns.</summary>
    public GzipContents(Stream file) => unpacked = new GZipStream(new Appended(file), CompressionMode.Decompress);

    /// <inheritdoc/>
    /// <exception cref="InvalidDataException">The file is damaged or incomplete.</exception>
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
    private sealed class Appended(Stream file) : ReadOnlyStream
    {
        private readonly MemoryStream mark = new(Packed());

        public override int Read(Span<byte> buffer) => file.Read(buffer) is > 0 and var read ? read : mark.Read(buffer);

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
