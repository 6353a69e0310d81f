using System.Buffers.Binary;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data;

/// <summary>
/// Checks a Parquet file's description of itself before the library reads it: the library allocates what the file's counts say. The
/// footer, every column's place and the header of every page are held against the size of the file. Format: Apache Parquet's <c>parquet.thrift</c>.
/// </summary>
internal static class ParquetCheck
{
    /// <summary>Footers of real files with thousands of row groups take a few megabytes.</summary>
    private const int MostFooterBytes = 64 << 20;

    /// <summary>A page header is a few dozen bytes as a rule; its statistics may carry two texts of any length.</summary>
    private static readonly int[] PageHeaderBytes = [4 << 10, 16 << 20];

    /// <summary>Pages larger than this unpacked are refused. Writers make pages of about a megabyte.</summary>
    private const long MostPageBytes = 256 << 20;

    /// <summary>Rows in a row group that are always accepted; beyond, a row must have at least a byte of the file.</summary>
    private const long RowsWithoutBytes = 1 << 20;

    /// <summary>Fails when the file's counts and places contradict its size.</summary>
    /// <param name="file">The file; its position changes.</param>
    /// <exception cref="InvalidDataException">With what is wrong.</exception>
    public static void Check(FileStream file)
    {
        Span<byte> end = stackalloc byte[8];
        if (file.Length < 12 || Read(file, file.Length - 8, end) < 8 || !end[4..].SequenceEqual("PAR1"u8))
            throw new InvalidDataException(end[4..].SequenceEqual("PARE"u8) ? "it is encrypted" : "it does not end with the mark PAR1");
        long length = BinaryPrimitives.ReadUInt32LittleEndian(end);
        if (length > file.Length - 12 || length > MostFooterBytes)
            throw new InvalidDataException($"it states a footer of {length:N0} bytes in a file of {file.Length:N0}");
        byte[] footer = new byte[length];
        Read(file, file.Length - 8 - length, footer);
        Dictionary<int, object?> metadata = new ThriftCompact(footer).ReadStructure();
        foreach (object? item in ListOf(metadata, 4))
        {
            Dictionary<int, object?> group = StructureOf(item);
            long rows = Number(group, 3);
            if (rows < 0 || rows > Math.Max(RowsWithoutBytes, file.Length))
                throw new InvalidDataException($"it states {rows:N0} rows in a file of {file.Length:N0} bytes");
            foreach (object? chunk in ListOf(group, 1))
                CheckColumn(file, StructureOf(StructureOf(chunk).GetValueOrDefault(3)), rows);
        }
    }

    private static void CheckColumn(FileStream file, Dictionary<int, object?> column, long rows)
    {
        long values = Number(column, 5), bytes = Number(column, 7), start = Number(column, 9);
        if (column.ContainsKey(11) && Number(column, 11) is > 0 and long dictionary && dictionary < start)
            start = dictionary;
        if (values < 0 || values > Math.Max(RowsWithoutBytes, file.Length) || bytes < 0 || start < 4 || bytes > file.Length - start)
            throw new InvalidDataException($"a column of {values:N0} values at byte {start:N0} with {bytes:N0} bytes does not lie in a file of {file.Length:N0} with {rows:N0} rows");
        for (long position = start; position < start + bytes;)
        {
            (Dictionary<int, object?> page, int read) = PageHeader(file, position, start + bytes - position);
            long unpacked = Number(page, 2), packed = Number(page, 3);
            position += read;
            if (packed < 0 || packed > start + bytes - position || unpacked < 0 || unpacked > MostPageBytes)
                throw new InvalidDataException($"a page at byte {position:N0} states {packed:N0} bytes that unpack to {unpacked:N0}; pages unpack to at most {MostPageBytes:N0}, and lie in their column");
            position += packed;
            foreach (int kind in (ReadOnlySpan<int>)[5, 7, 8])
            {
                if (page.TryGetValue(kind, out object? details) && Number(StructureOf(details), 1) is var count && (count < 0 || count > Math.Max(values, unpacked)))
                    throw new InvalidDataException($"a page before byte {position:N0} states {count:N0} values of {values:N0}");
            }
        }
    }

    /// <summary>The header of the page at a position, and its length.</summary>
    private static (Dictionary<int, object?> Header, int Bytes) PageHeader(FileStream file, long position, long left)
    {
        for (int attempt = 0; ; attempt++)
        {
            byte[] bytes = new byte[Math.Min(left, PageHeaderBytes[attempt])];
            Read(file, position, bytes);
            try
            {
                var thrift = new ThriftCompact(bytes);
                return (thrift.ReadStructure(), bytes.Length - thrift.Remaining);
            }
            catch (InvalidDataException) when (attempt == 0 && bytes.Length < left)
            {
                // The header may be longer than what was read of it.
            }
        }
    }

    private static int Read(FileStream file, long position, Span<byte> target)
    {
        file.Position = position;
        return file.ReadAtLeast(target, target.Length, throwOnEndOfStream: false);
    }

    private static List<object?> ListOf(Dictionary<int, object?> fields, int id) =>
        fields.GetValueOrDefault(id) as List<object?> ?? throw new InvalidDataException($"its description lacks the list {id}");

    private static Dictionary<int, object?> StructureOf(object? value) =>
        value as Dictionary<int, object?> ?? throw new InvalidDataException("its description lacks a structure");

    private static long Number(Dictionary<int, object?> fields, int id) =>
        fields.GetValueOrDefault(id) is long value ? value : throw new InvalidDataException($"its description lacks the number {id}");
}
