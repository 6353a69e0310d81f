using System.Text;
using System.Text.Json;
using ILGpuOptim.Data;
using ILGpuOptim.Files;

namespace ILGpuOptim.Tasks;

/// <summary>Reads the records of a file of questions.</summary>
internal static class TaskRecords
{
    /// <summary>The records, each named by its line, entry or row in messages.</summary>
    /// <exception cref="UserException">The file is damaged, or of an unknown kind.</exception>
    public static IEnumerable<JsonFields> Read(string path)
    {
        string kind = DocumentSource.KindOf(path);
        return kind switch
        {
            ".jsonl" or ".ndjson" or ".json" => Json(path),
            ".parquet" => Rows(path, kind),
            _ when DataFormats.Extensions.Contains(kind) => Rows(path, kind),
            _ => throw new UserException($"{path}: tasks are read from .jsonl, .ndjson, .json, .parquet and llm.c's .bin files; convert the file, for example to JSON lines"),
        };
    }

    private static IEnumerable<JsonFields> Rows(string path, string kind)
    {
        if (path.EndsWith(".gz", StringComparison.OrdinalIgnoreCase))
            throw new UserException($"{path}: {kind} files are compressed inside; unpack it");
        IDocumentFormat format = DataFormats.Documents(kind, path);
        using FileStream file = SourceFile.Open(path);
        long number = 0;
        foreach (byte[] row in format.ReadRecords(file))
            yield return JsonFields.Parse(row, $"{path}: row {++number}");
    }

    private static IEnumerable<JsonFields> Json(string path)
    {
        long number = 0;
        bool isFirst = true;
        using IEnumerator<string> lines = new DocumentSource().Lines(path).GetEnumerator();
        while (lines.MoveNext())
        {
            number++;
            string line = lines.Current;
            if (string.IsNullOrWhiteSpace(line))
                continue;
            if (isFirst && line.TrimStart().StartsWith('['))
            {
                foreach (JsonFields record in Entries(path, line, lines))
                    yield return record;
                yield break;
            }

            isFirst = false;
            yield return JsonFields.Parse(Encoding.UTF8.GetBytes(line), $"{path}: line {number}");
        }
    }

    /// <summary>The entries of one array, which may span many lines.</summary>
    private static IEnumerable<JsonFields> Entries(string path, string first, IEnumerator<string> lines)
    {
        var text = new StringBuilder(first);
        while (lines.MoveNext())
            text.Append('\n').Append(lines.Current);
        JsonFields whole = JsonFields.Parse(Encoding.UTF8.GetBytes($"{{\"records\":{text}}}"), path);
        IReadOnlyList<JsonElement> entries = whole.Array("records")!;
        return entries.Select((entry, i) => new JsonFields(entry, $"{path}: record {i + 1}"));
    }
}
