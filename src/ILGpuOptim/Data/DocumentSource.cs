using System.IO.Compression;
using System.Text;
using System.Text.Json;
using Parquet;
using Parquet.Schema;

namespace ILGpuOptim.Data;

/// <summary>A part of a document.</summary>
/// <param name="Text">The text.</param>
/// <param name="Ends">Whether the document ends with it.</param>
public readonly record struct DocumentPart(string Text, bool Ends);

/// <summary>
/// Reads documents one after the other, in little memory: text (a document a file), JSON lines and Parquet (a document a row), each
/// also as .gz. Folders are read in the order of names.
/// </summary>
/// <param name="field">The field of JSON lines, or the column of Parquet files, that holds the text.</param>
public sealed class DocumentSource(string field = "text")
{
    private const int LeastPart = 4 << 10, MostPart = 1 << 18;

    private static readonly string[] Extensions = [".txt", ".md", ".text", ".jsonl", ".ndjson", ".parquet"];

    /// <summary>How many bytes of the file that is being read are behind the last part, as they lie on the disk.</summary>
    public long Position { get; private set; }

    /// <summary>The files that paths name.</summary>
    /// <exception cref="UserException">A path is missing, or a folder has nothing to read.</exception>
    public static IReadOnlyList<string> Files(IReadOnlyList<string> paths) => [.. paths.SelectMany(path =>
    {
        if (File.Exists(path))
            return [path];
        if (!Directory.Exists(path))
            throw new UserException($"{path}: there is no such file or folder; check the name given to --data");
        string[] found = [.. Directory.EnumerateFiles(path, "*", SearchOption.AllDirectories).Where(file => Extensions.Contains(KindOf(file))).Order(StringComparer.Ordinal)];
        return found.Length > 0 ? found : throw new UserException($"{path}: the folder has no {string.Join(", ", Extensions)} file; name the files themselves");
    })];

    /// <summary>The documents of a file, in their order.</summary>
    /// <exception cref="UserException">The file is damaged; the message names the line or row.</exception>
    public IEnumerable<DocumentPart> Read(string path) => KindOf(path) switch
    {
        ".jsonl" or ".ndjson" => JsonLines(path),
        ".parquet" => Rows(path),
        _ => Text(path),
    };

    /// <summary>The extension that counts: that before .gz.</summary>
    private static string KindOf(string path) => Path.GetExtension(path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) ? path[..^3] : path).ToLowerInvariant();

    /// <summary>The file itself, and what it holds once it is unpacked.</summary>
    private static (Stream File, Stream Contents) Open(string path)
    {
        try
        {
            Stream file = File.OpenRead(path);
            return (file, path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) ? new GZipStream(file, CompressionMode.Decompress) : file);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UserException($"{path}: it cannot be read: {e.Message}; check the path and the right to read it", e);
        }
    }

    private static T Reading<T>(string path, string place, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (Exception e) when (e is DecoderFallbackException)
        {
            throw new UserException($"{path}: {place} is not UTF-8; convert the file, for example with iconv", e);
        }
        catch (Exception e) when (e is InvalidDataException or IOException)
        {
            throw new UserException($"{path}: {place} cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Parts end with lines, and are a 64th of the file where that makes sense.</summary>
    private IEnumerable<DocumentPart> Text(string path)
    {
        int most = (int)Math.Clamp(new FileInfo(path).Length / 64, LeastPart, MostPart);
        (Stream file, Stream contents) = Open(path);
        using var reader = new StreamReader(contents, new UTF8Encoding(false, throwOnInvalidBytes: true));
        var part = new StringBuilder();
        char[] buffer = new char[LeastPart];
        while (true)
        {
            int read = Reading(path, "a part of the text", () => reader.Read(buffer, 0, buffer.Length));
            part.Append(buffer, 0, read);
            Position = file.Position;
            if (read == 0)
            {
                yield return new(part.ToString(), true);
                yield break;
            }

            int line = part.Length < most ? 0 : Array.LastIndexOf(buffer, '\n', read - 1) + 1;
            if (line > 0 || part.Length > MostPart)
            {
                int keep = line > 0 ? read - line : 0;
                yield return new(part.ToString(0, part.Length - keep), false);
                part.Remove(0, part.Length - keep);
            }
        }
    }

    private IEnumerable<DocumentPart> JsonLines(string path)
    {
        (Stream file, Stream contents) = Open(path);
        using var reader = new StreamReader(contents, new UTF8Encoding(false, throwOnInvalidBytes: true));
        for (long number = 1; Reading(path, $"line {number}, or one soon after it,", reader.ReadLine) is { } line; number++)
        {
            Position = file.Position;
            if (string.IsNullOrWhiteSpace(line))
                continue;
            string? text;
            try
            {
                using JsonDocument json = JsonDocument.Parse(line);
                text = json.RootElement.ValueKind == JsonValueKind.Object && json.RootElement.TryGetProperty(field, out JsonElement value) && value.ValueKind == JsonValueKind.String ? value.GetString() : null;
            }
            catch (Exception e) when (e is JsonException or InvalidOperationException)
            {
                throw new UserException($"{path}: line {number} is no JSON: {e.Message}", e);
            }

            yield return new(text ?? throw new UserException($"{path}: line {number} has no text field \"{field}\"; name it with --field"), true);
        }
    }

    private IEnumerable<DocumentPart> Rows(string path)
    {
        using Stream stream = path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase)
            ? throw new UserException($"{path}: Parquet files are compressed inside; unpack it")
            : Open(path).File;
        ParquetReader reader = Parquet(path, () => ParquetReader.CreateAsync(stream, leaveStreamOpen: true).GetAwaiter().GetResult());
        DataField column = reader.Schema.GetDataFields().FirstOrDefault(item => item.Name == field)
            ?? throw new UserException($"{path}: there is no column \"{field}\"; there are {string.Join(", ", reader.Schema.GetDataFields().Select(item => item.Name))}, name one with --field");
        if (column.ClrType != typeof(string) && column.ClrType != typeof(ReadOnlyMemory<char>))
            throw new UserException($"{path}: the column \"{field}\" holds {column.ClrType.Name}, no text");
        for (int group = 0; group < reader.RowGroups.Count; group++)
        {
            using ParquetRowGroupReader rows = reader.OpenRowGroupReader(group);
            string?[] texts = Parquet(path, () => Column(rows, column));
            Position = stream.Length / reader.RowGroups.Count * group;
            foreach (string? text in texts)
                yield return new(text ?? "", true);
        }
    }

    /// <summary>The library reads the column of a row group as a whole: that is what it takes in memory.</summary>
    private static string?[] Column(ParquetRowGroupReader rows, DataField column)
    {
        var texts = new string?[checked((int)rows.RowCount)];
        rows.ReadAsync(column, texts.AsMemory()).AsTask().GetAwaiter().GetResult();
        return texts;
    }

    private static T Parquet<T>(string path, Func<T> read)
    {
        try
        {
            return read();
        }
        catch (Exception e) when (e is not UserException and not OutOfMemoryException)
        {
            throw new UserException($"{path}: it cannot be read as Parquet: {e.GetBaseException().Message}", e);
        }
    }
}
