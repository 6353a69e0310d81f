using System.Buffers;
using System.Collections;
using System.Text.Json;
using Parquet;
using Parquet.Serialization;

namespace ILGpuOptim.Data;

/// <summary>Reads the rows of a Parquet file as JSON objects: structures become objects, lists arrays.</summary>
internal static class ParquetRecords
{
    /// <summary>The rows in order, in UTF-8.</summary>
    /// <exception cref="UserException">The file is damaged, or a column holds a type that JSON lacks.</exception>
    public static IEnumerable<byte[]> Read(FileStream file)
    {
        string path = file.Name;
        int groups = 0;
        ParquetDocuments.Guarded(path, () =>
        {
            ParquetCheck.Check(file);
            file.Position = 0;
            groups = ParquetReader.CreateAsync(file, leaveStreamOpen: true).GetAwaiter().GetResult().RowGroups.Count;
        });
        for (int group = 0; group < groups; group++)
        {
            List<byte[]> rows = [];
            ParquetDocuments.Guarded(path, () =>
            {
                file.Position = 0;
                rows = [.. ParquetSerializer.DeserializeUntypedAsync(file, rowGroupIndex: group).GetAwaiter().GetResult().Data.Select(row => Json(path, row))];
            });
            foreach (byte[] row in rows)
                yield return row;
        }
    }

    private static byte[] Json(string path, object row)
    {
        var buffer = new ArrayBufferWriter<byte>();
        using var writer = new Utf8JsonWriter(buffer);
        Write(path, "", writer, row);
        writer.Flush();
        return buffer.WrittenSpan.ToArray();
    }

    private static void Write(string path, string place, Utf8JsonWriter writer, object? value)
    {
        switch (value)
        {
            case null:
                writer.WriteNullValue();
                break;
            case string text:
                writer.WriteStringValue(text);
                break;
            case ReadOnlyMemory<char> text:
                writer.WriteStringValue(text.Span);
                break;
            case bool flag:
                writer.WriteBooleanValue(flag);
                break;
            case double or float:
                writer.WriteNumberValue(Convert.ToDouble(value, null));
                break;
            case sbyte or byte or short or ushort or int or uint or long:
                writer.WriteNumberValue(Convert.ToInt64(value, null));
                break;
            case IDictionary fields:
                writer.WriteStartObject();
                foreach (DictionaryEntry field in fields)
                {
                    writer.WritePropertyName($"{field.Key}");
                    Write(path, place.Length == 0 ? $"{field.Key}" : $"{place}.{field.Key}", writer, field.Value);
                }

                writer.WriteEndObject();
                break;
            case IEnumerable entries and not byte[]:
                writer.WriteStartArray();
                foreach (object? entry in entries)
                    Write(path, place, writer, entry);
                writer.WriteEndArray();
                break;
            default:
                throw new UserException($"{path}: the column {place} contains dates, bytes or decimals, which no record of a task has; write the file without it");
        }
    }
}
