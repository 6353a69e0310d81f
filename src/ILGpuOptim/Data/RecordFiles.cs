using ILGpuOptim.Files;

namespace ILGpuOptim.Data;

/// <summary>Refuses files of records where plain text is read, because their syntax and the names of their fields would become text, and folders of which only some data would be read.</summary>
internal static class RecordFiles
{
    /// <summary>The extensions of files that hold data of a kind that not every reader of folders takes.</summary>
    private static readonly string[] Kinds = [".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".gz", ".zst", ".xz", ".bz2", ".zip"];

    /// <summary>The files of a folder that have one of some extensions.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="extensions">Extensions as <paramref name="kindOf"/> returns them.</param>
    /// <param name="kindOf">The extension that determines a file's format.</param>
    /// <exception cref="UserException">No file has one, or another file holds data too, which would be left out.</exception>
    public static IReadOnlyList<string> Select(string folder, IReadOnlyList<string> extensions, Func<string, string> kindOf)
    {
        ILookup<bool, string> files = FolderFiles.PathsOf(folder).ToLookup(file => extensions.Contains(kindOf(file)));
        string kinds = $"{string.Join(", ", extensions.SkipLast(1))} or {extensions[^1]}";
        if (!files[true].Any())
            throw new UserException($"{folder}: the folder has no {kinds} file; name the files themselves");
        return files[false].FirstOrDefault(file => Kinds.Contains(Path.GetExtension(file).ToLowerInvariant())) is { } left
            ? throw new UserException($"{left}: of a folder, {kinds} files are read here, so this one would be left out; name the files to read, or convert it")
            : [.. files[true]];
    }

    private const string Prepare = "prepare turns the field that holds the text into token files";

    /// <summary>Refuses a file whose name is that of a file of records.</summary>
    /// <exception cref="UserException">With what to do.</exception>
    public static void Refuse(string path)
    {
        string? problem = DocumentSource.KindOf(path) switch
        {
            ".jsonl" or ".ndjson" => $"JSON lines are not plain text, and the first one is no conversation (messages, prompt with completion, or chosen with rejected); {Prepare}",
            ".json" => $"JSON is not plain text; write one object a line (.jsonl), of which {Prepare}",
            ".csv" or ".tsv" => $"a table is not plain text; write one JSON object a line (.jsonl), of which {Prepare}",
            ".parquet" => $"Parquet is not plain text; {Prepare}",
            _ => null,
        };
        if (problem is not null)
            throw new UserException($"{path}: {problem}. To read the file as it stands, name it .txt");
    }
}
