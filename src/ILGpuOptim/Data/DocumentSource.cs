using System.Text;
using System.Text.Json;
using ILGpuOptim.Files;

namespace ILGpuOptim.Data;

/// <summary>A part of a document.</summary>
/// <param name="Text">The text.</param>
public readonly record struct DocumentPart(string Text)
{
    /// <summary>True for the last part of a document.</summary>
    public bool IsLast { get; init; }
}

/// <summary>
/// Reads documents in sequence, with bounded memory: text (a document per file) and JSON lines (a document per line), each
/// also as .gz, and the formats of <see cref="DataFormats"/>, such as Parquet (a document per row). Files of a folder are read in the order of their names.
/// </summary>
/// <param name="field">The field of JSON lines, or the column of Parquet files, that holds the text.</param>
public sealed class DocumentSource(string field = "text")
{
    /// <summary>A format that the package ILGpuOptim.Data adds.</summary>
    private const string Parquet = ".parquet";

    private const int MinPart = 4 << 10, MaxPart = 1 << 18;

    /// <summary>The length limit of a line of JSON in characters: many times the length of the Bible.</summary>
    private const int MaxLine = 32 << 20;

    private static readonly string[] Extensions = [".txt", ".md", ".text", ".jsonl", ".ndjson", Parquet];

    /// <summary>The position in the current file after the last part, in bytes on the disk.</summary>
    public long Position { get; private set; }

    /// <summary>Lists the files of paths and folders.</summary>
    /// <exception cref="UserException">A path does not exist, or a folder has no readable file.</exception>
    public static IReadOnlyList<string> Files(IReadOnlyList<string> paths) => [.. paths.SelectMany(path =>
    {
        if (File.Exists(path))
            return [path];
        if (!Directory.Exists(path))
            throw new UserException($"{path}: there is no such file or folder; check its name");
        return RecordFiles.Select(path, [.. Extensions.Union(DataFormats.Extensions)], KindOf);
    })];

    /// <summary>The documents of a file, in order.</summary>
    /// <exception cref="UserException">The file is damaged; the message names the line or row.</exception>
    public IEnumerable<DocumentPart> Read(string path) => KindOf(path) switch
    {
        ".jsonl" or ".ndjson" => JsonLines(path),
        var kind when kind == Parquet || DataFormats.Extensions.Contains(kind) => Added(path, kind),
        _ => Text(path),
    };

    /// <summary>The extension that determines the format: the one before .gz.</summary>
    internal static string KindOf(string path) => Path.GetExtension(path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) ? path[..^3] : path).ToLowerInvariant();

    /// <summary>A file and its decoded, unpacked text.</summary>
    private static (FileStream File, StreamReader Text) Open(string path)
    {
        Span<byte> start = stackalloc byte[TextEncoding.MaxMarkBytes];
        using (Stream peek = Unpacked(path, SourceFile.Open(path)))
            start = start[..Peek(path, peek, start)];
        FileStream file = SourceFile.Open(path);
        return (file, new StreamReader(Unpacked(path, file), TextEncoding.Of(start), detectEncodingFromByteOrderMarks: false));
    }

    private static int Peek(string path, Stream stream, Span<byte> start)
    {
        try
        {
            return stream.ReadAtLeast(start, start.Length, throwOnEndOfStream: false);
        }
        catch (Exception e) when (e is InvalidDataException or IOException)
        {
            throw new UserException($"{path}: it cannot be read: {e.Message}", e);
        }
    }

    private static Stream Unpacked(string path, FileStream file) =>
        path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase) ? new GzipContents(file) : file;

    /// <summary>Reads characters. NUL characters, invalid bytes and damaged archives are errors that name the place.</summary>
    private static int Fill(string path, string place, StreamReader reader, char[] buffer)
    {
        try
        {
            int read = reader.Read(buffer, 0, buffer.Length);
            return buffer.AsSpan(0, read).Contains('\0') ? throw TextEncoding.HasNulls(path) : read;
        }
        catch (DecoderFallbackException e)
        {
            throw TextEncoding.Undecodable(path, place, reader.CurrentEncoding, e);
        }
        catch (Exception e) when (e is InvalidDataException or IOException)
        {
            throw new UserException($"{path}: {place} cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Reads the parts of a text file, which end with lines and have about 1/64 of its size, within limits.</summary>
    private IEnumerable<DocumentPart> Text(string path)
    {
        RecordFiles.Refuse(path);
        (FileStream file, StreamReader reader) = Open(path);
        using StreamReader owner = reader;
        int most = (int)Math.Clamp(file.Length / 64, MinPart, MaxPart);
        var part = new StringBuilder();
        char[] buffer = new char[MinPart];
        while (true)
        {
            int read = Fill(path, "a part of the text", reader, buffer);
            part.Append(buffer, 0, read);
            Position = file.Position;
            if (read == 0)
            {
                yield return new(part.ToString()) { IsLast = true };
                yield break;
            }

            int line = part.Length < most ? 0 : Array.LastIndexOf(buffer, '\n', read - 1) + 1;
            if (line > 0 || part.Length > MaxPart)
            {
                int keep = line > 0 ? read - line : char.IsHighSurrogate(part[^1]) ? 1 : 0;
                yield return new(part.ToString(0, part.Length - keep));
                part.Remove(0, part.Length - keep);
            }
        }
    }

    private IEnumerable<DocumentPart> JsonLines(string path)
    {
        foreach ((long number, string line) in Records(path))
            yield return new(TextOf(path, number, line)) { IsLast = true };
    }

    /// <summary>The lines of a file that are not blank, with their numbers from 1.</summary>
    /// <exception cref="UserException">The file is damaged; the message names the line.</exception>
    internal IEnumerable<(long Number, string Text)> Records(string path)
    {
        long number = 0;
        foreach (string line in Lines(path))
        {
            number++;
            if (!string.IsNullOrWhiteSpace(line))
                yield return (number, line);
        }
    }

    /// <summary>True if the name of a file is one of JSON lines.</summary>
    internal static bool IsJsonLines(string path) => KindOf(path) is ".jsonl" or ".ndjson";

    /// <summary>The lines of a file, of bounded length.</summary>
    internal IEnumerable<string> Lines(string path)
    {
        (FileStream file, StreamReader reader) = Open(path);
        using StreamReader owner = reader;
        var line = new StringBuilder();
        char[] buffer = new char[MinPart];
        for (long number = 1; ;)
        {
            int read = Fill(path, $"line {number}, or one soon after it,", reader, buffer);
            Position = file.Position;
            if (read == 0)
                break;
            int start = 0;
            for (int end; (end = Array.IndexOf(buffer, '\n', start, read - start)) >= 0; start = end + 1, number++)
            {
                line.Append(buffer, start, end - start);
                yield return line.ToString();
                line.Clear();
            }

            line.Append(buffer, start, read - start);
            if (line.Length > MaxLine)
                throw new UserException($"{path}: line {number} has more than {MaxLine:N0} characters; split the document into several lines");
        }

        if (line.Length > 0)
            yield return line.ToString();
    }

    /// <summary>The text of a line of JSON.</summary>
    private string TextOf(string path, long number, string line)
    {
        try
        {
            using JsonDocument json = JsonDocument.Parse(line);
            if (json.RootElement.ValueKind != JsonValueKind.Object)
                throw new UserException($"{path}: line {number} is {JsonFields.Describe(json.RootElement)}, not an object with a text field \"{field}\"");
            JsonElement[] found = [.. json.RootElement.EnumerateObject().Where(item => item.NameEquals(field)).Select(item => item.Value)];
            return found switch
            {
                [] => throw UserException.NamingSettings($"{path}: line {number} has no field \"{field}\"; name the field that contains the text with {nameof(field):setting}"),
                [{ ValueKind: JsonValueKind.String } text] => text.GetString()!,
                [var other] => throw UserException.NamingSettings($"{path}: the field \"{field}\" of line {number} is {JsonFields.Describe(other)}; it must be a string. Remove the line, or name another field with {nameof(field):setting}"),
                _ => throw new UserException($"{path}: line {number} has the field \"{field}\" twice"),
            };
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new UserException($"{path}: line {number} is no JSON: {e.Message}", e);
        }
    }

    private IEnumerable<DocumentPart> Added(string path, string extension)
    {
        if (path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase))
            throw new UserException($"{path}: {extension} files are compressed inside; unpack it");
        IDocumentFormat format = DataFormats.Documents(extension, path);
        using FileStream file = SourceFile.Open(path);
        foreach (DocumentPart part in format.Read(file, field, position => Position = position))
            yield return part;
    }
}
