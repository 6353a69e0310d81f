using Parquet;
using Parquet.Schema;

namespace ILGpuOptim.Data;

/// <summary>Parquet files: each row is a document, whose text is in one column.</summary>
internal sealed class ParquetDocuments : IDocumentFormat
{
    public string Extension => ".parquet";

    public IEnumerable<DocumentPart> Read(FileStream file, string field, Action<long> advanced)
    {
        string path = file.Name;
        Guarded(path, () => ParquetCheck.Check(file));
        ParquetReader reader = null!;
        DataField column = null!;
        Guarded(path, () =>
        {
            file.Position = 0;
            reader = ParquetReader.CreateAsync(file, leaveStreamOpen: true).GetAwaiter().GetResult();
            column = ColumnOf(path, field, reader.Schema.GetDataFields());
        });
        for (int group = 0; group < reader.RowGroups.Count; group++)
        {
            string?[] texts = null!;
            Guarded(path, () => texts = Column(reader, group, column));
            advanced(file.Length / reader.RowGroups.Count * group);
            for (int row = 0; row < texts.Length; row++)
            {
                string text = texts[row] ?? throw UserException.NamingSettings(
                    $"{path}: row {row:N0} of row group {group} has no text in the column \"{field}\"; remove the row, or name another column with {nameof(field):setting}");
                yield return new(text) { IsLast = true };
            }
        }
    }

    public IEnumerable<byte[]> ReadRecords(FileStream file) => ParquetRecords.Read(file);

    private static DataField ColumnOf(string path, string field, DataField[] columns)
    {
        DataField column = columns.FirstOrDefault(item => item.Path.ToString() == field)
            ?? throw UserException.NamingSettings($"{path}: there is no column \"{field}\"; there are {string.Join(", ", columns.Select(item => item.Path))}, name one with {nameof(field):setting}");
        return (column.ClrType == typeof(string) || column.ClrType == typeof(ReadOnlyMemory<char>)) && !column.IsArray ? column
            : throw UserException.NamingSettings($"{path}: the column \"{field}\" contains {Kind(column)}, not text; name another with {nameof(field):setting}");
    }

    private static string Kind(DataField column) => column.IsArray ? "lists"
        : column.ClrType == typeof(bool) ? "true and false"
        : column.ClrType == typeof(byte[]) || column.ClrType == typeof(ReadOnlyMemory<byte>) ? "bytes"
        : column.ClrType == typeof(DateTime) || column.ClrType == typeof(DateOnly) || column.ClrType == typeof(TimeOnly) || column.ClrType == typeof(TimeSpan) ? "dates or times"
        : column.ClrType == typeof(Guid) ? "identifiers" : "numbers";

    /// <summary>Reads a column. The library reads the column of a row group as a whole, which determines the memory.</summary>
    private static string?[] Column(ParquetReader reader, int group, DataField column)
    {
        using ParquetRowGroupReader rows = reader.OpenRowGroupReader(group);
        var texts = new string?[checked((int)rows.RowCount)];
        rows.ReadAsync(column, texts.AsMemory()).AsTask().GetAwaiter().GetResult();
        return texts;
    }

    /// <summary>Runs a reader of Parquet. The library throws exceptions of any type on damaged files, so all are reported as errors of the file.</summary>
    internal static void Guarded(string path, Action read)
    {
        try
        {
            read();
        }
        catch (OutOfMemoryException e)
        {
            throw new UserException($"{path}: a column of a row group does not fit the memory; write the file with smaller row groups", e);
        }
        catch (Exception e) when (e is not UserException)
        {
            throw new UserException($"{path}: it cannot be read as Parquet: {e.GetBaseException().Message}; the file is damaged or uses what the reader lacks, write it anew", e);
        }
    }
}
