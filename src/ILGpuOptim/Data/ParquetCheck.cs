using System.Buffers.Binary;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data;

/// <summary>
/// Checks a Parquet file's description of itself before the library reads it: the library allocates what the file's counts say. The
/// footer, every column's place and the header of every page are held against the size of the file. Format: Apache Parquet's <c>parquet.thrift</c>.
/// </summary>
internal sealed class ParquetCheck
{
    /// <summary>Footers of real files with thousands of row groups take a few megabytes.</summary>
    private const int MostFooterBytes = 64 << 20;

    /// <summary>Structures in lists of a footer that are always accepted, and the bytes that one takes on average at least beyond them. The library makes an object of each.</summary>
    private const int StructuresWithoutBytes = 4096, LeastStructureBytes = 4;

    /// <summary>A page header is a few dozen bytes as a rule; its statistics may carry two texts of any length.</summary>
    private const int PageHeaderBytes = 4 << 10, MostPageHeaderBytes = 16 << 20;

    /// <summary>Pages larger than this unpacked are refused. Writers make pages of about a megabyte.</summary>
    private const long MostPageBytes = 256 << 20;

    /// <summary>Rows in a row group that are always accepted; beyond, a row must have at least a byte of the file.</summary>
    private const long RowsWithoutBytes = 1 << 20;

    private readonly FileStream file;

    /// <summary>Bytes of the file that no column has taken so far.</summary>
    private long free;

    /// <summary>A part of the file: small pages that follow each other are found in it.</summary>
    private byte[] window = new byte[4 * PageHeaderBytes];
    private long windowStart;
    private int windowLength;

    private ParquetCheck(FileStream file) => (this.file, free) = (file, file.Length);

    private readonly record struct Page(long Unpacked, long Packed, long Values);

    /// <summary>Fails when the file's counts and places contradict its size.</summary>
    /// <param name="file">The file; its position changes.</param>
    /// <exception cref="InvalidDataException">With what is wrong.</exception>
    public static void Check(FileStream file) => new ParquetCheck(file).CheckFooter();

    private void CheckFooter()
    {
        Span<byte> end = stackalloc byte[8];
        if (file.Length < 12 || Read(file.Length - 8, end) < 8 || !end[4..].SequenceEqual("PAR1"u8))
            throw new InvalidDataException(end[4..].SequenceEqual("PARE"u8) ? "it is encrypted" : "it does not end with the mark PAR1");
        long length = BinaryPrimitives.ReadUInt32LittleEndian(end);
        if (length > file.Length - 12 || length > MostFooterBytes)
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
                CheckGroup(ref thrift);
        }

        if (!hasGroups)
            throw new InvalidDataException("its description lacks the row groups");
        if (thrift.ListedStructures > StructuresWithoutBytes + (length / LeastStructureBytes))
            throw new InvalidDataException($"its footer of {length:N0} bytes lists {thrift.ListedStructures:N0} structures, most of them empty");
    }

    private void CheckGroup(ref ThriftCompact thrift)
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
            throw new InvalidDataException("its description of a row group lacks the number of rows");
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
            throw new InvalidDataException("its description of a column lacks its place");
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
            throw new InvalidDataException($"a column of {values:N0} values at byte {start:N0} with {bytes:N0} bytes does not lie in a file of {file.Length:N0}");
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
            if (page.Packed < 0 || page.Packed > end - position || page.Unpacked < 0 || page.Unpacked > MostPageBytes)
                throw new InvalidDataException($"a page at byte {position:N0} states {page.Packed:N0} bytes that unpack to {page.Unpacked:N0}; pages unpack to at most {MostPageBytes:N0}, and lie in their column");
            position += page.Packed;
            if (page.Values < 0 || page.Values > Math.Max(values, page.Unpacked))
                throw new InvalidDataException($"a page before byte {position:N0} states {page.Values:N0} values of {values:N0}");
        }
    }

    /// <summary>The header of the page at a position, which moves behind it.</summary>
    private Page ReadPage(ref long position, long end)
    {
        for (int size = PageHeaderBytes; ; size = MostPageHeaderBytes)
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
                // The header may be longer than what was read of it.
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

    /// <summary>The number of values that the header of a page of any kind states.</summary>
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

    /// <summary>Bytes of the file.</summary>
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
