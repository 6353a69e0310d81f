using System.Buffers.Binary;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data;

/// <summary>
/// Checks the metadata of a Parquet file before the library reads it, since the library allocates memory according to the file's counts. The
/// footer, the position of every column and the header of every page are checked against the size of the file. Format: Apache Parquet's <c>parquet.thrift</c>.
/// </summary>
internal sealed class ParquetCheck
{
    /// <summary>The size limit of the footer. Files with thousands of row groups have footers of a few megabytes.</summary>
    private const int MaxFooterBytes = 64 << 20;

    /// <summary>The number of listed structures that is always accepted in a footer, and the minimum average size of further ones in bytes. The library creates an object for each.</summary>
    private const int StructuresWithoutBytes = 4096, MinStructureBytes = 4;

    /// <summary>The bytes to read for a page header, and its size limit. A header usually has a few dozen bytes; its statistics may contain two texts of any length.</summary>
    private const int PageHeaderBytes = 4 << 10, MaxPageHeaderBytes = 16 << 20;

    /// <summary>The limit for uncompressed pages in bytes. Writers use about a megabyte.</summary>
    private const long MaxPageBytes = 256 << 20;

    /// <summary>The number of rows of a row group that is always accepted; a larger number must not exceed the file size in bytes.</summary>
    private const long RowsWithoutBytes = 1 << 20;

    private readonly FileStream file;

    /// <summary>The bytes of the file that no column uses so far.</summary>
    private long free;

    /// <summary>A buffered part of the file, which usually contains the headers of several small pages.</summary>
    private byte[] window = new byte[4 * PageHeaderBytes];
    private long windowStart;
    private int windowLength;

    private ParquetCheck(FileStream file) => (this.file, free) = (file, file.Length);

    private readonly record struct Page(long Unpacked, long Packed, long Values);

    /// <summary>Throws if the counts and positions in the file contradict its size.</summary>
    /// <param name="file">The file; its position changes.</param>
    /// <exception cref="InvalidDataException">The metadata is damaged; the message states the problem.</exception>
    public static void Check(FileStream file) => new ParquetCheck(file).CheckFooter();

    private void CheckFooter()
    {
        Span<byte> end = stackalloc byte[8];
        if (file.Length < 12 || Read(file.Length - 8, end) < 8 || !end[4..].SequenceEqual("PAR1"u8))
            throw new InvalidDataException(end[4..].SequenceEqual("PARE"u8) ? "it is encrypted" : "it does not end with PAR1");
        long length = BinaryPrimitives.ReadUInt32LittleEndian(end);
        if (length > file.Length - 12 || length > MaxFooterBytes)
            throw new InvalidDataException($"it states a footer of {length:N0} bytes in a file of {file.Length:N0}");
        byte[] footer = new byte[length];
        Read(file.Length - 8 - length, footer);
        var thrift = new ThriftCompact(footer);
        bool hasGroups = false;
        for (ThriftField field = default; thrift.Next(ref field);)
        {
            if (field.Id != 4)
            {
                thrift.Skip(field);
                continue;
            }

            hasGroups = true;
            for (int count = thrift.EnterList(field); count > 0; count--)
                CheckRowGroup(ref thrift);
        }

        if (!hasGroups)
            throw new InvalidDataException("its metadata has no row groups");
        if (thrift.ListedStructures > StructuresWithoutBytes + (length / MinStructureBytes))
            throw new InvalidDataException($"its footer of {length:N0} bytes lists {thrift.ListedStructures:N0} structures, most of them empty");
    }

    private void CheckRowGroup(ref ThriftCompact thrift)
    {
        long? rows = null;
        for (ThriftField field = default; thrift.Next(ref field);)
        {
            if (field.Id == 3)
                rows = thrift.Integer(field);
            else if (field.Id != 1)
                thrift.Skip(field);
            else
            {
                for (int count = thrift.EnterList(field); count > 0; count--)
                    CheckChunk(ref thrift);
            }
        }

        if (rows is null)
            throw new InvalidDataException("the metadata of a row group has no number of rows");
        if (rows < 0 || rows > Math.Max(RowsWithoutBytes, file.Length))
            throw new InvalidDataException($"it states {rows:N0} rows in a file of {file.Length:N0} bytes");
    }

    private void CheckChunk(ref ThriftCompact thrift)
    {
        bool hasColumn = false;
        for (ThriftField field = default; thrift.Next(ref field);)
        {
            if (field.Id != 3)
            {
                thrift.Skip(field);
                continue;
            }

            thrift.EnterStructure(field);
            CheckColumn(ref thrift);
            hasColumn = true;
        }

        if (!hasColumn)
            throw new InvalidDataException("the metadata of a column has no position");
    }

    private void CheckColumn(ref ThriftCompact thrift)
    {
        long values = -1, bytes = -1, start = -1, dictionary = 0;
        for (ThriftField field = default; thrift.Next(ref field);)
        {
            switch (field.Id)
            {
                case 5:
                    values = thrift.Integer(field);
                    break;
                case 7:
                    bytes = thrift.Integer(field);
                    break;
                case 9:
                    start = thrift.Integer(field);
                    break;
                case 11:
                    dictionary = thrift.Integer(field);
                    break;
                default:
                    thrift.Skip(field);
                    break;
            }
        }

        if (dictionary > 0 && dictionary < start)
            start = dictionary;
        if (values < 0 || values > Math.Max(RowsWithoutBytes, file.Length) || bytes < 0 || start < 4 || bytes > file.Length - start)
            throw new InvalidDataException($"a column of {values:N0} values at byte {start:N0} with {bytes:N0} bytes is outside a file of {file.Length:N0}");
        if (bytes > free)
            throw new InvalidDataException($"its columns overlap: together they have more bytes than the file, {file.Length:N0}");
        free -= bytes;
        CheckPages(values, start, start + bytes);
    }

    private void CheckPages(long values, long position, long end)
    {
        while (position < end)
        {
            Page page = ReadPage(ref position, end);
            if (page.Packed < 0 || page.Packed > end - position || page.Unpacked < 0 || page.Unpacked > MaxPageBytes)
                throw new InvalidDataException($"a page at byte {position:N0} states {page.Packed:N0} bytes that unpack to {page.Unpacked:N0}; pages unpack to at most {MaxPageBytes:N0} and must be inside their column");
            position += page.Packed;
            if (page.Values < 0 || page.Values > Math.Max(values, page.Unpacked))
                throw new InvalidDataException($"a page before byte {position:N0} states {page.Values:N0} values of {values:N0}");
        }
    }

    /// <summary>Reads the page header at a position, and advances the position past it.</summary>
    private Page ReadPage(ref long position, long end)
    {
        for (int size = PageHeaderBytes; ; size = MaxPageHeaderBytes)
        {
            size = (int)Math.Min(size, end - position);
            ReadOnlySpan<byte> bytes = At(position, size);
            try
            {
                var thrift = new ThriftCompact(bytes);
                Page page = ReadPage(ref thrift);
                position += bytes.Length - thrift.Remaining;
                return page;
            }
            catch (InvalidDataException) when (size == PageHeaderBytes && size < end - position)
            {
                // The header may be longer than the bytes that were read.
            }
        }
    }

    private static Page ReadPage(ref ThriftCompact thrift)
    {
        long unpacked = -1, packed = -1, values = 0;
        for (ThriftField field = default; thrift.Next(ref field);)
        {
            switch (field.Id)
            {
                case 2:
                    unpacked = thrift.Integer(field);
                    break;
                case 3:
                    packed = thrift.Integer(field);
                    break;
                case 5 or 7 or 8:
                    thrift.EnterStructure(field);
                    values = ReadValues(ref thrift);
                    break;
                default:
                    thrift.Skip(field);
                    break;
            }
        }

        return new Page(unpacked, packed, values);
    }

    /// <summary>Reads the number of values from a page header of any kind.</summary>
    private static long ReadValues(ref ThriftCompact thrift)
    {
        long values = -1;
        for (ThriftField field = default; thrift.Next(ref field);)
        {
            if (field.Id == 1)
                values = thrift.Integer(field);
            else
                thrift.Skip(field);
        }

        return values;
    }

    /// <summary>The bytes at a position of the file.</summary>
    private ReadOnlySpan<byte> At(long position, int size)
    {
        if (position < windowStart || position + size > windowStart + windowLength)
        {
            if (size > window.Length)
                window = new byte[size];
            windowStart = position;
            windowLength = Read(position, window);
        }

        return window.AsSpan((int)(position - windowStart), Math.Min(size, windowLength - (int)(position - windowStart)));
    }

    private int Read(long position, Span<byte> target)
    {
        file.Position = position;
        return file.ReadAtLeast(target, target.Length, throwOnEndOfStream: false);
    }
}
